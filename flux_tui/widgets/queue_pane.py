"""The queue: the job being painted, those that wait in their order, and those that are over, latest first.

It holds no queue: it shows what it is told, and asks for what its keys say. What comes of that is for others to decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding
from textual.message import Message

from flux_tui.cell_text import shortened
from flux_tui.glyphs import UNICODE, Glyphs
from flux_tui.jobs import Job
from flux_tui.widgets.queue_rows import Entry, Part, row
from flux_tui.widgets.row_list import RowList

EMPTY = "Prompts you run wait here."
MIN_WHERE = 5  # cells, of "12/20": so the prompts do not move when a job starts


class QueuePane(RowList):
    """The queue pane.

    Args:
        signs: what states are drawn with.
    """

    DEFAULT_CSS = """
    QueuePane {
        border: round $foreground 25%;
        border-title-color: $text-muted;
        border-subtitle-color: $text-muted;
        &:focus { border: round $accent; border-title-color: $text-accent; border-subtitle-color: $text-accent; }
        & > .row-list--running { color: $text-accent; text-style: bold; }
        & > .row-list--done { color: $text-success; }
        & > .row-list--failed { color: $text-error; }
    }
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"row-list--running", "row-list--done", "row-list--failed"}

    BINDINGS: ClassVar = [
        Binding("x", "cancel", "Cancel", id="cancel-job", tooltip="Cancel this job; the one being painted ends soon"),
        Binding("X", "cancel_waiting", "Cancel all", show=False, id="cancel-waiting", tooltip="Cancel all that wait"),
        Binding("e,enter", "edit", "Edit", key_display="e", id="edit-job", tooltip="Put the job back into the panes"),
        Binding("r,R", "retry", "Retry", key_display="r", id="retry-job", tooltip="Let a job that is over wait again"),
        Binding("space", "pause", "Pause", key_display="Space", id="pause-queue", tooltip="Hold the queue, or go on"),
        Binding("K,shift+up", "move(-1)", "Sooner", show=False, id="move-job-up", tooltip="Paint the job sooner"),
        Binding("J,shift+down", "move(1)", "Later", show=False, id="move-job-down", tooltip="Paint the job later"),
        Binding("D", "forget", "Forget", show=False, id="forget-finished", tooltip="Drop what is over from the list"),
    ]

    class Asked(Message):
        """Something is to be done with the queue: one of those below."""

    @dataclass
    class Cancel(Asked):
        """A job that waits, or the running one, is to end."""

        job_id: int

    @dataclass
    class CancelWaiting(Asked):
        """All jobs that wait are to end; the running one goes on."""

    @dataclass
    class Pause(Asked):
        """The queue is to be held back, or to go on."""

        paused: bool

    @dataclass
    class Edit(Asked):
        """A job's request is to be put back into the panes; one that waits leaves the queue for it."""

        job_id: int

    @dataclass
    class Retry(Asked):
        """The request of a job that is over is to wait again."""

        job_id: int

    @dataclass
    class Move(Asked):
        """A job that waits is to move by so many places, below 0 towards the front."""

        job_id: int
        by: int

    @dataclass
    class Forget(Asked):
        """Jobs that are over are to leave the list."""

    def __init__(self, signs: Glyphs = UNICODE, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "Queue"
        self._signs = signs
        self._jobs: tuple[Job, ...] = ()
        self._paused = False
        self._waiting = range(0)  # their places in the list
        self._step = (0, "")  # of which job
        self._where_width = MIN_WHERE
        self._offered: list[bool | None] = []

    # What the pane shows

    @property
    def job(self) -> Job | None:
        """The job under the cursor; None when there is none."""
        return self._jobs[self.cursor] if self._jobs else None

    def show(self, jobs: Iterable[Job], paused: bool) -> None:
        """Show these jobs in place of all others, in the order of `JobQueue.jobs`; the cursor stays on its job."""
        jobs = tuple(jobs)
        if (jobs, paused) == (self._jobs, self._paused):
            return
        cursor = self._cursor_in(jobs)
        self._jobs, self._paused = jobs, paused
        waiting = [place for place, job in enumerate(jobs) if job.state == "waiting"]
        self._waiting = range(waiting[0], waiting[-1] + 1) if waiting else range(0)
        self.border_subtitle = ", ".join(["paused"] * paused + [f"{len(waiting)} waiting"] * bool(waiting))
        self._measure()
        self.lay_out(len(jobs), cursor)
        self._offer()

    def progress(self, job_id: int, step: str) -> None:
        """Show how far the running job is, as "7/20"; repaints its row alone."""
        if self._step == (job_id, step):
            return
        self._step = (job_id, step)
        if self._measure():
            self.refresh()
        for place in (place for place, job in enumerate(self._jobs) if job.id == job_id):
            self.refresh_lines(place)

    def _cursor_in(self, jobs: tuple[Job, ...]) -> int:
        """Where the cursor goes: with its job, so that no key meets another one.

        From what was being painted it goes to what is painted next, not down to those that are over: the first row
        is the one to watch. A job that was cancelled keeps it: a second x is meant for that one, too.
        """
        if self.job is None or (self.cursor == 0 and not self.has_focus):
            return 0
        now = next(((place, job) for place, job in enumerate(jobs) if job.id == self.job.id), None)
        if now is None:
            return max(min(self.cursor, len(jobs) - 1), 0)
        return 0 if self.job.state == "running" and now[1].is_over else now[0]

    def _measure(self) -> bool:
        """Fit the column of steps and places to what it holds; whether it has another width now."""
        before = self._where_width
        self._where_width = max(MIN_WHERE, len(self._step[1]), len(str(len(self._waiting))))
        return self._where_width != before

    def parts(self, place: int, width: int) -> Iterable[Part]:
        job, next_place = self._jobs[place], self._waiting.start
        if place in self._waiting:
            entry = Entry(job, str(place - next_place + 1), held=self._paused and place == next_place)
        else:
            entry = Entry(job, self._step[1] if job.id == self._step[0] and not job.is_over else "")
        return row(entry, width, self._where_width, self._signs)

    def empty(self, width: int) -> Iterable[Part]:
        return [(shortened(EMPTY, width), "muted")]

    # What can be asked for

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer what can be done with the job under the cursor."""
        job = self.job
        match action:
            case "cancel":
                return job is not None and not job.is_over
            case "retry":
                return job is not None and job.is_over
            case "move":
                return job is not None and job.state == "waiting"
            case "edit":
                return job is not None
            case "cancel_waiting":
                return bool(self._waiting)
            case "forget":
                return any(job.is_over for job in self._jobs[-1:])
        return True

    def cursor_moved(self) -> None:
        self._offer()

    def _offer(self) -> None:
        """Tell the footer, but only when something has changed: it is drawn anew each time."""
        offered = [self.check_action(action, ()) for action in ("cancel", "retry", "edit")]
        if offered != self._offered and self.has_focus:
            self.refresh_bindings()
        self._offered = offered

    def action_cancel(self) -> None:
        """Cancel the job."""
        self._ask(self.Cancel)

    def action_cancel_waiting(self) -> None:
        """Cancel all that wait."""
        self.post_message(self.CancelWaiting())

    def action_pause(self) -> None:
        """Hold the queue, or let it go on."""
        self.post_message(self.Pause(not self._paused))

    def action_edit(self) -> None:
        """Put the job back into the panes."""
        self._ask(self.Edit)

    def action_retry(self) -> None:
        """Let a job that is over wait again."""
        self._ask(self.Retry)

    def action_move(self, by: int) -> None:
        """Move the job towards the end, or (below 0) the front."""
        self._ask(lambda job_id: self.Move(job_id, by))

    def action_forget(self) -> None:
        """Drop what is over from the list."""
        self.post_message(self.Forget())

    def _ask(self, make: Callable[[int], Message]) -> None:
        if self.job is not None:
            self.post_message(make(self.job.id))
