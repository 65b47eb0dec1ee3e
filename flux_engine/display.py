"""A request's progress on stderr, for the command lines: a bar on a terminal, plain lines elsewhere.

The only file of this package that knows rich, and it imports it when a bar is drawn: the library knows no terminal.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from flux_engine.request import Event, StageStarted, StepDone


@contextlib.contextmanager
def progress_on_stderr() -> Iterator[Callable[[Event], None]]:
    """A function that shows events on stderr: a progress bar on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield _plain_line
        return
    with _rich_display() as show:
        yield show


def say(text: str) -> None:
    """A line on stderr; that nobody takes it is no reason to lose a picture."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # Python would try again when it ends


def _plain_line(event: Event) -> None:
    if isinstance(event, StageStarted):
        say(f"{event.stage}  {event.detail}".rstrip())
    elif isinstance(event, StepDone) and (event.step == event.num_steps or event.step % 10 == 0):
        say(f"denoising  {event.step}/{event.num_steps}")


@contextlib.contextmanager
def _rich_display() -> Iterator[Callable[[Event], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn("{task.description:<21}"),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[count]:>9}  {task.fields[pace]:>10}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    task: TaskID | None = None
    first_step_at = 0.0

    def show(event: Event) -> None:
        nonlocal task, first_step_at
        if isinstance(event, StepDone) and task is not None:
            now = time.monotonic()
            first_step_at = now if event.step == 1 else first_step_at
            pace = f"{(event.step - 1) / (now - first_step_at):.1f} it/s" if event.step > 1 else ""
            count = f"{event.step}/{event.num_steps}"
            progress.update(task, completed=event.step, total=event.num_steps, count=count, pace=pace)
            return
        if task is not None:
            progress.update(task, completed=progress.tasks[-1].total or 1, total=progress.tasks[-1].total or 1)
        if isinstance(event, StageStarted):
            task = progress.add_task(f"{event.stage} {event.detail}".rstrip(), total=None, count="", pace="")

    with progress:
        yield show
        if task is not None:
            progress.update(task, completed=1, total=1)
