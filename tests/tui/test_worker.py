"""The worker paints one job after another in its own thread, and outlives whatever a job does."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import pytest

from flux_engine.errors import CheckpointNotFound
from flux_engine.request import (
    EngineStatus,
    Event,
    GenerationRequest,
    LoadingProgress,
    PicturesReady,
    StageStarted,
    StepDone,
)
from flux_tui import worker
from flux_tui.gallery import Gallery
from flux_tui.worker import (
    STARTING,
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
from tests.tui.fakes import FakeEngine, fill_up_after
from tests.tui.pictures import saved_pictures
from tests.tui.scripted import until

REQUEST = GenerationRequest(prompt="a hill", width=16, height=16, num_steps=3)
WAIT_S = 20.0


class Desk:
    """A worker with a fake engine, and its news in order."""

    def __init__(self, gallery: Gallery, engine: FakeEngine) -> None:
        self.engine = engine
        self.news: SimpleQueue[News] = SimpleQueue()
        self.made = 0
        self.worker = Worker(self.hear, gallery, self.make, log_path=Path("/log/file"))

    def hear(self, news: News) -> None:
        if not isinstance(news, (QueueChanged, EngineStatus, WarmingUp)):
            self.news.put(news)

    def make(self) -> FakeEngine:
        self.made += 1
        return self.engine

    def until(self, *kinds: type) -> list[News]:
        """All news up to the first of one of these kinds."""
        heard: list[News] = []
        while not heard or not isinstance(heard[-1], kinds):
            heard.append(self.news.get(timeout=WAIT_S))
        return heard

    def end(self) -> News:
        return self.until(JobSaved, JobUnsaved, JobFailed, JobCancelled)[-1]


@pytest.fixture
def gate() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture
def desk(gallery: Gallery, gate: threading.Semaphore) -> Desk:
    return Desk(gallery, FakeEngine(gate=gate))


def test_a_job_tells_its_whole_story_in_order(desk: Desk, gate: threading.Semaphore, gallery: Gallery) -> None:
    assert desk.made == 0
    (job,) = desk.worker.submit(REQUEST)
    gate.release(3)
    story = desk.until(JobSaved)
    assert isinstance(story[0], JobStarted) and (story[0].job.id, story[0].job.request) == (job.id, REQUEST)
    events = [news.event for news in story if isinstance(news, JobEvent)]
    assert events[0] == StageStarted("loading", STARTING)
    stages = [event.stage for event in events if isinstance(event, StageStarted)]
    assert stages == ["loading", "loading", "encoding", "denoising", "decoding", "saving"]
    assert [event.step for event in events if isinstance(event, StepDone)] == [1, 2, 3]
    assert isinstance(events[-2], PicturesReady)
    saved = story[-1]
    assert isinstance(saved, JobSaved) and list(saved.pictures) == saved_pictures(gallery)
    assert saved.pictures[0].record.request == REQUEST
    assert desk.worker.stop(WAIT_S)


def test_jobs_are_taken_one_after_another_by_one_engine_in_one_thread(desk: Desk, gate: threading.Semaphore) -> None:
    jobs = desk.worker.submit(REQUEST, REQUEST, REQUEST)
    gate.release(9)
    assert [desk.end().job.id for _ in jobs] == [job.id for job in jobs]
    assert desk.made == 1
    assert set(desk.engine.thread_names) == {"flux-engine"}
    assert {job.state for job in desk.worker.queue.jobs} == {"done"}
    assert desk.worker.stop(WAIT_S)


@pytest.mark.parametrize("fault", [CheckpointNotFound("gone"), ZeroDivisionError("by zero")])
def test_a_job_that_fails_while_it_is_being_cancelled_is_cancelled(
    desk: Desk, gate: threading.Semaphore, fault: Exception
) -> None:
    desk.engine.fault, desk.engine.fault_at = fault, 1
    (job,) = desk.worker.submit(REQUEST)
    while not (isinstance(news := desk.news.get(timeout=WAIT_S), JobEvent) and news.event == StageStarted("denoising")):
        pass
    assert desk.worker.queue.cancel(job.id)
    gate.release()
    assert isinstance(desk.end(), JobCancelled)
    assert [(job.state, job.note) for job in desk.worker.queue.jobs] == [("cancelled", "")]
    assert desk.worker.stop(WAIT_S)


def test_a_cancel_acts_after_the_step_and_closes_the_engines_generator(desk: Desk, gate: threading.Semaphore) -> None:
    (job,) = desk.worker.submit(REQUEST)
    gate.release()
    desk.until(JobEvent)
    assert desk.worker.queue.cancel(job.id)
    gate.release()
    news = desk.end()
    assert isinstance(news, JobCancelled) and news.job.id == job.id
    assert desk.engine.closed.acquire(timeout=WAIT_S)
    assert not desk.worker.queue.cancel(job.id)
    assert [job.state for job in desk.worker.queue.jobs] == ["cancelled"]
    assert desk.worker.stop(WAIT_S)


def test_a_cancel_acts_while_weights_are_read(gallery: Gallery) -> None:
    loading = threading.Semaphore(0)
    desk = Desk(gallery, FakeEngine(loading_gate=loading))
    (job,) = desk.worker.submit(REQUEST)
    loading.release()
    while not (isinstance(news := desk.news.get(timeout=WAIT_S), JobEvent) and isinstance(news.event, LoadingProgress)):
        pass
    desk.worker.queue.cancel(job.id)
    loading.release()
    assert isinstance(desk.end(), JobCancelled)
    assert desk.engine.closed.acquire(timeout=WAIT_S)
    assert desk.worker.stop(WAIT_S)


def test_a_waiting_job_can_be_cancelled_without_ever_starting(desk: Desk, gate: threading.Semaphore) -> None:
    desk.worker.submit(REQUEST)
    (second,) = desk.worker.submit(REQUEST)
    desk.worker.queue.cancel(second.id)
    gate.release(3)
    assert isinstance(desk.end(), JobSaved)
    assert desk.worker.stop(WAIT_S)
    assert len(desk.engine.requests) == 1


def test_the_engine_tells_its_state_once_it_is_there_and_at_the_end(gallery: Gallery) -> None:
    heard: SimpleQueue[News] = SimpleQueue()
    worker = Worker(heard.put, gallery, FakeEngine)
    worker.submit(REQUEST)
    statuses = 0
    while not isinstance(news := heard.get(timeout=WAIT_S), JobSaved):
        statuses += isinstance(news, EngineStatus)
    assert statuses and heard.get(timeout=WAIT_S) == FakeEngine().status()
    assert worker.stop(WAIT_S)


def test_a_known_fault_gives_its_message_and_hint_and_the_next_job_works(desk: Desk, gate: threading.Semaphore) -> None:
    desk.engine.fault = CheckpointNotFound("No folder there.", hint="Name another.")
    (first,) = desk.worker.submit(REQUEST)
    news = desk.end()
    assert isinstance(news, JobFailed)
    assert (news.job.id, news.message, news.hint) == (first.id, "No folder there.", "Name another.")
    assert desk.worker.queue.jobs[0].note == "No folder there."
    gate.release(3)
    desk.worker.submit(REQUEST)
    assert isinstance(desk.end(), JobSaved)
    assert desk.worker.stop(WAIT_S)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (ZeroDivisionError("by zero\nsecond line"), "Something unexpected went wrong: ZeroDivisionError: by zero."),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "There is not enough memory for this picture."),
        (MemoryError(), "There is not enough memory for this picture."),
    ],
)
def test_an_unexpected_fault_names_the_log_and_its_traceback_is_there(
    desk: Desk, gate: threading.Semaphore, caplog: pytest.LogCaptureFixture, fault: Exception, message: str
) -> None:
    desk.engine.fault, desk.engine.fault_at = fault, 1
    gate.release(1)
    desk.worker.submit(REQUEST)
    with caplog.at_level(logging.ERROR):
        news = desk.end()
    assert isinstance(news, JobFailed) and news.message == message
    assert "/log/file" in news.hint
    assert "Traceback" in caplog.text
    assert desk.worker.stop(WAIT_S)


def test_an_engine_that_cannot_be_made_is_said_and_tried_again(gallery: Gallery) -> None:
    attempts = 0

    def make() -> FakeEngine:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ImportError("No module named 'jax'")
        return FakeEngine()

    news: SimpleQueue[News] = SimpleQueue()
    worker = Worker(news.put, gallery, make)
    for expected in (JobFailed, JobSaved):
        worker.submit(REQUEST)
        heard = news.get(timeout=WAIT_S)
        while not isinstance(heard, (JobFailed, JobSaved)):
            heard = news.get(timeout=WAIT_S)
        assert isinstance(heard, expected)
        if isinstance(heard, JobFailed):
            assert heard.message == "The engine could not be started: No module named 'jax'."
    assert worker.stop(WAIT_S)


def test_a_device_that_is_lost_ends_no_thread(gallery: Gallery, caplog: pytest.LogCaptureFixture) -> None:
    class Lost(FakeEngine):
        def status(self) -> EngineStatus:
            raise RuntimeError("device lost")

    desk = Desk(gallery, Lost())
    desk.worker.submit(REQUEST, REQUEST)
    assert isinstance(desk.end(), JobSaved) and isinstance(desk.end(), JobSaved)
    assert "device lost" in caplog.text
    assert desk.worker.stop(WAIT_S)


def test_a_gallery_that_cannot_be_written_fails_the_job(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    desk = Desk(Gallery(tmp_path / "file"), FakeEngine())
    desk.worker.submit(REQUEST)
    news = desk.end()
    assert isinstance(news, JobFailed) and "could not be written" in news.message and news.hint
    assert desk.engine.requests == []  # nothing is painted in vain
    assert desk.worker.stop(WAIT_S)


def test_a_disk_that_fills_up_in_a_batch_gives_back_what_was_saved(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_up_after(2, monkeypatch)
    desk = Desk(gallery, FakeEngine())
    (job,) = desk.worker.submit(replace(REQUEST, batch_size=3))
    news = desk.end()
    assert isinstance(news, JobUnsaved) and news.job.id == job.id
    assert "No space left on device" in news.message and "The disk is full" in news.hint
    assert len(news.saved) == 2 and list(reversed(news.saved)) == saved_pictures(gallery)
    assert desk.worker.stop(WAIT_S)


def test_events_tell_when_they_happened(desk: Desk, gate: threading.Semaphore) -> None:
    before = time.monotonic()
    gate.release(3)
    desk.worker.submit(REQUEST)
    times = [news.at_s for news in desk.until(JobSaved) if isinstance(news, JobEvent)]
    assert times == sorted(times) and before <= times[0] and times[-1] <= time.monotonic()
    assert desk.worker.stop(WAIT_S)


def test_stopping_does_not_wait_for_ever(desk: Desk, gate: threading.Semaphore) -> None:
    desk.worker.submit(REQUEST)
    assert desk.engine.started.wait(WAIT_S)
    assert not desk.worker.stop(0.01)
    gate.release()
    assert desk.worker.stop(WAIT_S)


def test_a_worker_that_never_worked_stops_at_once(desk: Desk) -> None:
    assert desk.worker.stop(0.0)
    assert desk.made == 0


WIDE = replace(REQUEST, width=32)


@pytest.fixture
def warm_gate() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture
def warming(gallery: Gallery, warm_gate: threading.Semaphore) -> Iterator[Desk]:
    """A worker that compiles ahead for WIDE, and is at the first of three programs."""
    desk = Desk(gallery, FakeEngine(warm_gate=warm_gate))
    desk.worker.warm_up(WIDE)
    until(lambda: desk.engine.warmed)
    yield desk
    desk.worker.queue.close()
    warm_gate.release(100)
    until(lambda: desk.worker.stop(WAIT_S))


def test_a_job_goes_between_two_programs_that_are_compiled_ahead(warming: Desk, warm_gate: threading.Semaphore) -> None:
    warming.worker.submit(REQUEST)
    assert not warming.engine.requests and warming.worker.queue.waiting
    warm_gate.release()
    assert isinstance(warming.end(), JobSaved)
    assert warming.engine.warmed[:1] == ["encoders 32x16"]
    warm_gate.release(3)
    until(lambda: warming.engine.warmed == ["encoders 32x16", "encoders 32x16", "steps 32x16", "decoding 32x16"])


def test_a_job_that_waits_for_a_program_can_be_cancelled(warming: Desk, warm_gate: threading.Semaphore) -> None:
    (job,) = warming.worker.submit(REQUEST)
    warming.worker.queue.cancel(job.id)
    warm_gate.release(3)
    until(lambda: len(warming.engine.warmed) == 3)
    assert not warming.engine.requests


def test_of_what_is_asked_for_ahead_only_the_last_is_compiled_and_nothing_twice(
    warming: Desk, warm_gate: threading.Semaphore
) -> None:
    warming.worker.warm_up(replace(REQUEST, width=48))
    warming.worker.warm_up(replace(REQUEST, width=64))
    warm_gate.release(4)
    until(lambda: warming.engine.warmed[1:] == ["encoders 64x16", "steps 64x16", "decoding 64x16"])
    warming.worker.warm_up(replace(REQUEST, width=64, prompt="another", seed=7, num_steps=9, guidance_scale=2.0))
    warming.worker.submit(REQUEST)
    warming.end()
    warming.worker.warm_up(replace(REQUEST, prompt="as it was painted"))
    warming.worker.submit(REQUEST)
    warming.end()
    assert len(warming.engine.warmed) == 4


def test_stopping_does_not_wait_for_what_is_compiled_ahead(warming: Desk) -> None:
    assert not warming.worker.stop(threading.TIMEOUT_MAX)


@pytest.mark.parametrize("fault", [CheckpointNotFound("no such folder"), RuntimeError("out of luck")])
def test_a_fault_while_compiling_ahead_is_logged_and_the_next_job_is_painted(
    gallery: Gallery, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    desk = Desk(gallery, FakeEngine(warm_fault=fault))
    desk.worker.warm_up(REQUEST)
    until(lambda: str(fault) in caplog.text)
    desk.worker.submit(REQUEST)
    assert isinstance(desk.end(), JobSaved)
    assert ("Traceback" in caplog.text) == isinstance(fault, RuntimeError)
    assert desk.worker.stop(WAIT_S)


class Litter:
    """An object in a circle, which only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


