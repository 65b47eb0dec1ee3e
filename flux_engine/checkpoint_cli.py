"""What the command lines do with checkpoints as such: write one anew, or see whether one is whole.

Results go to stdout, progress to stderr, faults to both the exit status and stderr. JAX is imported when it is needed.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from flux_engine.arguments import DONE, FAILED
from flux_engine.display import Stdout, say, status_of

if TYPE_CHECKING:
    from flux_engine.weights.sides import Compared
    from flux_engine.weights.verifying import Verified

Watch = Callable[[str, float], None]
_TABLE = "{:<12} {:<24} {:>10} {:>10}  {}"
DTYPES = ("stored", "float32", "bfloat16", "int8", "fp8")


def import_to(source: Path, destination: Path, dtype: str) -> int:
    """Write the checkpoint at `source` to `destination`; the exit status.

    Args:
        dtype: one of DTYPES; "stored" keeps each leaf's own, where it has at least 16 bits.
    """

    def work() -> int:
        from flux_engine.weights.importing import import_checkpoint

        with _progress_on_stderr() as (watch, _):
            import_checkpoint(source, destination, dtype=None if dtype == "stored" else dtype, watch=watch)
        Stdout().write(os.fsencode(destination))
        return DONE

    return status_of(work)


def pull(repo: str) -> int:
    """Download a repository of the Hugging Face Hub and say where it is; the exit status."""

    def work() -> int:
        from flux_engine.weights.hub import download

        Stdout().write(os.fsencode(download(repo)))
        return DONE

    return status_of(work)


def describe(checkpoint: Path) -> int:
    """Say what a checkpoint is without reading its weights: variant, parts, sizes; the exit status."""

    def work() -> int:
        from flux_engine.weights.sources import open_checkpoint

        found = open_checkpoint(checkpoint)
        lines = [f"{checkpoint}", f"FLUX.1-{found.variant}, or a model of its shapes"]
        for component, part in found.parts.items():
            sizes = ", ".join(f"{name} {value}" for name, value in part.config.to_dict().items())
            lines.append(f"{component}: {sizes}")
        Stdout().write(*map(os.fsencode, lines))
        return DONE

    return status_of(work)


def verify(checkpoint: Path, *, as_json: bool, compare: bool = True) -> int:
    """Say of each network of a checkpoint what it holds and whether it is sound; the exit status.

    Args:
        compare: run a sound one beside the reference as well, where that is installed.
    """

    def work() -> int:
        from flux_engine.weights.verifying import verify_checkpoint

        stdout, sound = Stdout(), True
        with _progress_on_stderr() as (watch, clear):
            for found in verify_checkpoint(checkpoint, watch):
                clear()
                sound = sound and found.is_sound
                stdout.write(*map(os.fsencode, (_json_lines if as_json else _text_lines)(found)))
        agrees = not (sound and compare) or _compare(checkpoint, stdout, as_json)
        return DONE if sound and agrees else FAILED

    return status_of(work)


def _compare(checkpoint: Path, stdout: Stdout, as_json: bool) -> bool:
    """Whether the networks compute what the reference computes; also where that cannot be told."""
    from flux_engine.weights.comparing import NotCompared, compare_checkpoint

    agrees, header = True, [] if as_json else [_TABLE.format("network", "module", "difference", "relative", "")]
    with _progress_on_stderr() as (watch, clear):
        for row in compare_checkpoint(checkpoint, lambda component, done: watch(f"comparing {component}", done)):
            clear()
            if isinstance(row, NotCompared):
                say(f"Not compared with diffusers: {row.reason}.")
                continue
            agrees = agrees and row.agrees
            line = _json_row(row) if as_json else _row(row)
            stdout.write(*(text.rstrip().encode() for text in (*header, line)))
            header = []
    return agrees


def _json_row(row: Compared) -> str:
    fields = asdict(row)
    fields |= {key: None for key in ("difference", "relative") if not math.isfinite(fields[key])}  # JSON has no NaN
    return json.dumps({"event": "compared", **fields, "agrees": row.agrees})


def _row(row: Compared) -> str:
    verdict = "agrees" if row.agrees else f"DIFFERS by more than {row.bound:.0e}"
    return _TABLE.format(row.component, row.module, f"{row.difference:.1e}", f"{row.relative:.1e}", verdict)


@contextmanager
def _progress_on_stderr() -> Iterator[tuple[Watch, Callable[[], None]]]:
    """What is told of progress, and what takes a bar away before something else is said.

    A bar on a terminal, a line for each thing elsewhere.
    """
    if not sys.stderr.isatty():
        said: list[str] = []

        def say_once(what: str, fraction: float) -> None:
            if what not in said:
                said.append(what)
                say(what)

        yield say_once, lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    what = TextColumn("{task.description:<21}", markup=False)
    columns = what, BarColumn(bar_width=24), TaskProgressColumn(), TimeRemainingColumn()
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    task = progress.add_task("", total=1.0)

    def draw(what: str, fraction: float) -> None:
        progress.start()
        progress.update(task, description=what, completed=fraction)

    try:
        yield draw, progress.stop
    finally:
        progress.stop()


def _text_lines(found: Verified) -> Iterator[str]:
    verdict = "sound" if found.is_sound else f"{found.nans} NaN and {found.infinities} infinite numbers"
    dtypes = ", ".join(f"{count} {name}" for name, count in found.dtypes.items())
    yield f"{found.component:<12} {verdict}"
    for name, value in (
        ("from", found.origin),
        ("leaves", f"{found.leaves:,} ({dtypes})"),
        ("parameters", f"{found.parameters:,}"),
        ("sha256", found.sha256),
    ):
        yield f"  {name:<10} {value}"


def _json_lines(found: Verified) -> Iterator[str]:
    yield json.dumps({"event": "verified", **asdict(found), "sound": found.is_sound})
