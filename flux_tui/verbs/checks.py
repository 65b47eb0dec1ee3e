"""What a doctor looks at: one function for each part, each yielding rows with a verdict and what to do about it.

Reads, and leaves nothing behind: no folder is made. JAX is started in a process of its own, with a time limit, so that
a driver that hangs cannot hang the doctor.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flux_engine.errors import FluxError
from flux_engine.host_memory import MEMINFO, memory_bytes

Verdict = Literal["ok", "warn", "bad"]

JAX_PATIENCE_S = 60.0  # ten times what eight GPUs take to say hello
JAX_CODE = """
import json, jax
def memory(device):
    try: return device.memory_stats() or {}
    except Exception: return {}
print(json.dumps([{"platform": each.platform, "kind": each.device_kind, **memory(each)} for each in jax.devices()]))
"""
LOW_DISK, NO_DISK = 2**30, 2**26  # bytes; a 1024 x 1024 PNG is about 1.5 MB
LOW_MEMORY = 2**31  # bytes; the demo model needs about 1 GiB
NVIDIA = (Path("/dev/nvidiactl"), Path("/dev/dxg"))  # the driver, the driver under WSL


@dataclass(frozen=True)
class Row:
    """One thing that was looked at.

    Attributes:
        part: what it belongs to.
        name: what it is.
        verdict: "warn" works, but not as well as it could; "bad" does not work.
        found: what is there.
        advice: what to do; "" where all is well.
    """

    part: str
    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def versions() -> Iterator[Row]:
    """Python, this program, and every package that it needs."""
    from importlib.metadata import PackageNotFoundError, requires, version

    again = "Install flux-tui again, in an environment of its own: pip install ."
    yield Row("versions", "python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    try:
        yield Row("versions", "flux-tui", "ok", version("flux-tui"))
    except PackageNotFoundError:
        yield Row("versions", "flux-tui", "warn", "not installed, run from its sources", again)
        return
    for requirement in requires("flux-tui") or ():
        if "extra ==" in requirement:
            continue
        name, least = _parsed(requirement)
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Row("versions", name, "bad", "missing", again)
            continue
        if _numbers(found) < _numbers(least):
            yield Row("versions", name, "bad", f"{found}; expected {least} at least", again)
        else:
            yield Row("versions", name, "ok", found)


def _parsed(requirement: str) -> tuple[str, str]:
    """A package's name, and its lowest version."""
    name = re.match(r"[\w.-]+", requirement)
    least = re.search(r">=\s*([\w.]+)", requirement)
    return name[0] if name else requirement, least[1] if least else "0"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def devices() -> Iterator[Row]:
    """Where JAX computes, and how much memory is there."""
    try:
        found = _devices_of_jax()
    except OSError as error:
        yield Row("devices", "jax", "bad", str(error), "Correct that, or set JAX_PLATFORMS=cpu to do without it.")
        return
    for number, device in enumerate(found):
        yield Row("devices", f"{device['platform']} {number}", "ok", f"{device['kind']}{_memory_of(device)}")
    if all(device["platform"] == "cpu" for device in found) and any(path.exists() for path in NVIDIA):
        unused = "there is an NVIDIA GPU, but JAX computes on the CPU"
        if platforms := os.environ.get("JAX_PLATFORMS"):
            yield Row("devices", "gpu", "warn", unused, f"Unset JAX_PLATFORMS, which is {platforms}.")
        else:
            yield Row("devices", "gpu", "warn", unused, "pip install '.[cuda13]', or '.[cuda12]' for older drivers.")


