"""The app with an engine that computes nothing: python -m benchmarks.sleeping_app FILE.

It sleeps through its steps, five a second, and writes into FILE how much processor time the whole program took while a
hundred of them passed. Each preview has the size of a 1024 x 1024 picture's, and hardly two cells of one colour.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

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
from flux_tui.opening import run_app

SIDE_PX = 128
STEP_S = 0.2
FIRST, LAST = 10, 110  # the steps at which the clocks are read; what happens at the start only is over by then


class SleepingEngine:
    """Sleeps for the time of a step, then shows the next preview."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._previews = [_preview(seed) for seed in range(LAST)]

    def generate(
        self, request: GenerationRequest, watch: Callable[[LoadingProgress], None] = lambda progress: None
    ) -> Iterator[Event]:
        yield StageStarted("denoising")
        clocks = {}
        for step, preview in enumerate(self._previews, 1):
            time.sleep(STEP_S)
            clocks[step] = time.monotonic(), time.process_time()
            yield StepDone(step, LAST, 1 - step / LAST, preview)
        seconds, processor_s = (b - a for a, b in zip(clocks[FIRST], clocks[LAST], strict=True))
        self._file.write_text(json.dumps({"seconds": seconds, "processor_s": processor_s}), encoding="utf-8")
        yield PicturesReady(request, (preview,), {"denoising": seconds}, "sleeping")

    def warm(self, request: GenerationRequest) -> Generator[str, None, None]:
        yield from ()

    def status(self) -> EngineStatus:
        return EngineStatus(device="none")


def _preview(seed: int) -> RGBImage:
    """A sky over a ground, through the noise of a picture half done."""
    noise = random.Random(seed)
    pixels = bytearray()
    for y in range(SIDE_PX):
        base = (60, 110, 200) if y < SIDE_PX // 2 else (70, 120, 60)
        for _ in range(SIDE_PX):
            pixels += bytes(channel + noise.randrange(-40, 41) for channel in base)
    return RGBImage(SIDE_PX, SIDE_PX, bytes(pixels))


if __name__ == "__main__":
    sys.exit(run_app(make_engine=lambda: SleepingEngine(Path(sys.argv[1]))))
