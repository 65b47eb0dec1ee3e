"""A list to pick from by typing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from rich.cells import cell_len
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, OptionList, Static

from flux_tui.screens import picker
from flux_tui.screens.picker import MAX_SHOWN, Picker

NOTHING = object()
FRUIT = [("apple", 1), ("apricot", 2), ("banana", 3), ("blueberry", 4)]


class Host(App[None]):
    result: Any = NOTHING

    def take(self, result: Any) -> None:
        assert self.result is NOTHING, "it has one result only"
        self.result = result


def among(rows: Sequence[tuple[str, Any]]) -> Callable[[str], Sequence[tuple[str, Any]]]:
    return lambda typed: [(label, value) for label, value in rows if typed in label]


@asynccontextmanager
async def picking(
    rows: Sequence[tuple[str, Any]], size: tuple[int, int] = (80, 24), **options: Any
) -> AsyncIterator[tuple[Host, Pilot[None]]]:
    app = Host()
    async with app.run_test(size=size) as pilot:
        await app.push_screen(Picker("Fruit", among(rows), **options), app.take)
        await pilot.pause()
        yield app, pilot


def shown(app: Host) -> list[str]:
    return [str(option.prompt) for option in app.screen.query_one(OptionList).options]


async def test_enter_takes_the_first_at_once() -> None:
    async with picking(FRUIT) as (app, pilot):
        await pilot.press("enter")

        assert app.result == 1
        assert not isinstance(app.screen, Picker)


async def test_what_is_typed_narrows_the_list_and_the_cursor_is_on_the_first_again() -> None:
    async with picking(FRUIT) as (app, pilot):
        await pilot.press("down", "down", "b", "e")
        assert shown(app) == ["blueberry"]
        await pilot.press("backspace")
        assert shown(app) == ["banana", "blueberry"]
        await pilot.press("enter")

        assert app.result == 3


@pytest.mark.parametrize(
    ("keys", "taken"),
    [
        (["down"], 2),
        (["ctrl+n", "ctrl+r"], 3),
        (["down", "down", "up"], 2),
        (["b", "down"], 4),
        (["pagedown"], 4),
        (["pagedown", "pageup"], 1),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
async def test_the_cursor_moves_while_the_words_keep_the_focus(keys: list[str], taken: int) -> None:
    async with picking(FRUIT) as (app, pilot):
        await pilot.press(*keys)
        assert app.screen.query_one(Input).has_focus
        await pilot.press("enter")

        assert app.result == taken


async def test_escape_takes_nothing() -> None:
    async with picking(FRUIT) as (app, pilot):
        await pilot.press("b", "escape")

        assert app.result is None


async def test_a_click_takes_a_row() -> None:
    async with picking(FRUIT) as (app, pilot):
        await pilot.click(OptionList, offset=(3, 2))

        assert app.result == 3


async def test_a_row_that_is_clicked_twice_is_taken_once() -> None:
    async with picking(FRUIT) as (app, pilot):
        rows = app.screen.query_one(OptionList)
        rows.action_select()
        rows.action_select()  # before the first one is acted upon
        await pilot.pause()

        assert app.result == 1
        assert not isinstance(app.screen, Picker)


async def test_where_nothing_matches_it_says_so_and_enter_waits() -> None:
    async with picking(FRUIT, empty="No such fruit.") as (app, pilot):
        await pilot.press("z", "enter")
        assert app.result is NOTHING
        assert app.screen.query_one("#picker-empty").display
        assert not app.screen.query_one(OptionList).display

        await pilot.press("backspace")
        assert not app.screen.query_one("#picker-empty").display
        await pilot.press("enter")
        assert app.result == 1


async def test_an_empty_value_is_a_result_like_any_other() -> None:
    async with picking([("no style", "")]) as (app, pilot):
        await pilot.press("enter")

        assert app.result == ""


async def test_a_long_list_shows_its_beginning_and_how_much_there_is() -> None:
    async with picking([(f"row {place}", place) for place in range(1234)]) as (app, pilot):
        box = app.screen.query_one("Vertical")
        assert len(shown(app)) == MAX_SHOWN
        assert box.border_subtitle == f"{MAX_SHOWN} of 1,234"

        await pilot.press(*"1233")
        assert box.border_subtitle == "1"
        await pilot.press("enter")
        assert app.result == 1233


@pytest.mark.parametrize("width", [30, 80, 200])
async def test_a_row_is_one_line_of_whole_words_whatever_is_in_it(width: int) -> None:
    labels = [
        "a prompt\nof several lines and of many more words " * 9,
        "日本語の山と湖 " * 40,
        "bad \x1b[2J\t[red]x",
        "",
    ]
    async with picking([(label, label) for label in labels], (width, 24)) as (app, pilot):
        room = app.screen.query_one(OptionList).scrollable_content_region.width
        rows = shown(app)
        assert all(0 < cell_len(row) <= room and row.isprintable() for row in rows)
        assert rows[0].removesuffix("…").split(" ") == " ".join(labels[0].split()).split(" ")[: len(rows[0].split(" "))]
        assert rows[2].startswith("bad \N{REPLACEMENT CHARACTER}[2J [red]x")

        await pilot.press("enter")
        assert app.result == labels[0]


async def test_rows_are_cut_anew_when_the_terminal_grows_and_the_cursor_stays() -> None:
    async with picking([("many words " * 20, 1), ("more words " * 20, 2)], (40, 12)) as (app, pilot):
        await pilot.press("down")
        before = len(shown(app)[1])
        await pilot.resize_terminal(100, 24)
        await pilot.pause()
        assert len(shown(app)[1]) > before + 20

        await pilot.press("enter")
        assert app.result == 2


async def test_what_is_typed_before_the_rows_are_read_narrows_them_and_enter_takes_of_them() -> None:
    rows: list[tuple[str, int]] = []
    is_slow = threading.Event()

    def read() -> None:
        is_slow.wait(30)
        rows.extend(FRUIT)

    async with picking(rows, read=read) as (app, pilot):
        await pilot.press("b", "l")
        assert shown(app) == [] and app.screen.query_one(Input).value == "bl"
        assert not app.screen.query_one("#picker-empty").display  # nobody knows yet
        take = asyncio.create_task(app.screen.run_action("take"))
        await pilot.pause()
        assert app.result is NOTHING
        is_slow.set()
        await take
        assert app.result == 4


async def test_rows_that_cannot_be_read_are_said_and_the_way_out_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def in_vain(function: Callable[[], object]) -> None:
        raise TimeoutError

    monkeypatch.setattr(picker, "off_thread", in_vain)
    async with picking([], read=list) as (app, pilot):
        assert str(app.screen.query_one("#picker-empty", Static).content) == "The disk does not answer."
        await pilot.press("a", "enter", "escape")
        assert app.result is None


async def test_it_sends_nothing_while_nobody_types() -> None:
    async with picking(FRUIT) as (app, _):
        assert not app.screen.query_one(Input).cursor_blink


@pytest.mark.parametrize("key", ["pagedown", "pageup"])
async def test_no_page_is_turned_where_no_row_has_room(key: str) -> None:
    async with picking(FRUIT, size=(40, 3)) as (app, pilot):
        await pilot.press(key, "enter")
        assert app.result == 1