class LitteringEngine(FakeEngine):
    """Leaves litter behind at every event, as tracing does."""

    def generate(
        self, request: GenerationRequest, watch: Callable[[LoadingProgress], None] = lambda progress: None
    ) -> Iterator[Event]:
        for event in super().generate(request, watch):
            LEFT.append(weakref.ref(Litter()))
            yield event


LEFT: list[weakref.ref[Litter]] = []


def test_what_the_collector_passes_over_is_no_garbage_of_the_jobs(gallery: Gallery) -> None:
    gc.freeze()  # whatever other tests have loaded
    desk = Desk(gallery, LitteringEngine())
    before = gc.get_freeze_count()
    for _ in range(5):
        desk.worker.submit(REQUEST)
        desk.end()
    assert gc.get_freeze_count() > before
    gc.collect()
    assert not [litter for litter in LEFT if litter() is not None]
    assert LEFT
    assert desk.worker.stop(WAIT_S)


def test_all_that_a_compiler_leaves_is_passed_over_without_going_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[str] = []
    gc.disable()
    try:
        gc.collect()
        kept = [[place] for place in range(worker.FEW_OBJECTS + 1)]
        monkeypatch.setattr(gc, "collect", lambda: collected.append("all"))
        worker.set_aside()
        assert not collected and gc.get_count()[0] < len(kept)
        worker.set_aside()
        assert collected == ["all"]
    finally:
        gc.enable()


def test_the_library_of_jax_is_there_before_its_import() -> None:
    code = """
import sys
from flux_tui import worker
from flux_tui.worker import _open_library
_open_library()
assert "jaxlib" not in sys.modules
print("libjax_common.so" in open("/proc/self/maps").read())
import jax
print(jax.numpy.ones(3).sum())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "3.0"]
