"""The background thread that owns the engine: the only door to the heavy half of `flux_engine`.

Jobs go in through `submit` and are taken one after another; news comes out through the `post` callable, as frozen
dataclasses, from the thread itself. The engine is made inside the thread when the first job needs it, so that no screen
ever waits for JAX. This module knows no widget.
"""

from __future__ import annotations

import itertools
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from flux_engine.errors import FluxError
from flux_engine.request import Event, GenerationRequest, PicturesReady, StageStarted
from flux_tui.gallery import BatchNotSaved, Gallery, SavedPicture

log = logging.getLogger(__name__)

STARTING = "starting JAX"


class EngineLike(Protocol):
    """What the worker asks of an engine; closing the iterator between two events cancels."""

    def generate(self, request: GenerationRequest) -> Iterator[Event]: ...


def default_engine() -> EngineLike:
    """The real engine. Imports JAX, which takes a second or more."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.setswitchinterval(0.001)  # tracing is pure Python: 1 ms instead of 5 keeps the screen's keys quick
    from flux_engine.engine import Engine

    return Engine()


@dataclass(frozen=True)
class JobQueued:
    """A request was accepted; `waiting` jobs are before it."""

    job_id: int
    request: GenerationRequest
    waiting: int


@dataclass(frozen=True)
class JobStarted:
    """A job's turn has come."""

    job_id: int
    request: GenerationRequest


@dataclass(frozen=True)
class JobEvent:
    """The engine said something about a job, when the monotonic clock read `at_s`."""

    job_id: int
    event: Event
    at_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class JobSaved:
    """A job is done and its pictures are in the gallery."""

    job_id: int
    pictures: tuple[SavedPicture, ...]


@dataclass(frozen=True)
class JobFailed:
    """A job ended in a fault; the worker goes on."""

    job_id: int
    message: str
    hint: str = ""


@dataclass(frozen=True)
class JobUnsaved:
    """A job's pictures are painted, but not all of them could be written; `saved` could."""

    job_id: int
    message: str
    hint: str
    saved: tuple[SavedPicture, ...]


@dataclass(frozen=True)
class JobCancelled:
    """A job ended because somebody asked."""

    job_id: int


News = JobQueued | JobStarted | JobEvent | JobSaved | JobUnsaved | JobFailed | JobCancelled


class _Job:
    def __init__(self, job_id: int, request: GenerationRequest) -> None:
        self.job_id = job_id
        self.request = request
        self.cancelled = threading.Event()


class Worker:
    """One thread, one engine, one job at a time.

    Args:
        post: receives the news; called from the worker's thread (and `JobQueued` from the caller's).
        gallery: where finished pictures go.
        make_engine: makes the engine, inside the thread, when the first job needs it.
        log_path: named in the message of an unexpected fault; its traceback goes to this module's logger.
    """

    def __init__(
        self,
        post: Callable[[News], None],
        gallery: Gallery,
        make_engine: Callable[[], EngineLike] = default_engine,
        log_path: Path | None = None,
    ) -> None:
        self._post = post
        self._gallery = gallery
        self._make_engine = make_engine
        self._log_path = log_path
        self._engine: EngineLike | None = None
        self._thread: threading.Thread | None = None
        self._inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._jobs: dict[int, _Job] = {}
        self._ids = itertools.count(1)

    @property
    def unfinished(self) -> tuple[int, ...]:
        """Ids of the jobs that wait or run, oldest first."""
        return tuple(self._jobs)

    def submit(self, request: GenerationRequest) -> int:
        """Queue a request and return its job id; the first one starts the thread."""
        job = _Job(next(self._ids), request)
        self._post(JobQueued(job.job_id, request, waiting=len(self._jobs)))
        self._jobs[job.job_id] = job
        self._inbox.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="flux-engine", daemon=True)
            self._thread.start()
        return job.job_id

    def cancel(self, job_id: int) -> bool:
        """Ask a job to end at the next event; False when it is already over."""
        job = self._jobs.get(job_id)
        if job is None:
            return False
        job.cancelled.set()
        return True

    def stop(self, timeout_s: float) -> bool:
        """Cancel everything and wait; False when the thread is still inside a step after `timeout_s` seconds."""
        for job_id in self.unfinished:
            self.cancel(job_id)
        self._inbox.put(None)
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._inbox.get()) is not None:
            news = self._outcome(job)
            self._jobs.pop(job.job_id, None)
            self._post(news)

    def _outcome(self, job: _Job) -> JobSaved | JobUnsaved | JobFailed | JobCancelled:
        try:
            pictures = self._paint(job)
        except BatchNotSaved as error:
            return JobUnsaved(job.job_id, str(error), error.hint, error.saved)
        except FluxError as error:
            return JobFailed(job.job_id, str(error), error.hint)
        except Exception as error:  # the worker outlives any fault of a job
            log.exception("job %d failed", job.job_id)
            return JobFailed(job.job_id, *_unexpected(error, self._log_path))
        return JobCancelled(job.job_id) if pictures is None else JobSaved(job.job_id, pictures)

    def _paint(self, job: _Job) -> tuple[SavedPicture, ...] | None:
        """The saved pictures, or None when the job was cancelled."""
        if job.cancelled.is_set():
            return None
        self._post(JobStarted(job.job_id, job.request))
        self._gallery.check()  # nothing is painted in vain
        if self._engine is None:
            self._post(JobEvent(job.job_id, StageStarted("loading", STARTING)))
            self._engine = self._make_engine()
        events = self._engine.generate(job.request)
        try:
            for event in events:
                if job.cancelled.is_set():
                    return None
                self._post(JobEvent(job.job_id, event))
                if isinstance(event, PicturesReady):
                    self._post(JobEvent(job.job_id, StageStarted("saving")))
                    return self._gallery.save(event)
        finally:
            if isinstance(events, Generator):
                events.close()
        raise RuntimeError("the engine ended without a picture")


def _unexpected(error: Exception, log_path: Path | None) -> tuple[str, str]:
    first_line = (str(error).strip().splitlines() or ["no message"])[0]
    where = f"The log has the details: {log_path}" if log_path else "The log has the details."
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in first_line:
        return "There is not enough memory for this picture.", "Choose a smaller size or batch. " + where
    if isinstance(error, ImportError):
        return f"The engine could not be started: {first_line}", "Install the project again. " + where
    return f"Something unexpected went wrong: {type(error).__name__}: {first_line}", where
