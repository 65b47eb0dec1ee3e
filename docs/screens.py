"""The README's pictures: the app itself, painting with the demo model. `python docs/screens.py` makes them anew.

Asks for Chromium. Textual draws a screen as SVG, but one that GitHub shows may load no font, and in most fonts of its
readers the half-blocks of a picture would fall apart into stripes; so Chromium draws it once, here.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from PIL import Image
from textual.pilot import Pilot

from flux_engine.request import EngineStatus, Event, GenerationRequest, LoadingProgress, StepDone
from flux_tui.app import FluxApp
from flux_tui.gallery import Gallery
from flux_tui.launch import Launch
from flux_tui.session import Session
from flux_tui.terminal.abilities import Abilities
from flux_tui.terminal.pacing import REQUEST
from flux_tui.worker import EngineLike, default_engine

FOLDER = Path(__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
MAX_WIDTH_PX = 1660  # GitHub shows 830, and twice that on fine screens
WAIT_S = 300.0
FIRST = (
    ("forest in the fog at dawn", "128x128", 5),
    ("a house in the desert at noon", "192x128", 4),
    ("a sailing boat on the sea at night", "128x128", 6),
    ("A serene landscape with mountains at sunset", "192x128", 2),
    ("a lighthouse on a hill at sunset, clouds in the sky", "192x128", 3),
)
SNOW = ("mountains in the snow at night", "192x128", 2)
QUEUE = (
    ("a lighthouse on a hill at sunset, clouds in the sky", "192x128", 5),
    ("a tree on a hill at dawn, fog", "192x128", 3),
    ("a tree on a hill at noon, snow", "192x128", 3),
    ("a boat on the sea at sunset, clouds", "128x192", 1),
)
NEAR = Abilities(true_colour=True, colours="truecolor", rtt_s=0.001)


class HeldEngine:
    """An engine that can be stopped in the middle of a picture."""

    def __init__(self, engine: EngineLike) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._hold_at: int | None = None

    def hold(self, step: int | None) -> None:
        """Stop after this step of the next picture; None goes on."""
        with self._changed:
            self._hold_at = step
            self._changed.notify_all()

    def generate(self, request: GenerationRequest, watch: Callable[[LoadingProgress], None]) -> Iterator[Event]:
        for event in self._engine.generate(request, watch):
            yield event
            if isinstance(event, StepDone):
                with self._changed:
                    self._changed.wait_for(lambda event=event: event.step != self._hold_at)

    def status(self) -> EngineStatus:
        return self._engine.status()


class Studio:
    """The app under a pilot."""

    def __init__(self, app: FluxApp, pilot: Pilot[None]) -> None:
        self._app = app
        self.press, self.pause, self.stage = pilot.press, pilot.pause, app.stage
        app.write_escape = self._answer

    def _answer(self, escape: str) -> None:
        """Be a terminal that has drawn everything at once."""
        if escape == REQUEST:
            self.stage.pacer.acknowledged(time.monotonic())

    async def ask_for(self, prompt: str, size: str, seed: int) -> None:
        """Put a request into the panes and run it."""
        width, height = size.split("x")
        self._app.main.prompt.put_back(prompt)
        self._app.main.form.put({"width": width, "height": height, "seed": str(seed), "seed_use": "fixed"})
        await self.press("f5")

    async def done(self) -> None:
        """Until everything asked for is painted."""
        queue = self._app.worker.queue
        await self.until(lambda: not (queue.running or queue.waiting or self._app.main.newsroom.is_painting))

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the app go on until something is true."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await self.pause(0.05)

    async def shoot(self, name: str, browser: str) -> None:
        """Write docs/<name>.png, once nothing on the screen changes any more."""
        shots = [""]
        while (svg := self._app.export_screenshot(title="flux-tui", simplify=True)) != shots[-1]:
            shots.append(svg)
            await self.pause(0.5)
        await asyncio.to_thread(draw, svg, FOLDER / f"{name}.png", browser)


@asynccontextmanager
async def studio(home: Path, engine: HeldEngine, size: tuple[int, int], theme: str) -> AsyncIterator[Studio]:
    """The app on a screen of so many columns and lines."""
    session = Session(Launch(theme=theme, warm_up=False))
    app = FluxApp(Gallery(home / "pictures"), lambda: engine, session=session, abilities=NEAR)
    async with app.run_test(size=size) as pilot:
        yield (on_stage := Studio(app, pilot))
        engine.hold(None)
        await on_stage.done()  # what is cut off would wait for the next one
    await asyncio.to_thread(app.worker.stop, WAIT_S)
    app.session.write()


async def normal(home: Path, engine: HeldEngine, browser: str) -> None:
    """120 columns: a picture just finished, others before it."""
    async with studio(home, engine, (120, 40), "flux-dark") as app:
        for asked in FIRST:
            await app.ask_for(*asked)
            await app.done()
            await app.pause(1.0)  # names tell the second, and the history goes by them
        await app.shoot("app", browser)


async def light(home: Path, engine: HeldEngine, browser: str) -> None:
    """The same in the light theme, with a look at an older picture."""
    async with studio(home, engine, (120, 40), "flux-light") as app:
        await app.press("escape", "5", "down", "full_stop", "down", "down")
        await app.until(lambda: "seed 4" in app.stage.text)
        await app.shoot("light", browser)


async def narrow(home: Path, engine: HeldEngine, browser: str) -> None:
    """80 columns: a picture on its way."""
    async with studio(home, engine, (80, 24), "flux-dark") as app:
        engine.hold(12)
        await app.press("escape", "1")
        await app.ask_for(*SNOW)
        await app.until(lambda: "12/20" in app.stage.text)
        await app.shoot("narrow", browser)


async def wide(home: Path, engine: HeldEngine, browser: str) -> None:
    """200 columns: everything at once, a queue too."""
    async with studio(home, engine, (200, 60), "flux-dark") as app:
        engine.hold(14)
        for asked in QUEUE:
            await app.ask_for(*asked)
        await app.press("escape", "4")
        await app.until(lambda: "14/20" in app.stage.text)
        await app.shoot("wide", browser)


def draw(svg: str, path: Path, browser: str) -> None:
    """Draw an SVG of Textual's as a PNG of 256 colours."""
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # fonts from elsewhere
    svg = svg.replace("font-size: 20px", "font-size: 21px")  # as high as a line, or frames have gaps
    svg = svg.replace("textLength", 'lengthAdjust="spacingAndGlyphs" textLength')  # and every sign as wide as a cell
    svg = svg.replace('rx="8"', "")  # round corners want transparency, which 256 colours have no room for
    width, height = (int(float(side)) for side in re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0])
    with tempfile.TemporaryDirectory() as work:
        page, shot = Path(work, "page.svg"), Path(work, "shot.png")
        page.write_text(svg, encoding="utf-8")
        look = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={work}/user"]
        look += [
            "--default-background-color=00000000",
            f"--force-device-scale-factor={min(MAX_WIDTH_PX / width, 1):.4f}",
        ]
        look += [f"--window-size={width},{height}", f"--screenshot={shot}"]
        subprocess.run([browser, *look, page.as_uri()], check=True, capture_output=True)
        few = (
            Image.open(shot)
            .convert("RGB")
            .quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
        )
        few.save(path, optimize=True)  # a third of the bytes; no colour is off by more than 10 of 255
    print(f"{path.name}: {path.stat().st_size // 1024} KB")


def main(make_engine: Callable[[], EngineLike] = default_engine) -> int:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print(f"docs/screens.py needs Chromium; found none of {', '.join(BROWSERS)}. Install one.", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        for variable in [name for name in os.environ if name.startswith(("XDG_", "FLUX_TUI_"))]:
            del os.environ[variable]
        os.environ["HOME"] = home  # nothing of the user's own is read or shown
        engine = HeldEngine(make_engine())
        for scene in (normal, light, narrow, wide):
            asyncio.run(scene(Path(home), engine, browser))
    return 0


if __name__ == "__main__":
    sys.exit(main())
