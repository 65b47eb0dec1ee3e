"""The background thread that owns the engine: the only door to the heavy half of `flux_engine`.

It takes jobs from a `JobQueue` one after another; news comes out through the `post` callable, as frozen dataclasses,
from the thread itself. The engine is made inside the thread when something first needs it, so that no screen ever waits
for JAX. While no job can go, it compiles ahead for what the settings ask for. This module knows no widget.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib.util
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from pathlib import Path

from flux_engine.errors import FluxError, unexpected
from flux_engine.request import (
    EngineLike,
    EngineStatus,
    Event,
    GenerationRequest,
    PicturesReady,
    StageStarted,
    StepDone,
)
from flux_engine.where import MeshSizes, Processes
from flux_tui.gallery import BatchNotSaved, Gallery, SavedPicture
from flux_tui.jobs import Job, JobQueue

log = logging.getLogger(__name__)

STARTING = "starting JAX"
NICE = 10  # keys while sampling show after 14 ms instead of 21
FEW_OBJECTS = 20_000  # the collector goes through them in some 4 ms


def set_aside() -> None:
    """Have the collector pass over what lives now: it would go through all of JAX every 3 s, 0.2 s without a key.

    What is garbage now is collected first, unless that takes long: then a compiler has just run. A list of them all,
    to be counted, would take as long: what the collector has counted since the last time is nearly all there is.
    """
    if gc.get_count()[0] < FEW_OBJECTS:
        gc.collect()
    gc.freeze()


def _mind_the_collector(event: Event) -> None:
    """Stop it from a stage's beginning to its first step: what is traced and compiled lives, and is no garbage."""
    if isinstance(event, StageStarted):
        set_aside()
        gc.disable()
    elif isinstance(event, StepDone) and event.step == 1:
        set_aside()
        gc.enable()


def _open_library() -> None:
    """Map JAX's library into the process ahead of its import, which would hold Python's lock meanwhile, for 0.1 s.

    A function that ctypes calls does without the lock. Where this fails, the import is as it always was.
    """
    with contextlib.suppress(Exception):
        package = importlib.util.find_spec("jaxlib")
        for folder in (package and package.submodule_search_locations) or ():
            for library in Path(folder).glob("libjax_common.so"):
                ctypes.CDLL(None).dlopen(os.fsencode(library), os.RTLD_NOW)


def _yield_to_the_screen() -> None:
    """Let the screen's thread go first; the threads that XLA starts from this one do as it does."""
    if sys.platform == "linux":  # elsewhere it would be the whole process
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)


def default_engine(mesh: MeshSizes | None = None, processes: Processes | None = None) -> EngineLike:
    """The real engine. Imports JAX, which takes a second or more.

    Args:
        mesh: devices that share the work; by default one does it.
        processes: whose devices these are, if not this one's alone; it waits for the others.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.setswitchinterval(0.001)  # tracing is pure Python: 1 ms instead of 5 keeps the screen's keys quick
    gc.disable()
    _open_library()
    importlib.import_module("PIL.Image")  # else the screen's thread would import it for the first preview
    try:
        from flux_engine.engine import Engine
    finally:
        gc.enable()
        set_aside()
    if processes is not None:
        from flux_engine.distributed import lead

        return lead(processes, mesh)
    return Engine(mesh=mesh)


@dataclass(frozen=True)
class QueueChanged:
    """Jobs were added, moved, taken or ended; the queue itself knows which."""


@dataclass(frozen=True)
class JobStarted:
    """A job's turn has come."""

    job: Job


@dataclass(frozen=True)
class JobEvent:
    """The engine said something about a job, when the monotonic clock read `at_s`."""

    job_id: int
    event: Event
    at_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class JobSaved:
    """A job is done and its pictures are in the gallery."""

    job: Job
    pictures: tuple[SavedPicture, ...]


@dataclass(frozen=True)
class JobFailed:
    """A job ended in a fault; the worker goes on."""

    job: Job
    message: str
    hint: str = ""


@dataclass(frozen=True)
class JobUnsaved:
    """A job's pictures are painted, but not all of them could be written; `saved` could."""

    job: Job
    message: str
    hint: str
    saved: tuple[SavedPicture, ...]


@dataclass(frozen=True)
class JobCancelled:
    """A job that had begun ended because somebody asked."""

    job: Job


@dataclass(frozen=True)
class WarmingUp:
    """What is compiled ahead from now on: the programs of such a request; None is nothing any more."""

    request: GenerationRequest | None


Outcome = JobSaved | JobUnsaved | JobFailed | JobCancelled
News = QueueChanged | JobStarted | JobEvent | EngineStatus | WarmingUp | Outcome

_STATES = {JobSaved: "done", JobUnsaved: "failed", JobFailed: "failed", JobCancelled: "cancelled"}


class _Stopped(Exception):
    """Raised through the engine when a job was cancelled inside a stage."""