def _devices_of_jax() -> list[Mapping[str, object]]:
    """Raises OSError when JAX cannot be started; its text says why."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    child = subprocess.Popen(
        [sys.executable, "-c", JAX_CODE],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    try:
        out, err = child.communicate(timeout=JAX_PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # a process inside a hung driver does not even die
            child.communicate(timeout=1)
        raise OSError(f"JAX did not start within {JAX_PATIENCE_S:g} s: a driver hangs") from None
    if child.returncode:
        last = (err.decode(errors="replace").strip().splitlines() or [f"status {child.returncode}"])[-1]
        raise OSError(f"JAX does not start: {last}")
    try:
        found: list[Mapping[str, object]] = json.loads((out.splitlines() or [b""])[-1])
    except ValueError:
        raise OSError(f"JAX says what nobody understands: {out.decode(errors='replace').strip()}") from None
    return found


def _memory_of(device: Mapping[str, object]) -> str:
    limit, used = device.get("bytes_limit"), device.get("bytes_in_use")
    return f", {_gib(limit - used)} free" if isinstance(limit, int) and isinstance(used, int) else ""


def terminal(fd_in: int, fd_out: int, env: Mapping[str, str]) -> Iterator[Row]:
    """What the terminal can do, asked of itself."""
    from flux_tui.terminal.abilities import best_graphics
    from flux_tui.terminal.endings import raised_signals
    from flux_tui.terminal.probe import drain, probe

    term = env.get("TERM", "")
    advice = "Set TERM to your terminal's, e.g. xterm-256color." if term in ("", "dumb") else ""
    yield Row("terminal", "TERM", "bad" if term == "dumb" else "warn" if advice else "ok", term or "not set", advice)
    if not (os.isatty(fd_in) and os.isatty(fd_out)):
        yield Row("terminal", "abilities", "ok", "not asked: stdin or stdout is no terminal")
        return
    with raised_signals():
        can = probe(fd_in, fd_out, env)
        drain(fd_in)
    around = [f"tmux {can.tmux_version}".strip()] * can.tmux + ["SSH"] * can.ssh
    yield Row("terminal", "name", "ok", ", through ".join([can.outer or can.name or "not told", *around]))
    yield Row("terminal", "colours", "ok", can.colours)
    also = [name for name, has in (("kitty", can.kitty), ("sixel", can.sixel)) if has]
    yield Row("terminal", "pictures", "ok", best_graphics(can)[0] + (f" (has {', '.join(also)})" if also else ""))
    if can.cell_px:
        yield Row("terminal", "cell", "ok", "{}x{} pixels".format(*can.cell_px))
    if can.rtt_s is not None:
        yield Row("terminal", "round trip", "ok", f"{can.rtt_s * 1000:.0f} ms")
    for note in can.notes:
        found, _, todo = note.partition(": ")
        yield Row("terminal", "hint", "warn", found, todo or "See what is said above.")


def locale() -> Iterator[Row]:
    """Whether text reaches the terminal whole."""
    encoding = getattr(sys.stderr, "encoding", None) or "unknown"  # Textual paints through stderr
    if encoding.lower().replace("-", "") == "utf8":
        yield Row("terminal", "encoding", "ok", encoding)
    else:
        yield Row("terminal", "encoding", "bad", f"{encoding}; expected utf-8", "Set LC_ALL=C.UTF-8, or give --ascii.")


def folders(places: Mapping[str, Path]) -> Iterator[Row]:
    """Whether each folder, by what it is for, can be written, and how much room is on its disk."""
    from flux_engine.png import check_folder

    for name, folder in places.items():
        there = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        try:
            check_folder(there)
            free = shutil.disk_usage(there).free
        except FluxError as error:
            yield Row("folders", name, "bad", str(error), error.hint)
            continue
        found = f"{folder}, {_gib(free)} free" + ("" if there == folder else ", not made yet")
        if free < LOW_DISK:
            yield Row("folders", name, "bad" if free < NO_DISK else "warn", found, "Free some space on its disk.")
        else:
            yield Row("folders", name, "ok", found)


def memory(meminfo: Path = MEMINFO) -> Iterator[Row]:
    """What is left of the host's memory."""
    used, total = memory_bytes(meminfo)
    if used is None or total is None:
        yield Row("memory", "host", "ok", "not told by this system")
        return
    free = total - used
    advice = "End other programs; the demo model needs about 1 GiB." if free < LOW_MEMORY else ""
    yield Row("memory", "host", "warn" if advice else "ok", f"{_gib(free)} free", advice)


def config(path: Path) -> Iterator[Row]:
    """Whether the config file can be understood."""
    from flux_tui.config import ConfigFileError, load_config

    try:
        load_config(path)
    except ConfigFileError as error:
        for fault in error.faults:
            yield Row("folders", "config file", "bad", fault, error.hint)
    else:
        yield Row("folders", "config file", "ok", f"{path}" + ("" if path.exists() else ", not there: defaults hold"))


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
