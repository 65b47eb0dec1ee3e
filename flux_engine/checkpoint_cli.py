"""What the command lines do with checkpoints as such: write one anew, or see whether one is whole.

Results go to stdout, progress to stderr, faults to both the exit status and stderr. JAX is imported when it is needed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from flux_engine.arguments import BAD_REQUEST, DONE, FAILED
from flux_engine.display import Stdout, say
from flux_engine.errors import FluxError, unexpected

if TYPE_CHECKING:
    from flux_engine.weights.verifying import Verified

DTYPES = ("stored", "float32", "bfloat16")


def import_to(source: Path, destination: Path, dtype: str) -> int:
    """Write the checkpoint at `source` to `destination`; the exit status.

    Args:
        dtype: one of DTYPES; "stored" keeps each leaf's own.
    """

    def work() -> int:
        from flux_engine.weights.importing import import_checkpoint

        with _progress_on_stderr() as watch:
            import_checkpoint(source, destination, dtype=None if dtype == "stored" else dtype, watch=watch)
        Stdout().write(str(destination).encode())
        return DONE

    return _status_of(work)


def pull(repo: str) -> int:
    """Download a repository of the Hugging Face Hub and say where it is; the exit status."""

    def work() -> int:
        from flux_engine.weights.hub import download

        Stdout().write(download(repo).encode())
        return DONE

    return _status_of(work)


def describe(checkpoint: Path) -> int:
    """Say what a checkpoint is without reading its weights: variant, parts, sizes; the exit status."""

    def work() -> int:
        from flux_engine.weights.sources import open_checkpoint

        found = open_checkpoint(checkpoint)
        lines = [f"{checkpoint}", f"FLUX.1-{found.variant}, or a model of its shapes"]
        for component, part in found.parts.items():
            sizes = ", ".join(f"{name} {value}" for name, value in part.config.to_dict().items())
            lines.append(f"{component}: {sizes}")
        Stdout().write(*map(str.encode, lines))
        return DONE

    return _status_of(work)


def verify(checkpoint: Path, *, as_json: bool) -> int:
    """Say of each network of a checkpoint what it holds and whether it is sound; the exit status."""

    def work() -> int:
        from flux_engine.weights.verifying import verify_checkpoint

        stdout, sound = Stdout(), True
        with _progress_on_stderr() as watch:
            for found in verify_checkpoint(checkpoint, watch):
                sound = sound and found.is_sound
                stdout.write(*(line.encode() for line in (_json_lines if as_json else _text_lines)(found)))
        return DONE if sound else FAILED

    return _status_of(work)


@contextmanager
def _progress_on_stderr() -> Iterator[Callable[[str, float], None]]:
    """What is told of progress: a bar on a terminal, a line for each thing elsewhere."""
    if not sys.stderr.isatty():
        said: list[str] = []

        def say_once(what: str, fraction: float) -> None:
            if what not in said:
                said.append(what)
                say(what)

        yield say_once
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description:<21}"), BarColumn(bar_width=24), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda what, fraction: progress.update(task, description=what, completed=fraction)


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


def _status_of(work: Callable[[], int]) -> int:
    try:
        return work()
    except FluxError as error:
        say(f"error: {error} {error.hint}".rstrip())
        return BAD_REQUEST if isinstance(error, ValueError) else FAILED
    except Exception as error:
        message, hint = unexpected(error, "")
        say(f"error: {message} {hint}".rstrip())
        return FAILED
