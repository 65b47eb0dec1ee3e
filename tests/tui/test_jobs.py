"""The queue: what waits, in which order, and what becomes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from flux_engine.request import GenerationRequest
from flux_tui.jobs import MAX_FINISHED, JobQueue

WAIT_S = 20.0


def request(prompt: str) -> GenerationRequest:
    return GenerationRequest(prompt=prompt)


@pytest.fixture
def queue() -> JobQueue:
    """Three jobs wait: a, b, c, with the ids 1, 2, 3."""
    queue = JobQueue()
    for prompt in "abc":
        queue.add(request(prompt))
    return queue


def prompts(queue: JobQueue) -> str:
    return "".join(job.request.prompt for job in queue.waiting)


def test_jobs_are_taken_in_the_order_they_came_and_one_can_come_first(queue: JobQueue) -> None:
    queue.add(request("d"), request("e"), front=True)
    assert prompts(queue) == "deabc"
    taken = []
    for _ in range(5):
        job = queue.take()
        assert job is not None and job.state == "running" and queue.running == job
        taken.append(job.request.prompt)
        queue.finish("done")
    assert "".join(taken) == "deabc"
    assert [job.request.prompt for job in queue.jobs] == ["c", "b", "a", "e", "d"]
    assert all(job.is_over for job in queue.jobs)


@pytest.mark.parametrize(
    ("job_id", "by", "order"), [(3, -1, "acb"), (3, -2, "cab"), (3, -9, "cab"), (1, 1, "bac"), (1, 9, "bca")]
)
def test_a_waiting_job_moves(queue: JobQueue, job_id: int, by: int, order: str) -> None:
    assert queue.move(job_id, by)
    assert prompts(queue) == order


def test_only_what_waits_moves_or_is_taken_back(queue: JobQueue) -> None:
    queue.take()
    assert not queue.move(1, 1) and queue.take_back(1) is None
    assert queue.take_back(2) == request("b")
    edited = queue.get(2)
    assert edited is not None and (edited.state, edited.note) == ("cancelled", "edited") and prompts(queue) == "c"
    assert queue.retry(2) is not None and prompts(queue) == "cb"


def test_a_cancelled_job_that_waited_is_over_and_one_that_runs_is_marked(queue: JobQueue) -> None:
    queue.take()
    assert queue.cancel(2)
    assert prompts(queue) == "c"
    assert not queue.is_cancelling(1)
    assert queue.cancel(1)
    assert queue.is_cancelling(1) and queue.running is not None and queue.running.state == "cancelling"
    queue.finish("cancelled")
    assert not queue.cancel(1) and not queue.cancel(99)
    assert [job.state for job in queue.jobs] == ["waiting", "cancelled", "cancelled"]


def test_all_but_the_running_one_are_cancelled(queue: JobQueue) -> None:
    queue.take()
    assert queue.cancel_waiting() == 2
    assert prompts(queue) == "" and queue.running is not None and queue.running.state == "running"


def test_what_is_over_can_be_tried_again_and_forgotten(queue: JobQueue) -> None:
    assert queue.retry(1) is None  # it still waits
    queue.take()
    queue.finish("failed", "no memory")
    assert queue.jobs[-1].note == "no memory"
    again = queue.retry(1)
    assert again is not None and again.id == 4 and prompts(queue) == "bca"
    queue.forget_finished()
    assert queue.retry(1) is None and len(queue.jobs) == 3


def test_no_more_is_remembered_than_a_person_would_read(queue: JobQueue) -> None:
    for place in range(MAX_FINISHED + 5):
        queue.cancel(queue.add(request(str(place)))[0].id)
    assert len(queue.jobs) == MAX_FINISHED + 3
    assert queue.jobs[3].request.prompt == str(MAX_FINISHED + 4)


def in_a_thread(function: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    result: list[object] = []
    thread = threading.Thread(target=lambda: result.append(function()))
    thread.start()
    return thread, result


def test_a_paused_queue_gives_nothing_until_it_goes_on(queue: JobQueue) -> None:
    queue.pause(True)
    assert queue.paused
    thread, result = in_a_thread(queue.take)
    queue.add(request("d"))  # wakes the taker, who must go on waiting
    thread.join(0.05)
    assert thread.is_alive()
    queue.pause(False)
    thread.join(WAIT_S)
    assert result == [queue.running] and queue.running is not None and queue.running.id == 1


def test_a_closed_queue_gives_nothing_and_asks_the_running_job_to_end(queue: JobQueue) -> None:
    queue.take()
    queue.close()
    assert queue.is_cancelling(1)
    assert queue.take() is None


def test_every_change_is_told() -> None:
    told: list[tuple[int, ...]] = []
    queue = JobQueue(lambda: told.append(tuple(job.id for job in queue.jobs)))
    queue.add(request("a"))
    queue.add(request("b"))
    queue.move(2, -1)
    queue.take()
    queue.cancel(2)
    queue.finish("cancelled")
    queue.pause(True)
    assert told == [(1,), (1, 2), (2, 1), (2, 1), (2, 1), (1, 2), (1, 2)]
