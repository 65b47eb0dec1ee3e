"""The history pane in a bare app, and what drives it."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from rich.style import Style
from textual.app import App, ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input

from flux_tui.gallery import Gallery, SavedPicture
from flux_tui.widgets.history import History

WAIT_S = 30.0


class Host(App[None]):
    """The pane and one other thing that can have the focus."""

    CSS = "History { height: 1fr; } Input { height: 1; border: none; }"

    def __init__(self, history: History) -> None:
        super().__init__()
        self.animation_level = "none"
        self.history = history
        self.news: list[object] = []

    def compose(self) -> ComposeResult:
        yield self.history
        yield Input()

    def on_mount(self) -> None:
        self.history.focus()

    def on_history_shown(self, event: History.Shown) -> None:
        self.news.append(("shown", seed_of(event.picture)))

    def on_history_opened(self, event: History.Opened) -> None:
        self.news.append(("opened", seed_of(event.picture)))

    def on_history_recalled(self, event: History.Recalled) -> None:
        self.news.append((event.what, seed_of(event.picture)))

    def on_history_discarded(self, event: History.Discarded) -> None:
        self.news.append(("discarded", int(event.path.stem.split("-")[-1])))

    def on_history_refused(self, event: History.Refused) -> None:
        self.news.append((event.fault, event.path.name))

    def on_history_starred(self, event: History.Starred) -> None:
        self.news.append(("starred" if event.starred else "not starred", seed_of(event.picture)))


class Driver:
    """An app under test and its pilot."""

    def __init__(self, app: Host, pilot: Pilot[None]) -> None:
        self.app, self.pilot, self.history = app, pilot, app.history
        self.press = pilot.press

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the app go on until something is true."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await self.pilot.pause()

    def lines(self) -> list[str]:
        """What is inside the pane's border, line by line."""
        return [self.history.render_line(y).text.rstrip() for y in range(self.history.size.height)]

    def has_read(self) -> bool:
        """Whether no picture in view still waits for its record."""
        return not any(re.search(r"\d\d:\d\d[ ★] …", line) for line in self.lines())

    def styles(self, y: int) -> list[Style | None]:
        """The styles of a line, cell by cell."""
        return [segment.style for segment in self.history.render_line(y) for _ in segment.text]


def seed_of(picture: SavedPicture) -> int:
    return picture.record.request.seed


@asynccontextmanager
async def running(
    gallery: Gallery,
    size: tuple[int, int] = (60, 14),
    *,
    listed: bool = True,
    history: History | None = None,
) -> AsyncIterator[Driver]:
    app = Host(history or History(gallery))
    async with app.run_test(size=size) as pilot:
        driver = Driver(app, pilot)
        if listed:
            app.history.put_days(gallery.days())
            app.history.show_stars(gallery.starred)
            await driver.until(driver.has_read)
        yield driver
    assert not [thread for thread in threading.enumerate() if thread.name == "flux-history"]
