"""The app under a pilot, with an engine whose steps the test lets through."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from textual import events
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, Select

from flux_engine.request import GenerationRequest, PicturesReady
from flux_tui import paths
from flux_tui.app import FluxApp
from flux_tui.gallery import Gallery
from flux_tui.launch import Launch
from flux_tui.session import Session
from flux_tui.terminal.abilities import Abilities
from tests.tui.fakes import FakeEngine, gradient
from tests.tui.scripted import until

WAIT_S = 30.0
THREADS_S = 0.01  # what other threads have for themselves between two looks; they need the interpreter, too
OLD = GenerationRequest(
    prompt="snow over\na pine [forest] at night", width=192, height=128, num_steps=7, seed=77, integrator="heun"
)


class Driver:
    """An app under test, its pilot and its engine."""

    def __init__(self, app: FluxApp, pilot: Pilot[None], engine: FakeEngine) -> None:
        self.app, self.pilot, self.engine = app, pilot, engine
        self.screen = app.main
        self.queue = app.worker.queue

    async def press(self, *keys: str) -> None:
        """Press keys, and let them act."""
        await self.pilot.press(*keys)
        await self.until(lambda: not (self.app.keys_wait and self.app.is_running))

    async def burst(self, *keys: str) -> None:
        """Keys that come all at once, as a slow link sends them: a text, or a key by its name."""
        burst(self.app, *keys)
        await self.pilot.pause()
        await self.until(lambda: not (self.app.keys_wait and self.app.is_running))

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the app go on until something is true."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not condition():
                    await self.pilot.pause()
                    await asyncio.sleep(THREADS_S)
        except TimeoutError:
            raise AssertionError(f"it never came:\n{self.screen_text()}") from None

    async def done(self) -> None:
        """Until the worker has nothing left and the screen knows."""
        await self.until(lambda: not (self.queue.running or self.queue.waiting or self.screen.newsroom.is_painting))

    def field(self, name: str) -> str:
        return self.screen.form.rows[name].text

    def put(self, name: str, text: str) -> None:
        control = self.screen.form.rows[name].control
        assert isinstance(control, (Input, Select))
        control.value = text

    @property
    def status(self) -> str:
        """The words of the status line."""
        return self.screen.status.content.plain

    @property
    def notes(self) -> list[str]:
        """The toasts."""
        return [note.message for note in self.app._notifications]

    def screen_text(self) -> str:
        """Everything the terminal shows, as lines."""
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips[: self.app.size.height])


def burst(app: App[None], *keys: str) -> None:
    """Post keys to an app, all before the first one acts."""
    for key in keys:
        if re.fullmatch(r"f\d+|enter|escape|tab|left|right|up|down|.+\+.+", key):
            app.post_message(events.Key(key, None))
        else:
            for sign in key:
                app.post_message(events.Key("space" if sign == " " else sign, sign))


@asynccontextmanager
async def running(
    gallery: Gallery,
    engine: FakeEngine | None = None,
    size: tuple[int, int] = (120, 40),
    *,
    config: str = "",
    launch: Launch | None = None,
    abilities: Abilities | None = None,
    checkpoint_dir: str | None = None,
    warm_up: bool | None = False,
) -> AsyncIterator[Driver]:
    """The app, with a config file of that text if it has any; it leaves the engine alone unless it is to warm up."""
    engine = engine or FakeEngine()
    launch = replace(launch or Launch(), warm_up=warm_up)
    if config:
        paths.config_file().parent.mkdir(parents=True, exist_ok=True)
        paths.config_file().write_text(config, encoding="utf-8")
    app = FluxApp(gallery, lambda: engine, Path("/log/file"), checkpoint_dir, Session(launch), abilities)
    app.NOTIFICATION_TIMEOUT = WAIT_S  # its 5 s pass between two keys on a busy machine
    try:
        async with app.run_test(size=size) as pilot:
            await app.workers.wait_for_complete()
            await pilot.pause()
            yield Driver(app, pilot, engine)
    finally:
        app.worker.queue.close()
        for gate in (engine.gate, engine.loading_gate, engine.warm_gate):
            if gate is not None:
                gate.release(1000)
        await asyncio.to_thread(until, lambda: app.worker.stop(WAIT_S))  # it waits for no program
        app.session.close()


def keep(gallery: Gallery, request: GenerationRequest = OLD, day: int = 1) -> Path:
    """Put a picture of an earlier day into the gallery."""
    picture = gradient(request.width, request.height)
    when = datetime(2025, 11, day, 9, 30, tzinfo=UTC)
    return gallery.save(PicturesReady(request, (picture,), {}, "demo"), when)[0].path
