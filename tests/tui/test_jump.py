"""Jump mode: where the letters stand, and how it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.pilot import Pilot
from textual.theme import BUILTIN_THEMES
from textual.widgets import Input, Static

from flux_tui.screens.jump import JumpScreen
from flux_tui.themes import OWN_THEMES

PLACES = {"p": "prompt", "s": "settings", "?": "history", "x": "hidden", "b": "below"}
MIN_CONTRAST = 4.5  # WCAG 2.2, 1.4.3, level AA


class Host(App[None]):
    """Three places side by side, one that is not displayed, one that is scrolled out of sight."""

    CSS = """
    #prompt, #settings { width: 1fr; height: 5; border: round $foreground; }
    VerticalScroll { height: 4; }
    #space { height: 20; }
    #hidden { display: none; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.animation_level = "none"
        self.ended_with: list[str | None] = []
        self.letters = JumpScreen([])

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Input(id="prompt")
            yield Input(id="settings")
        with VerticalScroll(id="history"):
            yield Static(id="space")
            yield Static(id="below")
        yield Static(id="hidden")

    def jump(self) -> None:
        self.letters = JumpScreen([(key, self.screen.query_one(f"#{name}")) for key, name in PLACES.items()])
        self.push_screen(self.letters, self.ended_with.append)


@asynccontextmanager
async def running(size: tuple[int, int] = (40, 12)) -> AsyncIterator[tuple[Host, Pilot[None]]]:
    app = Host()
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        app.jump()
        await pilot.pause()
        yield app, pilot


def letters(app: Host) -> dict[str, tuple[int, int]]:
    """The letters that show, and where."""
    shown = {}
    for y, strip in enumerate(app.letters._compositor.render_strips()):
        for widget in app.letters.query(Static):
            text = str(widget.content)
            if widget.display and widget.region.y == y and strip.text[widget.region.x :][:3] == text:
                shown[text.strip()] = (widget.region.x, y)
    return shown


async def test_a_letter_stands_at_the_corner_of_every_place_that_shows() -> None:
    async with running() as (app, _):
        assert letters(app) == {"p": (0, 0), "s": (20, 0), "?": (0, 8)}


async def test_the_screen_below_stays_to_be_seen_in_its_own_colours() -> None:
    app = Host()
    async with app.run_test(size=(40, 12)) as pilot:
        await pilot.pause()
        before = list(app.screen._compositor.render_strips()[2])
        app.jump()
        await pilot.pause()
        assert not app.letters.styles.background.a
        assert app.export_screenshot().count("─") > 20
        assert list(app._screen_stack[0]._compositor.render_strips()[2]) == before


@pytest.mark.parametrize(("key", "name"), [("p", "prompt"), ("s", "settings"), ("question_mark", "history")])
async def test_a_letters_key_ends_with_the_place(key: str, name: str) -> None:
    async with running() as (app, pilot):
        await pilot.press(key)
        await pilot.pause()
        assert app.ended_with == [name]
        assert app.query_one("#prompt", Input).value == ""


async def test_escape_ends_with_nothing() -> None:
    async with running() as (app, pilot):
        await pilot.press("escape")
        await pilot.pause()
        assert app.ended_with == [None]


@pytest.mark.parametrize("key", ["x", "b", "z", "enter", "down"])
async def test_a_key_without_a_letter_on_the_screen_does_nothing(key: str) -> None:
    async with running() as (app, pilot):
        await pilot.press(key)
        await pilot.pause()
        assert app.ended_with == [] and app.screen is app.letters


async def test_a_click_on_a_letter_goes_there_and_one_elsewhere_ends_the_mode() -> None:
    async with running() as (app, pilot):
        await pilot.click(offset=(21, 0))
        await pilot.pause()
        assert app.ended_with == ["settings"]
        app.jump()
        await pilot.pause()
        await pilot.click(offset=(30, 6))
        await pilot.pause()
        assert app.ended_with == ["settings", None]


async def test_of_two_letters_in_one_burst_the_first_counts() -> None:
    async with running() as (app, pilot):
        for letter in "sp":
            app.letters.post_message(events.Key(letter, letter))
        await pilot.pause()
        assert app.ended_with == ["settings"] and len(app.screen_stack) == 1


async def test_letters_follow_their_places_when_the_terminal_changes() -> None:
    async with running() as (app, pilot):
        await pilot.resize_terminal(60, 14)
        await pilot.pause()
        await pilot.pause()
        assert letters(app) == {"p": (0, 0), "s": (30, 0), "?": (0, 10)}


async def test_letters_follow_their_places_when_those_move_by_themselves() -> None:
    async with running() as (app, pilot):
        app._screen_stack[0].query_one("#prompt").display = False
        await pilot.pause()
        await pilot.pause()
        assert letters(app) == {"s": (0, 0), "?": (0, 8)}


async def test_letters_can_be_read_on_every_theme() -> None:
    async with running() as (app, pilot):
        seen = {}
        for theme in (*OWN_THEMES, *BUILTIN_THEMES.values()):
            app.register_theme(theme)
            app.theme = theme.name
            await pilot.pause()
            _, _, background, text = app.letters.query(Static).first().colors
            if background.ansi is None:  # else the terminal chooses
                seen[theme.name] = contrast(background.rgb, text.rgb)
        assert len(seen) > 20 and min(seen.values()) >= MIN_CONTRAST


def contrast(*colours: tuple[int, int, int]) -> float:
    lighter, darker = sorted(map(luminance, colours), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: tuple[int, int, int]) -> float:
    parts = (channel / 255 for channel in colour)
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
