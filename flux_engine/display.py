"""What a run says while it paints: text for people, or JSON lines for programs.

stdout gets results and nothing else, stderr the talk: a bar on a terminal, plain lines elsewhere. rich is imported
when a bar is drawn.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any, TextIO

from flux_engine.arguments import BAD_REQUEST, FAILED
from flux_engine.errors import FluxError, unexpected
from flux_engine.request import Event, GenerationRequest, StageStarted, StepDone

Show = Callable[[Event], None]

TITLE_SIGNS = 60  # of a prompt, where it stands for its picture


class Stdout:
    """The way out for results; after its first fault nothing more is written.

    Attributes:
        fault: why stdout takes nothing any more; a BrokenPipeError when its reader has gone, as in `| true`.
    """

    def __init__(self) -> None:
        self.fault: OSError | None = None

    def write(self, *lines: bytes) -> None:
        """Write lines as the bytes that they are, at once."""
        if self.fault is not None:
            return
        try:
            sys.stdout.flush()
            sys.stdout.buffer.writelines(line + b"\n" for line in lines)
            sys.stdout.flush()
        except OSError as error:
            self.fault = error
            to_nowhere(sys.stdout)
            if not isinstance(error, BrokenPipeError):
                unsaid = ", ".join(line.decode(errors="replace") for line in lines)
                say(f"error: stdout cannot be written: {error.strerror}. It would have said: {unsaid}")


class Report(ABC):
    """What is said of requests, one after another: `begin`, then the rest for this one, and `done` after the last.

    Attributes:
        stdout: where results go.
        failures: how many requests have failed.
    """

    def __init__(self) -> None:
        self.stdout = Stdout()
        self.failures = 0
        self._place, self._of = 1, 1

    def begin(self, place: int, of: int) -> None:
        """Number `place` of `of` requests has its turn."""
        self._place, self._of = place, of

    @abstractmethod
    def painting(self, request: GenerationRequest) -> AbstractContextManager[None]:
        """While this lasts, the request is being painted."""

    @abstractmethod
    def show(self, event: Event) -> None:
        """Say what the engine said; only inside `painting`."""

    @abstractmethod
    def result(self, kind: str, text: bytes, **fields: Any) -> None:
        """Give a result: `text` is a line for people; `kind` and `fields` are for programs. Only inside `painting`."""

    def note(self, text: str) -> None:
        """Say something that is good to know."""
        say(f"note: {_one_line(text)}")

    def failed(self, message: str, hint: str = "") -> None:
        """Say that the request ended in a fault."""
        self.failures += 1
        say(f"error: {_one_line(f'{message} {hint}')}")

    @abstractmethod
    def done(self, *, painted: int, left: int, status: int, seconds: float) -> None:
        """Sum up: requests painted and requests never begun, the exit status, and how long all of it took."""


class TextReport(Report):
    """A bar or lines on stderr; a line on stdout for each result, once the bar is out of the way."""

    def __init__(self) -> None:
        super().__init__()
        self._show: Show = _plain_line
        self._results: list[bytes] = []

    @contextlib.contextmanager
    def painting(self, request: GenerationRequest) -> Iterator[None]:
        if self._of > 1:
            say(f"{self._place}/{self._of}  {title(request.prompt)}")
        try:
            with progress_on_stderr() as self._show:
                yield
        finally:
            self.stdout.write(*self._results)
            self._results.clear()

    def show(self, event: Event) -> None:
        self._show(event)

    def result(self, kind: str, text: bytes, **fields: Any) -> None:
        self._results.append(text)

    def done(self, *, painted: int, left: int, status: int, seconds: float) -> None:
        if self._of > 1:
            say(f"{painted} of {self._of} painted, {self.failures} failed" + (f", {left} not begun" if left else ""))


class JsonReport(Report):
    """One JSON object a line on stdout, as it happens: {"event": ..., "job": ..., ...}. Complaints are on stderr, too.

    Events: started (of, request), stage (stage, detail), step (step, num_steps, sigma, reused), the results (`result`'s
    kind), note (message), failed (message, hint), and at the very end, without a job, done (asked, painted, failed,
    left, status, seconds).
    """

    @contextlib.contextmanager
    def painting(self, request: GenerationRequest) -> Iterator[None]:
        self._line("started", of=self._of, request=asdict(request))
        yield

    def show(self, event: Event) -> None:
        if isinstance(event, StageStarted):
            self._line("stage", stage=event.stage, detail=event.detail)
        elif isinstance(event, StepDone):
            self._line("step", step=event.step, num_steps=event.num_steps, sigma=event.sigma, reused=event.reused)

    def result(self, kind: str, text: bytes, **fields: Any) -> None:
        self._line(kind, **fields)

    def note(self, text: str) -> None:
        super().note(text)
        self._line("note", message=text)

    def failed(self, message: str, hint: str = "") -> None:
        super().failed(message, hint)
        self._line("failed", message=message, hint=hint)

    def done(self, *, painted: int, left: int, status: int, seconds: float) -> None:
        counts = {"asked": self._of, "painted": painted, "failed": self.failures, "left": left}
        self._write({"event": "done", **counts, "status": status, "seconds": round(seconds, 3)})

    def _line(self, event: str, **fields: Any) -> None:
        self._write({"event": event, "job": self._place, **fields})

    def _write(self, body: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(body).encode())  # ASCII: no locale can spoil it


def title(prompt: str) -> str:
    """The beginning of a prompt on one line, without what a terminal would obey."""
    text = "".join(sign if sign.isprintable() else " " for sign in prompt[: 4 * TITLE_SIGNS])
    text = _one_line(text)
    return text if len(text) <= TITLE_SIGNS else text[: TITLE_SIGNS - 3] + "..."


def _one_line(text: str) -> str:
    return " ".join(text.split())


def to_nowhere(stream: TextIO) -> None:
    """Nobody takes what is written: Python would try again when it ends, and fail with a traceback."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(text: str) -> None:
    """A line on stderr, without what a terminal obeys; that nobody takes it is no reason to lose a picture."""
    harmless = "".join(sign if sign.isprintable() or sign == "\n" else ascii(sign)[1:-1] for sign in text)
    try:
        print(harmless, file=sys.stderr, flush=True)
    except OSError:
        to_nowhere(sys.stderr)


def status_of(work: Callable[[], int]) -> int:
    """What `work` returns as the exit status; or a fault, said in a line with its hint, and the status of that."""
    try:
        return work()
    except FluxError as error:
        say(f"error: {error} {error.hint}".rstrip())
        return BAD_REQUEST if isinstance(error, ValueError) else FAILED
    except Exception as error:
        message, hint = unexpected(error, "")
        say(f"error: {message} {hint}".rstrip())
        return FAILED


@contextlib.contextmanager
def progress_on_stderr() -> Iterator[Show]:
    """A function that shows events on stderr: a progress bar on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield _plain_line
        return
    with _rich_display() as show:
        yield show


def _plain_line(event: Event) -> None:
    if isinstance(event, StageStarted):
        say(f"{event.stage}  {event.detail}".rstrip())
    elif isinstance(event, StepDone) and (event.step == event.num_steps or event.step % 10 == 0):
        say(f"denoising  {event.step}/{event.num_steps}")


@contextlib.contextmanager
def _rich_display() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn("{task.description:<21}", markup=False),  # a LoRA may be called style[v2]
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
