"""The tab bar: what it writes at which width, and what a click does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from flux_tui.layout import PANES, Pane
from flux_tui.widgets.tab_bar import TabBar

FOUR: tuple[Pane, ...] = ("prompt", "settings", "queue", "history")


class Host(App[None]):
    """The bar alone."""

    def __init__(self) -> None:
        super().__init__()
        self.bar = TabBar()
        self.told: list[str] = []

    def compose(self) -> ComposeResult:
        yield self.bar

    def on_tab_bar_chosen(self, event: TabBar.Chosen) -> None:
        self.told.append(event.name)


@asynccontextmanager
async def running(width: int = 80, names: tuple[Pane, ...] = FOUR) -> AsyncIterator[tuple[Host, Pilot[None]]]:
    app = Host()
    async with app.run_test(size=(width, 4)) as pilot:
        app.bar.offer(names)
        app.bar.choose("prompt")
        await pilot.pause()
        yield app, pilot


def line(app: Host) -> str:
    return app.screen._compositor.render_strips()[0].text.rstrip()


def underlined(app: Host) -> str:
    strip = app.screen._compositor.render_strips()[0]
    return "".join(segment.text for segment in strip if segment.style and segment.style.underline)


@pytest.mark.parametrize(
    ("width", "names", "mark", "text"),
    [
        (80, FOUR, "", " Prompt  Settings  Queue  History"),
        (36, FOUR, "2", " Prompt  Settings  Queue 2  History"),
        (36, FOUR, "12", " Prom  Set  Queue 12  Hist"),
        (80, PANES, "2", " Prompt  Settings  Picture  Queue 2  History"),
        (32, PANES, "12", " Prom  Set  Pic  Queue 12  Hist"),
        (20, PANES, "2", " P  S  P  Q 2  H"),
    ],
)
async def test_names_are_as_long_as_there_is_room_for_all(
    width: int, names: tuple[Pane, ...], mark: str, text: str
) -> None:
    async with running(width, names) as (app, pilot):
        app.bar.mark("queue", mark)
        await pilot.pause()
        assert line(app) == text


async def test_a_mark_can_be_taken_away() -> None:
    async with running() as (app, pilot):
        app.bar.mark("queue", "2")
        app.bar.mark("queue", "")
        await pilot.pause()
        assert "Queue  History" in line(app)


async def test_the_bar_follows_the_width() -> None:
    async with running() as (app, pilot):
        await pilot.resize_terminal(24, 4)
        await pilot.pause()
        assert line(app) == " Prom  Set  Queue  Hist"
        await pilot.resize_terminal(80, 4)
        await pilot.pause()
        assert line(app) == " Prompt  Settings  Queue  History"


async def test_the_chosen_name_is_underlined_so_that_it_shows_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with running() as (app, pilot):
        assert underlined(app) == "Prompt"
        app.bar.mark("queue", "2")
        app.bar.choose("queue")
        await pilot.pause()
        assert underlined(app) == "Queue 2"
        assert app.told == []  # who chooses by call knows it


async def test_a_click_chooses_and_tells() -> None:
    async with running() as (app, pilot):
        await pilot.click(app.bar.tabs["history"])
        assert app.told == ["history"] and underlined(app) == "History"
        await pilot.click(app.bar, offset=(60, 0))  # beside the names
        assert app.told == ["history"]


async def test_the_bar_takes_no_focus_and_its_tabs_have_ids_to_jump_to() -> None:
    async with running() as (app, pilot):
        await pilot.press("tab")
        assert app.focused is None
        assert [tab.id for tab in app.bar.tabs.values()] == [f"tab-{pane}" for pane in PANES]


async def test_other_tabs_can_be_offered_and_none_is_before() -> None:
    async with running(names=()) as (app, pilot):
        assert line(app) == ""
        app.bar.mark("queue", "3")
        app.bar.offer(("queue", "history"))
        await pilot.pause()
        assert line(app) == " Queue 3  History" and underlined(app) == ""
