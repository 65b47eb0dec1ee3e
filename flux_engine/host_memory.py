"""What this machine's memory holds, how this process keeps its own, and how much of a GPU's JAX may take.

Stdlib only: all of it is asked or said before JAX is imported.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

STATM = Path("/proc/self/statm")
DEVICE_SHARE = "0.92"  # of a GPU's memory; by itself JAX takes 0.75, and FLUX.1-dev would not fit 24 GB
MEMINFO = Path("/proc/meminfo")
M_ARENA_MAX = -8  # in malloc.h of glibc


def allow_most_of_the_device() -> None:
    """Let JAX take nearly all of a GPU's memory, as it is needed; what the environment says already is kept."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", DEVICE_SHARE)


def share_heaps(cores: int = os.cpu_count() or 1) -> None:
    """Let threads that are started from now on take memory from one heap for every four cores, where glibc has it.

    By itself it gives each of them its own, and what one has freed no other one takes. XLA's threads pack the operands
    of every product anew: a small model's process was 10 to 15 % smaller with one heap on two cores, and a step as
    fast. Many threads that compile would wait for each other at a single one, hence more of them for more cores. What
    the environment says already is kept.
    """
    if "MALLOC_ARENA_MAX" not in os.environ and "arena_max" not in os.environ.get("GLIBC_TUNABLES", ""):
        _libc("mallopt", M_ARENA_MAX, max(cores // 4, 1))


def give_back() -> None:
    """Return to the machine what is freed but kept, by glibc alone; after compiling it is tens of megabytes."""
    _libc("malloc_trim", 0)


def _libc(name: str, *arguments: int) -> None:
    """Call a function of the C library, if it has it."""
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (AttributeError, TypeError, OSError):  # not glibc; Windows has no library without a name
        return
    function(*arguments)


def memory_bytes(meminfo: Path = MEMINFO) -> tuple[int | None, int | None]:
    """(used, total) bytes of the machine's memory, by Linux's own file, or None; used is what is not to be had."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        total, free = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return None, None
    return total - free, total


def process_bytes(statm: Path = STATM) -> int | None:
    """What this process has in memory, by Linux's own file, or None."""
    try:
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def sized(count: int) -> str:
    """Bytes, as people say them: "16.21 GB", "640.0 MB"."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
