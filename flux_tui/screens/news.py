"""What the worker says, made visible: progress, previews, finished pictures, faults, and the queue."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from textual.timer import Timer

from flux_engine.request import EngineStatus, LoadingProgress, PicturesReady, StageStarted, StepDone
from flux_tui.gallery import SavedPicture
from flux_tui.jobs import Job
from flux_tui.progress import JobProgress, duration_text
from flux_tui.screens.facts import Facts
from flux_tui.session import Session
from flux_tui.worker import (
    JobCancelled,
    JobEvent,
    JobFailed,
    JobSaved,
    JobStarted,
    JobUnsaved,
    News,
    QueueChanged,
    WarmingUp,
    Worker,
)

if TYPE_CHECKING:
    from flux_tui.screens.main import MainScreen

TICK_S = 0.5  # how often progress is drawn: Textual drops no frame, a slow link would fall behind
ROW_S = 1.0  # how often the queue tells the step: painted with a preview, it would have all between painted, too
SOON_S = 0.75 * TICK_S  # with a step, in one painting, where the last one is so long ago
WRITE_S = 1.0  # the state is written so long after the latest change
BEHIND_PROGRAM = "Queued: it begins when the program that is being compiled is done."


class Newsroom:
    """Shows the worker's news on a screen's panes.

    Args:
        screen: whose panes.
        worker: whose news, and whose queue is cancelled.
        session: what learns how long stages take, and keeps the queue.
    """

    def __init__(self, screen: MainScreen, worker: Worker, session: Session) -> None:
        self._screen = screen
        self._queue = worker.queue
        self._session = session
        self._job: Job | None = None
        self._progress: JobProgress | None = None
        self._facts = Facts(screen, worker.queue)
        self._ticks: list[Timer] = []
        self._write: Timer | None = None
        self._was_busy = False
        self._shown_at_s = 0.0

    def open(self) -> None:
        """The screen is there; the first of a queue that the last run left may be painted by now."""
        fps, waits = self._session.option("max_fps"), not self.is_painting
        self._ticks = [
            self._screen.set_interval(TICK_S, self.show_progress, pause=waits),
            self._screen.set_interval(1 / fps, self._draw_waiting, pause=True),
            self._screen.set_interval(ROW_S, self._show_step_in_queue, pause=waits),
        ]
        if waits:
            self.welcome()
        self._show_queue()

    def welcome(self) -> None:
        """Say in place of a picture how one comes about."""
        words = f"Say in the prompt what to paint,\nthen press {self._screen.key('generate')}."
        self._screen.easel.words(partial(self._screen.stage.say, words))

    @property
    def is_painting(self) -> bool:
        """Whether a job runs."""
        return self._job is not None

    @property
    def doing(self) -> str:
        """How far the running job is, "step 7 of 20"; "" when none runs."""
        if self._progress is None:
            return ""
        step = f"step {self._progress.step} of {self._progress.num_steps}"
        return step if self._progress.stage == "denoising" else self._progress.stage or "starting"

    @property
    def is_busy(self) -> bool:
        """Whether there is something to cancel."""
        return self.is_painting or bool(self._queue.waiting)

    def cancel(self) -> None:
        """End the running job, or the first that waits; it is said at once."""
        jobs = [job for job in (self._queue.running, *self._queue.waiting) if job is not None]
        if jobs:
            self._queue.cancel(jobs[0].id)
            self.show_progress()

    def take(self, news: News) -> None:
        """Show one piece of news."""
        match news:
            case QueueChanged():
                self._show_queue()
            case EngineStatus():
                self._facts.take(news)
            case WarmingUp(request):
                self._facts.warming_up(request)
            case JobStarted(job):
                self._begin(job)
            case JobEvent(_, PicturesReady() as ready):
                self._screen.easel.finished(ready.images[0], facts_of(ready))
                for warning in ready.warnings:
                    self._screen.notify(warning, title="Note", severity="warning", timeout=10, markup=False)
            case JobEvent(_, StageStarted() | LoadingProgress() | StepDone() as event, at_s):
                self._advance(event, at_s)
            case JobSaved() | JobUnsaved() | JobFailed() | JobCancelled():
                self._end(news)

    # A job

    def _begin(self, job: Job) -> None:
        if self._screen.status.content.plain == BEHIND_PROGRAM:
            self._screen.status.say("")
        self._job = job
        self._progress = JobProgress(request=job.request, started_at_s=time.monotonic())
        if not self._screen.easel.has_picture:
            self._screen.easel.words(partial(self._screen.stage.say, "The first steps will show here."))
        for tick in self._ticks:
            tick.resume()
        self._count_steps()
        self.show_progress()
        self._offer_cancel()

    def _offer_cancel(self) -> None:
        """Cancel comes and goes in the footer, which is made anew each time: so not at every step, nor for each job."""
        if self.is_busy != self._was_busy:
            self._was_busy = self.is_busy
            self._screen.refresh_bindings()

    def _advance(self, event: StageStarted | LoadingProgress | StepDone, at_s: float) -> None:
        if self._progress is None or self._job is None:
            return
        self._progress = self._progress.after(event, at_s)
        if isinstance(event, StepDone):
            if event.step == 1:
                self._show_step_in_queue()
            self._count_steps()
            if event.preview is not None:
                self._screen.easel.preview(event.preview, last=event.step == event.num_steps)
                self._wake_previews()
            if self._ticks and time.monotonic() - self._shown_at_s > SOON_S:
                self.show_progress()
                self._ticks[0].reset()
        elif isinstance(event, StageStarted):
            self.show_progress()

    def _wake_previews(self) -> None:
        if self._ticks and self._screen.stage.has_waiting:
            self._ticks[1].resume()

    def _draw_waiting(self) -> None:
        """Draw the preview that waits; when none does, the tick rests: it would wake the processor for nothing."""
        stage = self._screen.stage
        stage.draw_preview()
        if not stage.has_waiting:
            self._ticks[1].pause()

    def _show_step_in_queue(self) -> None:
        if self._job is not None and self._progress is not None and self._progress.step:
            self._screen.queue.progress(self._job.id, f"{self._progress.step}/{self._progress.num_steps}")

    def _count_steps(self) -> None:
        """Say beside the picture's name how far it is: on a small screen that is all there is to see of it."""
        progress = self._progress
        self._screen.tabs.mark("picture", f"{progress.step}/{progress.num_steps}" if progress else "")

    def show_progress(self) -> None:
        """Say how far the running job is, below the picture."""
        if self._job is not None and self._progress is not None:
            running = self._queue.running
            cancelling = running is not None and running.state == "cancelling"
            learned = self._session.state.expected_s
            self._shown_at_s = time.monotonic()
            self._screen.stage.show_progress(self._progress, self._shown_at_s, learned, cancelling=cancelling)
            self._wake_previews()  # one that was looked away from, or that no step brought

    def _end(self, news: JobSaved | JobUnsaved | JobFailed | JobCancelled) -> None:
        now_s = time.monotonic()
        for tick in self._ticks:
            tick.pause()
        progress, self._job, self._progress = self._progress, None, None
        if progress is not None and isinstance(news, JobSaved):
            self._session.learn(progress.ended(now_s))
        took = duration_text(progress.elapsed_s(now_s)) if progress is not None else ""
        self._count_steps()
        self._tell_end(news, took)
        self._screen.easel.settle()
        self.write_soon()
        self._facts.show()
        self._offer_cancel()

    def _tell_end(self, news: JobSaved | JobUnsaved | JobFailed | JobCancelled, took: str) -> None:
        screen = self._screen
        match news:
            case JobSaved(_, pictures):
                self._keep(pictures)
                first = pictures[0]
                more = f" and {len(pictures) - 1} more" if len(pictures) > 1 else ""
                screen.status.say(f"Saved {first.day}/{first.path.name}{more} in {took}.", "$text-success")
            case JobUnsaved(_, message, hint, saved):
                self._keep(saved)
                screen.status.say("Painted, but not saved.", "$text-error")
                screen.notify(f"{message} {hint}", title="Not saved", severity="error", timeout=30, markup=False)
            case JobFailed(_, message, hint):
                covered = screen.easel.is_looking or self._queue.jobs[0].id != news.job.id
                self.say_fault(message, hint)
                screen.status.say(
                    f"The picture was not painted. {screen.key('zoom')} gives the reason more room.", "$text-error"
                )
                if covered:  # another picture soon covers the stage, or has done so
                    screen.notify(f"{message} {hint}", title="Not painted", severity="error", timeout=15, markup=False)
            case JobCancelled():
                screen.status.say(f"Cancelled. {screen.key('generate')} paints again.")
                if not screen.easel.has_picture:
                    self.welcome()

    def say_fault(self, message: str, hint: str) -> None:
        """Say in place of the picture why there is none."""
        self._screen.easel.words(partial(self._screen.stage.say_fault, "Not painted", message, hint))

    def _keep(self, pictures: tuple[SavedPicture, ...]) -> None:
        self._screen.history.add(pictures)
        if pictures:
            self._screen.easel.saved(pictures[0])

    # The queue and the status line

    def say_waiting(self) -> None:
        """Say that what was asked for waits, and for what: nothing else near the prompt changes."""
        waiting = len(self._queue.waiting)
        if self._queue.paused:
            go_on = f"{self._screen.key('pause')} lets {'it' if waiting == 1 else 'them'} go on."
            self._screen.status.say(f"Paused: {waiting or 'none'} waiting; {go_on}", "$text-warning")
        elif waiting and self.is_painting:
            self._screen.status.say("Queued.")
        elif waiting and self._facts.is_warming_up:
            self._screen.status.say(BEHIND_PROGRAM)

    def pause(self, paused: bool) -> None:
        """Hold the queue, or let it go on."""
        self._queue.pause(paused)
        if paused:
            self.say_waiting()
        else:
            self._screen.status.say("The queue goes on.")

    def _show_queue(self) -> None:
        self._screen.queue.show(self._queue.jobs, self._queue.paused)
        waiting = self._queue.waiting
        self._screen.tabs.mark("queue", str(len(waiting)) if waiting else "")
        self.keep_queue()
        self.write_soon()
        self._facts.show()
        self._offer_cancel()

    def keep_queue(self, *, give_up: bool = False) -> None:
        """Note what is still to be painted; the picture being painted, too, unless it is given up."""
        running = self._queue.running
        unfinished = (*((running,) if running and not give_up else ()), *self._queue.waiting)
        self._session.keep(queue=tuple(job.request for job in unfinished), paused=self._queue.paused)

    def write_soon(self) -> None:
        """Bring the state to the disk within a second, in a thread: a disk may take its time."""
        if self._write is None:
            self._write = self._screen.set_timer(WRITE_S, self._write_now)

    def _write_now(self) -> None:
        self._write = None
        threading.Thread(target=self._session.write, name="flux-state", daemon=True).start()


def facts_of(ready: PicturesReady) -> tuple[str, ...]:
    """What the caption says of a picture that is not saved yet."""
    request = ready.request
    return f"{request.width} x {request.height}", f"seed {request.seed}", f"{request.num_steps} steps"
