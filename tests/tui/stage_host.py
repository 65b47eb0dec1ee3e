"""The stage alone under a pilot, and what it sent and painted."""

from __future__ import annotations

import asyncio
import io
import re
from base64 import standard_b64decode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from PIL import Image
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from flux_tui.terminal import pacing
from flux_tui.terminal.canvas import Canvas
from flux_tui.terminal.kitty import PLACEHOLDER
from flux_tui.terminal.pacing import Pacer
from flux_tui.widgets.stage import Stage


def drawing(written: list[str]) -> Callable[[str], None]:
    """Keeps what draws pictures, and not the questions whether they are drawn."""
    return lambda escape: None if escape == pacing.REQUEST else written.append(escape)


def drawing_only(written: list[str]) -> list[str]:
    return [escape for escape in written if escape != pacing.REQUEST]


def png_of(escapes: str) -> Image.Image:
    """The picture that is sent."""
    return Image.open(io.BytesIO(standard_b64decode("".join(re.findall(r";([^\x1b]*)\x1b", escapes)))))


@asynccontextmanager
async def stage_on(
    canvas: Canvas, pacer: Pacer | None = None, size: tuple[int, int] = (44, 22)
) -> AsyncIterator[tuple[Stage, Pilot[None]]]:
    class Host(App[None]):
        def compose(self) -> ComposeResult:
            yield Stage(canvas, pacer)

    app = Host()
    async with app.run_test(size=size) as pilot:
        yield app.query_one(Stage), pilot


async def sent(stage: Stage, pilot: Pilot[None]) -> None:
    """Wait until what is being encoded went to the terminal."""
    await asyncio.gather(*(worker.wait() for worker in stage.app.workers), return_exceptions=True)
    await pilot.pause()


async def until(pilot: Pilot[None], is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await pilot.pause(0.01)


def ids(stage: Stage) -> set[tuple[int, ...] | None]:
    """The colours of the placeholders on the screen."""
    return {
        segment.style.color.triplet
        for strip in stage.screen._compositor.render_strips()
        for segment in strip
        if PLACEHOLDER in segment.text and segment.style and segment.style.color
    }


def lines(stage: Stage) -> list[str]:
    strips = stage.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip) for strip in strips]


class Open(Pacer):
    """A link with room for all; keeps what it is told."""

    def __init__(self, **how: bool) -> None:
        super().__init__(**how)  # type: ignore[arg-type]
        self.told: list[int] = []

    def may_draw(self, now_s: float, *, last: bool = False) -> bool:
        return True

    def sent(self, now_s: float, n_bytes: int) -> None:
        self.told.append(n_bytes)
        super().sent(now_s, n_bytes)