class Worker:
    """One thread, one engine, one job at a time.

    Args:
        post: receives the news, from the worker's thread, and `QueueChanged` from whoever changed the queue.
        gallery: where finished pictures go.
        make_engine: makes the engine, inside the thread, when it is first needed.
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
        self._wish: GenerationRequest | None = None  # of those that are asked for ahead, the last
        self._warm: set[GenerationRequest] = set()  # what is compiled, or could not be
        self._is_warming = False
        self.queue = JobQueue(lambda: post(QueueChanged()))

    def submit(self, *requests: GenerationRequest, front: bool = False) -> tuple[Job, ...]:
        """Queue requests in their order; the first ones start the thread."""
        jobs = self.queue.add(*requests, front=front)
        self.start()
        return jobs

    def warm_up(self, request: GenerationRequest) -> None:
        """Have the engine compile what such a request runs, as soon as no job can go; only the last one counts."""
        self._wish = _kind(request)
        self.start()
        self.queue.look_up()

    def start(self) -> None:
        """Start the thread if it does not run yet."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="flux-engine", daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Cancel the running job, take no other, and wait; False when a step still runs after `timeout_s` seconds.

        What is only compiled ahead is not waited for: a large program takes half a minute.
        """
        self.queue.close()
        if self._thread is None:
            return True
        self._thread.join(0.0 if self._is_warming else timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        _yield_to_the_screen()
        while not self.queue.is_closed:
            if (job := self.queue.take(unless=self._has_wish)) is not None:
                self._work(job)
            elif (wish := self._wish) is not None:
                self._compile_ahead(wish)

    def _work(self, job: Job) -> None:
        self._post(JobStarted(job))
        news = self._outcome(job)
        note = news.message if isinstance(news, (JobFailed, JobUnsaved)) else ""
        self.queue.finish(_STATES[type(news)], note)  # type: ignore[arg-type]
        if isinstance(news, JobSaved):
            self._warm.add(_kind(job.request))
        self._post(news)
        self._report_status()

    def _outcome(self, job: Job) -> Outcome:
        try:
            return JobSaved(job, self._paint(job))
        except _Stopped:
            return JobCancelled(job)
        except BatchNotSaved as error:
            return JobUnsaved(job, str(error), error.hint, error.saved)
        except FluxError as error:
            failed = JobFailed(job, str(error), error.hint)
        except BaseException as error:  # the worker outlives any fault of a job
            log.exception("job %d failed", job.id)
            where = f": {self._log_path}" if self._log_path else "."
            failed = JobFailed(job, *unexpected(error, f"The log has the details{where}"))
        return JobCancelled(job) if self.queue.is_cancelling(job.id) else failed

    def _paint(self, job: Job) -> tuple[SavedPicture, ...]:
        def watch(event: Event) -> None:
            if self.queue.is_cancelling(job.id):
                raise _Stopped
            self._post(JobEvent(job.id, event))

        self._gallery.check()  # nothing is painted in vain
        if self._engine is None:
            watch(StageStarted("loading", STARTING))
        events = self._made_engine().generate(job.request, watch)
        try:
            for event in events:
                watch(event)
                _mind_the_collector(event)
                if isinstance(event, PicturesReady):
                    watch(StageStarted("saving"))
                    return self._gallery.save(event)
                if isinstance(event, StageStarted):
                    self._report_status()
        finally:
            gc.enable()
            if isinstance(events, Generator):
                events.close()
        raise RuntimeError("the engine ended without a picture")

    def _made_engine(self) -> EngineLike:
        if self._engine is None:
            self._engine = self._make_engine()
            self._report_status()
        return self._engine

    # Ahead of a job

    def _has_wish(self) -> bool:
        return self._wish is not None and self._wish not in self._warm

    def _compile_ahead(self, wish: GenerationRequest) -> None:
        """Until all of it is compiled, or a job can go, which is looked for between two programs; the rest comes after.

        A fault goes to the log alone: when a picture is asked for, it comes again and is told.
        """
        self._is_warming = True
        self._post(WarmingUp(wish))
        try:
            if self._warms_up(wish):
                self._warm.add(wish)
        except BaseException as error:  # the worker outlives any fault
            self._warm.add(wish)
            log.warning("nothing is compiled ahead: %r", error, exc_info=not isinstance(error, FluxError))
        finally:
            gc.enable()
            set_aside()
            self._is_warming = False
            self._post(WarmingUp(None))

    def _warms_up(self, wish: GenerationRequest) -> bool:
        """Compile ahead; False when something else is wanted before all is compiled."""
        engine = self._made_engine()
        with contextlib.closing(engine.warm(wish)) as programs:
            for _ in programs:
                if self.queue.has_next or self._wish != wish:
                    return False
                set_aside()  # what is traced and compiled lives, and is no garbage
                gc.disable()
        return True

    def _report_status(self) -> None:
        if self._engine is None:
            return
        try:
            self._post(self._engine.status())
        except Exception:  # a lost device ends jobs, with words; it does not end the worker
            log.exception("the engine does not tell its state")


def _kind(request: GenerationRequest) -> GenerationRequest:
    """The same for all requests that run the same programs."""
    return replace(
        request,
        prompt="-",
        negative_prompt=None if request.negative_prompt is None else "-",
        num_steps=1,
        guidance_scale=1.0,
        true_cfg_scale=2.0 if request.true_cfg_scale > 1 else 1.0,
        seed=0,
        timer="auto",
        sigma_shift=None,
    )
