"""Process 0's engine where several processes paint one picture: it has the others take each step that it takes.

What JAX computes on devices of several processes all of them must ask for, in the same order. So process 0 tells each
step of an engine, from one event to the next, before it is taken, and every process answers when it has taken it.
Stopped between two steps, all are as they were. Stopped or failed inside one, where some may have read a network that
others have not, all forget their model. Knows events and connections; knows no device, and not how processes meet.
"""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, cast

from flux_engine.errors import FluxError, ProcessError
from flux_engine.request import EngineStatus, Event, GenerationRequest, LoadingProgress, Watch

if TYPE_CHECKING:
    from flux_engine.engine import Engine

LAST_WORDS_S = 5.0  # for a connection to close, when a process ends or a step has failed
STOP, FORGET, END = "stop", "forget", "end"


@dataclass(frozen=True)
class Next:
    """The order to take a step; its number comes back with the answer."""

    number: int


@dataclass(frozen=True)
class Fault:
    """Why a process could not take a step.

    Attributes:
        is_known: whether it is one of the request or of a file, found before anything is computed together; after any
            other the processes cannot go on, for some may wait for what others will never do.
    """

    message: str
    hint: str = ""
    is_known: bool = True


@dataclass(frozen=True)
class Answer:
    """What a process says when it has taken a step."""

    number: int
    fault: Fault | None


@dataclass(frozen=True)
class Over:
    """The order to leave at once, even out of the middle of a step, and why."""

    message: str


GONE = Fault("it has gone", is_known=False)


class Leader:
    """An engine that has the followers do all that it does.

    Args:
        engine: of this process.
        followers: a connection to each, by the process's number.
    """

    def __init__(self, engine: Engine, followers: Mapping[int, Connection]) -> None:
        self._engine, self._followers = engine, followers
        self._heard: queue.SimpleQueue[tuple[int, Answer]] = queue.SimpleQueue()
        self._steps = 0
        self._end: ProcessError | None = None
        for index in followers:
            threading.Thread(target=self._listen, args=(index,), name=f"flux-process-{index}", daemon=True).start()
        atexit.register(self.close)

    def status(self) -> EngineStatus:
        """As `Engine.status`."""
        return self._engine.status()

    def warm(self, request: GenerationRequest) -> Generator[str, None, None]:
        """Nothing: a model that this process alone has opened would put it a step ahead of the others, without end."""
        yield from ()

    def generate(self, request: GenerationRequest, watch: Watch = lambda progress: None) -> Iterator[Event]:
        """As `Engine.generate`.

        Raises:
            ProcessError: another process has gone, or could not do what this one did.
        """
        if self._end is not None:
            raise self._end
        # one type for all: "auto" is measured on a CPU, and another process may come to another result
        request = replace(request, dtype=self._engine.dtype_of(request))
        walk = _Walk(self._engine, request, watch)
        order = FORGET
        self._tell(request)
        try:
            while (event := self._take(walk)) is not None:
                order = STOP
                yield event
                order = FORGET
            order = STOP
        finally:
            if self._end is None:
                walk.close()
                self._tell(order)
                if order == FORGET:
                    self._engine.forget()

    def close(self) -> None:
        """Let the others end, and see them gone: JAX takes it for a fault when process 0 ends first."""
        if self._end is None:
            self._end = ProcessError("The processes have ended.")
            self._tell(END)
            for _ in self._followers:
                self._hear(LAST_WORDS_S)

    def _take(self, walk: _Walk) -> Event | None:
        """Have everyone take a step; this one's event."""
        self._steps += 1
        self._tell(Next(self._steps))
        walk.step(partial(self._heard.put, (0, Answer(self._steps, None))))
        waiting = {0, *self._followers}
        while waiting:
            index, answer = self._heard.get()
            if answer.fault is not None and not answer.fault.is_known:
                walk.wait(LAST_WORDS_S)  # as a rule its step fails, too; Python ends badly under one that does not
                raise self._over(index, answer.fault)
            if answer.number != self._steps:
                continue  # of a step whose end nobody waited for
            if index == 0 and walk.error is not None:
                raise self._own(walk.error, walk.is_stopped)
            if answer.fault is not None:
                walk.wait()
                raise walk.error or ProcessError(f"Process {index}: {answer.fault.message}", hint=answer.fault.hint)
            waiting.discard(index)
        return walk.event

    def _own(self, error: BaseException, is_stopped: bool) -> BaseException:
        """What a fault of this process's own step means: often another one's end is behind it."""
        if is_stopped or isinstance(error, FluxError):
            return error
        end_s = time.monotonic() + LAST_WORDS_S
        while (heard := self._hear(max(end_s - time.monotonic(), 0))) is not None:
            index, answer = heard
            if answer.fault is not None:  # others may have taken this very step
                return self._over(index, answer.fault)
        self._over(0, Fault(type(error).__name__))
        return error

    def _over(self, index: int, fault: Fault) -> ProcessError:
        """No step can be taken any more."""
        self._end = ProcessError(f"Process {index} cannot go on: {fault.message}.", hint="Start all processes again.")
        self._tell(Over(f"{self._end} {self._end.hint}"))
        return self._end

    def _tell(self, order: Any) -> None:
        for follower in self._followers.values():
            with contextlib.suppress(OSError):  # who listens to it says that it has gone
                follower.send(order)

    def _hear(self, patience_s: float) -> tuple[int, Answer] | None:
        try:
            return self._heard.get(timeout=patience_s)
        except queue.Empty:
            return None

    def _listen(self, index: int) -> None:
        try:
            while True:
                self._heard.put((index, self._followers[index].recv()))
        except (EOFError, OSError):
            self._heard.put((index, Answer(0, GONE)))


class _Walk:
    """This process's own way through a request, each step in a thread: one that another process left hanging is left.

    Attributes:
        event: that the last step came to; None after the last one of all.
        error: that it ended in.
        is_stopped: whether `watch` raised that.
    """

    def __init__(self, engine: Engine, request: GenerationRequest, watch: Watch) -> None:
        self.event: Event | None = None
        self.error: BaseException | None = None
        self.is_stopped = False
        self._watch = watch
        self._thread: threading.Thread | None = None
        self._events = cast(Generator[Event, None, None], engine.generate(request, self._watched))

    def step(self, done: Any) -> None:
        self._thread = threading.Thread(target=self._run, args=(done,), name="flux-step", daemon=True)
        self._thread.start()

    def wait(self, patience_s: float | None = None) -> None:
        if self._thread is not None:
            self._thread.join(patience_s)

    def close(self) -> None:
        self.wait()
        self._events.close()

    def _run(self, done: Any) -> None:
        try:
            self.event = next(self._events, None)
        except BaseException as error:
            self.error = error
        done()

    def _watched(self, progress: LoadingProgress) -> None:
        try:
            self._watch(progress)
        except BaseException:
            self.is_stopped = True
            raise
