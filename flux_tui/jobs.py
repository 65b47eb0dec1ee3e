"""The queue: which requests wait, in which order, and what became of those that are over.

One lock, no thread of its own: a screen adds and moves, the worker takes. Knows no engine and no widget.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from flux_engine.request import GenerationRequest

JobState = Literal["waiting", "running", "cancelling", "done", "failed", "cancelled"]

MAX_FINISHED = 100  # what is over is remembered so far back, to be tried again


@dataclass(frozen=True)
class Job:
    """A request and what has become of it; `note` says why it failed."""

    id: int
    request: GenerationRequest
    state: JobState = "waiting"
    note: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ("done", "failed", "cancelled")


class JobQueue:
    """The jobs of a session. Every method may be called from any thread.

    Args:
        changed: called after every change, by the thread that made it; must not block.
    """

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self._ready = threading.Condition()
        self._ids = itertools.count(1)
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._over: list[Job] = []  # latest first
        self._paused = False
        self._closed = False

    # What a screen reads

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The running one, those that wait, in their order, and those that are over, latest first."""
        with self._ready:
            return (*((self._running,) if self._running else ()), *self._waiting, *self._over)

    @property
    def waiting(self) -> tuple[Job, ...]:
        """Those that wait, next one first."""
        with self._ready:
            return tuple(self._waiting)

    @property
    def running(self) -> Job | None:
        """The one being painted."""
        return self._running

    @property
    def paused(self) -> bool:
        """Whether the next job has to wait although none runs."""
        return self._paused

    def get(self, job_id: int) -> Job | None:
        """The job of that id; None when it is long over."""
        return next((job for job in self.jobs if job.id == job_id), None)

    # What a screen does

    def add(self, *requests: GenerationRequest, front: bool = False) -> tuple[Job, ...]:
        """Let requests wait, in their order, after all others or before them."""
        with self._ready:
            jobs = tuple(Job(next(self._ids), request) for request in requests)
            place = 0 if front else len(self._waiting)
            self._waiting[place:place] = jobs
            self._ready.notify()
        self._changed()
        return jobs

    def move(self, job_id: int, by: int) -> bool:
        """Move a waiting job towards the front (negative) or the end; False when it waits no longer."""
        with self._ready:
            place = self._place(job_id)
            if place is None:
                return False
            job = self._waiting.pop(place)
            self._waiting.insert(max(0, place + by), job)
        self._changed()
        return True

    def take_back(self, job_id: int) -> GenerationRequest | None:
        """Let a job wait no longer, to edit its request; it can be tried again. None when it does not wait."""
        with self._ready:
            place = self._place(job_id)
            if place is None:
                return None
            job = self._waiting.pop(place)
            self._remember(replace(job, state="cancelled", note="edited"))
        self._changed()
        return job.request

    def retry(self, job_id: int) -> Job | None:
        """Let the request of a job that is over wait again; None when it is not over, or forgotten."""
        job = self.get(job_id)
        return self.add(job.request)[0] if job is not None and job.is_over else None

    def cancel(self, job_id: int) -> bool:
        """End a waiting job now, or mark the running one to end as soon as it can; False when it is over."""
        with self._ready:
            if self._running is not None and self._running.id == job_id:
                self._running = replace(self._running, state="cancelling")
            elif (place := self._place(job_id)) is not None:
                self._remember(replace(self._waiting.pop(place), state="cancelled"))
            else:
                return False
        self._changed()
        return True

    def cancel_waiting(self) -> int:
        """End all jobs but the running one; how many that were."""
        with self._ready:
            count = len(self._waiting)
            for job in self._waiting:
                self._remember(replace(job, state="cancelled"))
            self._waiting.clear()
        self._changed()
        return count

    def forget_finished(self) -> None:
        """Drop what is over from the list."""
        with self._ready:
            self._over.clear()
        self._changed()

    def pause(self, paused: bool) -> None:
        """Hold back the next job, or let it go; the running one goes on."""
        with self._ready:
            self._paused = paused
            self._ready.notify()
        self._changed()

    # What the worker does

    @property
    def is_closed(self) -> bool:
        """Whether no more is taken."""
        return self._closed

    @property
    def has_next(self) -> bool:
        """Whether `take` would not wait."""
        return self._closed or bool(self._waiting and not self._paused)

    def take(self, unless: Callable[[], bool] = lambda: False) -> Job | None:
        """Wait for the next job, which then runs; None when it is closed, or none can go and `unless` holds.

        Args:
            unless: looked at now, and after `look_up`.
        """
        with self._ready:
            self._ready.wait_for(lambda: self.has_next or unless())
            if self._closed or not self.has_next:
                return None
            self._running = replace(self._waiting.pop(0), state="running")
            job = self._running
        self._changed()
        return job

    def look_up(self) -> None:
        """Have one that waits in `take` look at its `unless`."""
        with self._ready:
            self._ready.notify()

    def is_cancelling(self, job_id: int) -> bool:
        """Whether the running job has been asked to end."""
        running = self._running
        return self._closed or running is None or running.id != job_id or running.state == "cancelling"

    def finish(self, state: JobState, note: str = "") -> None:
        """The running job is over."""
        with self._ready:
            if self._running is not None:
                self._remember(replace(self._running, state=state, note=note))
                self._running = None
        self._changed()

    def close(self) -> None:
        """Take no more; the running job is asked to end."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def _place(self, job_id: int) -> int | None:
        return next((place for place, job in enumerate(self._waiting) if job.id == job_id), None)

    def _remember(self, job: Job) -> None:
        self._over.insert(0, job)
        del self._over[MAX_FINISHED:]
