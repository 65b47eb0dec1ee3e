"""Process 0 has the others take each step that it takes, and says so when they cannot."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import pytest

from flux_engine.errors import CheckpointCorrupt, ProcessError
from flux_engine.lockstep import END, FORGET, STOP, Answer, Fault, Leader, Next, Over
from flux_engine.request import DType, Event, GenerationRequest, LoadingProgress, StageStarted, Watch

REQUEST = GenerationRequest(prompt="a hill")
EVENTS = [StageStarted("loading", "model"), StageStarted("denoising"), StageStarted("decoding")]


class FakeEngine:
    """Yields EVENTS; inside the second step it reads, and may fail."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.forgotten = 0

    def dtype_of(self, request: GenerationRequest) -> DType:
        return "float32"

    def generate(self, request: GenerationRequest, watch: Watch) -> Iterator[Event]:
        yield EVENTS[0]
        watch(LoadingProgress("transformer", 0.5))
        if self.fault:
            raise self.fault
        yield from EVENTS[1:]

    def forget(self) -> None:
        self.forgotten += 1


class Follower(threading.Thread):
    """Process 1: answers every step with what `answer` says of it, and keeps what it was told."""

    def __init__(self, connection: Connection, answer: Callable[[int], Fault | None]) -> None:
        super().__init__(daemon=True)
        self.connection, self.answer = connection, answer
        self.told: list[Any] = []
        self.start()

    def run(self) -> None:
        with contextlib.suppress(EOFError):
            while not self.told or not (self.told[-1] == END or isinstance(self.told[-1], Over)):
                self.told.append(order := self.connection.recv())
                if isinstance(order, Next):
                    self.connection.send(Answer(order.number, self.answer(order.number)))
        self.connection.close()


def pair(engine: Any, answer: Callable[[int], Fault | None] = lambda number: None) -> tuple[Leader, Follower]:
    here, there = Pipe()
    return Leader(engine, {1: here}), Follower(there, answer)


def told_at_the_end(leader: Leader, follower: Follower) -> list[Any]:
    leader.close()
    follower.join()
    return follower.told


def test_each_step_is_told_and_the_type_is_settled_for_all() -> None:
    leader, follower = pair(FakeEngine())
    assert list(leader.generate(REQUEST)) == EVENTS
    request, *orders = told_at_the_end(leader, follower)
    assert (request.prompt, request.dtype) == ("a hill", "float32")
    assert orders == [Next(1), Next(2), Next(3), Next(4), STOP, END]  # the last step finds that there is none


def test_who_stops_between_two_steps_stops_all_as_they_are() -> None:
    leader, follower = pair(engine := FakeEngine())
    events = leader.generate(REQUEST)
    next(events)
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert told_at_the_end(leader, follower)[1:] == [Next(1), Next(2), STOP, END]
    assert engine.forgotten == 0


def test_who_stops_inside_a_step_has_all_forget_their_model() -> None:
    leader, follower = pair(engine := FakeEngine())

    def stop(progress: LoadingProgress) -> None:
        raise KeyError("stopped")

    with pytest.raises(KeyError, match="stopped"):
        list(leader.generate(REQUEST, stop))
    assert list(leader.generate(REQUEST)) == EVENTS  # and all go on
    orders = told_at_the_end(leader, follower)
    assert orders[1:4] == [Next(1), Next(2), FORGET]
    assert engine.forgotten == 1


def test_nothing_is_compiled_ahead_and_nobody_is_told_to() -> None:
    leader, follower = pair(FakeEngine())
    with contextlib.closing(leader.warm(REQUEST)) as programs:
        assert list(programs) == []
    assert told_at_the_end(leader, follower) == [END]


def test_a_fault_of_a_file_here_is_told_as_it_is() -> None:
    leader, follower = pair(engine := FakeEngine(CheckpointCorrupt("vae is damaged")))
    with pytest.raises(CheckpointCorrupt, match="vae is damaged"):
        list(leader.generate(REQUEST))
    assert told_at_the_end(leader, follower)[-2:] == [FORGET, END]
    assert engine.forgotten == 1


def test_a_fault_of_a_file_elsewhere_names_the_process() -> None:
    leader, follower = pair(engine := FakeEngine(), lambda number: Fault("vae is not there") if number == 2 else None)
    with pytest.raises(ProcessError, match="Process 1: vae is not there"):
        list(leader.generate(REQUEST))
    assert told_at_the_end(leader, follower)[-2:] == [FORGET, END]
    assert engine.forgotten == 1


def test_a_fault_in_the_middle_of_computing_ends_the_others() -> None:
    leader, follower = pair(FakeEngine(), lambda number: Fault("XlaRuntimeError", is_known=False))
    with pytest.raises(ProcessError, match="Process 1 cannot go on: XlaRuntimeError"):
        list(leader.generate(REQUEST))
    follower.join()
    assert follower.told[-1] == Over("Process 1 cannot go on: XlaRuntimeError. Start all processes again.")
    with pytest.raises(ProcessError, match="Process 1 cannot go on"):
        list(leader.generate(REQUEST))


def test_a_process_that_dies_ends_the_picture() -> None:
    here, there = Pipe()
    leader = Leader(FakeEngine(), {1: here})  # type: ignore[arg-type]
    there.close()
    with pytest.raises(ProcessError, match="Process 1 cannot go on: it has gone"):
        list(leader.generate(REQUEST))


def test_a_fault_here_that_another_process_caused_is_laid_to_that() -> None:
    (here, there), (well, also) = Pipe(), Pipe()
    engine: Any = FakeEngine(ValueError("Connection closed by peer"))
    leader = Leader(engine, {1: here, 2: well})
    third = Follower(also, lambda number: None)

    def dies() -> None:
        while there.recv() != Next(2):
            pass
        while Next(2) not in third.told:  # which has taken the step, and says so
            time.sleep(0.01)
        time.sleep(0.3)
        there.close()

    threading.Thread(target=dies, daemon=True).start()
    there.send(Answer(1, None))
    with pytest.raises(ProcessError, match="Process 1 cannot go on: it has gone"):
        list(leader.generate(REQUEST))
