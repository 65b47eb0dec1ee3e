"""An engine without JAX: it speaks the same requests and events, and its steps wait for the test's word."""

from __future__ import annotations

import colorsys
import errno
import functools
import os
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flux_engine.request import (
    EngineStatus,
    Event,
    GenerationRequest,
    LoadingProgress,
    PicturesReady,
    RGBImage,
    StageStarted,
    StepDone,
)


@functools.cache
def gradient(width: int, height: int, hue: float = 0.6) -> RGBImage:
    """A picture nobody has to look at: bright above, dark below, with a sun."""
    data = bytearray()
    for y in range(height):
        shade = colorsys.hsv_to_rgb(hue + 0.3 * y / height, 0.6, 1.0 - 0.7 * y / height)
        row = bytearray(bytes(int(255 * channel) for channel in shade) * width)  # a row has one colour, but for the sun
        for x in range(int(0.59 * width), min(width, int(0.81 * width) + 1)):
            if (x / width - 0.7) ** 2 + (y / height - 0.35) ** 2 < 0.01:
                row[3 * x : 3 * x + 3] = b"\xff\xff\xff"
        data += row
    return RGBImage(width, height, bytes(data))


@dataclass
class FakeEngine:
    """Paints gradients.

    `gate` lets one step through for each `gate.release()`, `loading_gate` a quarter of the weights, `warm_gate` a
    program that is compiled ahead; None lets all through. `fault` is raised at the step `fault_at` (0: before anything
    is announced). `started` is set when a request arrives; `closed` counts the generators that were closed or ended.
    """

    gate: threading.Semaphore | None = None
    loading_gate: threading.Semaphore | None = None
    fault: BaseException | None = None
    fault_at: int = 0
    warnings: tuple[str, ...] = ()
    warm_gate: threading.Semaphore | None = None
    warm_fault: BaseException | None = None
    warmed: list[str] = field(default_factory=list)
    requests: list[GenerationRequest] = field(default_factory=list)
    started: threading.Event = field(default_factory=threading.Event)
    closed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    thread_names: list[str] = field(default_factory=list)

    def generate(
        self, request: GenerationRequest, watch: Callable[[LoadingProgress], None] = lambda progress: None
    ) -> Iterator[Event]:
        self.requests.append(request)
        self.thread_names.append(threading.current_thread().name)
        self.started.set()
        try:
            yield from self._events(request, watch)
        finally:
            self.closed.release()

    def warm(self, request: GenerationRequest) -> Generator[str, None, None]:
        if self.warm_fault is not None:
            raise self.warm_fault
        for program in ("encoders", "steps", "decoding"):
            yield program
            self.warmed.append(f"{program} {request.width}x{request.height}")
            if self.warm_gate is not None:
                self.warm_gate.acquire()

    def status(self) -> EngineStatus:
        return EngineStatus(device="fake", model_name="fake", bytes_in_use=3 * 2**30, bytes_limit=24 * 2**30)

    def _events(self, request: GenerationRequest, watch: Callable[[LoadingProgress], None]) -> Iterator[Event]:
        self._maybe_fail(0)
        yield StageStarted("loading", "transformer")
        for part in range(1, 5):
            if self.loading_gate is not None:
                self.loading_gate.acquire()
            watch(LoadingProgress("transformer", part / 4))
        yield StageStarted("encoding")
        yield StageStarted("denoising")
        for step in range(1, request.num_steps + 1):
            if self.gate is not None:
                self.gate.acquire()
            self._maybe_fail(step)
            preview = gradient(request.width // 8, request.height // 8, hue=step / request.num_steps)
            yield StepDone(step, request.num_steps, 1 - step / request.num_steps, preview)
        yield StageStarted("decoding")
        picture = gradient(request.width, request.height)
        yield PicturesReady(
            request, (picture,) * request.batch_size, {"denoising": 0.5}, "fake", warnings=self.warnings
        )

    def _maybe_fail(self, step: int) -> None:
        if self.fault is not None and step == self.fault_at:
            fault, self.fault = self.fault, None
            raise fault


def fill_up_after(pictures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk takes so many pictures more."""
    left = iter(range(pictures))
    rename = os.link

    def link(*paths: Path) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rename(*paths)

    monkeypatch.setattr(os, "link", link)
    monkeypatch.setattr(os, "replace", link)
