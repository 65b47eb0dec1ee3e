"""The history pane in a bare app, driven by keys and mouse, over real files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.widgets import Input

from flux_tui.gallery import Gallery
from flux_tui.glyphs import ASCII
from flux_tui.metadata import harmless
from flux_tui.widgets import picture_grid
from flux_tui.widgets.history import EMPTY, History
from tests.tui.history_host import running, seed_of
from tests.tui.pictures import save, saved_pictures
from tests.tui.terminal import Terminal
from tests.tui.test_cell_text import HOSTILE

ROOT = Path(__file__).parents[2]


async def test_the_newest_come_first_under_their_days(filled: Gallery) -> None:
    async with running(filled, size=(60, 40)) as driver:
        driver.history.look = "rows"
        await driver.until(lambda: driver.history.look_now == "rows" and driver.has_read())
        lines = driver.lines()
        assert lines[1].startswith("12:30  hill number 30")
        assert lines[0] == "2025-11-23" and lines[26] == "2025-11-22"
        assert lines[27].startswith("12:05  hill number 5") and lines[31].startswith("12:01  hill number 1")
        assert driver.history.border_subtitle == "30"
        assert [seed_of(picture) for picture in driver.history.pictures] == list(range(30, 0, -1))


async def test_an_empty_history_says_what_comes_here_and_no_key_breaks_it(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        assert driver.lines()[0] == EMPTY
        await driver.press("down", "up", "pagedown", "pageup", "end", "home", "l", "h", "enter", "a", "full_stop", "v")
        await driver.pilot.click(History, offset=(5, 2))
        assert driver.app.news == [] and driver.history.path is None
        driver.history.add([])
        assert driver.lines()[0] == EMPTY


@pytest.mark.parametrize(
    ("key", "news"),
    [
        ("enter", "opened"),
        ("a", "all"),
        ("p", "prompt"),
        ("S", "seed"),
        ("r", "remix"),
        ("d", "size"),
    ],
)
async def test_each_key_asks_for_its_part_of_the_picture_under_the_cursor(filled: Gallery, key: str, news: str) -> None:
    async with running(filled) as driver:
        await driver.press(key, "down", key)
        await driver.until(lambda: driver.app.news == [(news, 30), ("shown", 29), (news, 29)])


async def test_a_key_that_throws_away_means_the_next_picture_at_once(filled: Gallery) -> None:
    async with running(filled) as driver:
        driver.app.history.action_discard()
        driver.app.history.action_discard()
        await driver.until(
            lambda: driver.app.news == [("discarded", 30), ("shown", 29), ("discarded", 29), ("shown", 28)]
        )


@pytest.mark.parametrize(
    ("keys", "seed"),
    [
        ("down", 29),
        ("j j j", 27),
        ("j j k", 29),
        ("down up up", 30),
        ("end", 1),
        ("end down", 1),
        ("end home", 30),
        ("pagedown", 19),
        ("pagedown pagedown pageup", 19),
        ("right", 30),
        ("l", 30),
    ],
)
async def test_keys_move_the_cursor_through_the_rows(filled: Gallery, keys: str, seed: int) -> None:
    async with running(filled) as driver:
        assert driver.history.size.height == 11
        await driver.press(*keys.split())
        await driver.until(lambda: driver.history.picture and seed_of(driver.history.picture) == seed)
        await driver.until(lambda: any(f"hill number {seed}" in line for line in driver.lines()))  # it is in view


@pytest.mark.parametrize(
    ("keys", "seed"),
    [("l", 29), ("right right left", 29), ("h", 30), ("j", 26), ("j k", 30), ("l j l", 24), ("end", 1), ("end k", 5)],
)
async def test_keys_move_the_cursor_through_the_tiles(filled: Gallery, keys: str, seed: int) -> None:
    async with running(filled, size=(93, 30)) as driver:  # four tiles side by side
        assert driver.history.look_now == "strip"
        await driver.press(*keys.split())
        await driver.until(lambda: driver.history.picture and seed_of(driver.history.picture) == seed)


async def test_the_first_key_shows_the_picture_that_the_cursor_is_on_already(gallery: Gallery) -> None:
    save(gallery, 1)
    async with running(gallery) as driver:
        await driver.press("down", "down", "up")
        assert driver.app.news == [("shown", 1)]


async def test_the_cursor_is_seen_with_and_without_the_focus(filled: Gallery) -> None:
    async with running(filled) as driver:
        await driver.press("down")
        looks = []
        for has_focus in (True, False):
            if not has_focus:
                driver.app.set_focus(None)
                await driver.until(lambda: not driver.history.has_focus)
            (cursor,), (other, *_) = set(driver.styles(2)), driver.styles(3)
            assert cursor and other and cursor.bgcolor != other.bgcolor
            looks.append(cursor)
        assert looks[0] != looks[1]


async def test_a_click_shows_a_picture_and_two_open_it(filled: Gallery) -> None:
    async with running(filled) as driver:
        await driver.pilot.click(History, offset=(10, 4))
        assert driver.app.news == [("shown", 28)]
        await driver.pilot.click(History, offset=(10, 1))  # a day
        assert driver.app.news == [("shown", 28)]
        await driver.pilot.click(History, offset=(10, 5), times=2)
        await driver.until(lambda: driver.app.news == [("shown", 28), ("shown", 27), ("opened", 27)])


async def test_a_click_finds_the_tile_below_it(filled: Gallery) -> None:
    async with running(filled, size=(93, 30)) as driver:
        await driver.pilot.click(History, offset=(50, 6))
        assert driver.app.news == [("shown", 28)]
        await driver.press("end")
        await driver.pilot.click(History, offset=(80, 25))  # beside the last tile, which is alone in its row
        assert driver.app.news == [("shown", 28), ("shown", 1)]


async def test_the_wheel_scrolls_and_leaves_the_cursor(filled: Gallery) -> None:
    async with running(filled) as driver:
        await driver.pilot._post_mouse_events([scroll_event()], History, offset=(5, 5), button=0)
        await driver.until(lambda: driver.history.scroll_offset.y > 0)
        assert driver.history.picture and seed_of(driver.history.picture) == 30
        await driver.press("down")
        await driver.until(lambda: driver.lines()[0].startswith("12:29  hill number 29"))
        assert driver.app.news == [("shown", 29)]


def scroll_event() -> type:
    from textual.events import MouseScrollDown

    return MouseScrollDown


async def test_a_star_is_shown_told_and_taken_away_again(filled: Gallery) -> None:
    async with running(filled) as driver:
        await driver.press("j", "full_stop")
        assert driver.lines()[2].startswith("12:29★ hill number 29")
        await driver.press("full_stop")
        assert driver.lines()[2].startswith("12:29  hill number 29")
        assert driver.app.news == [("shown", 29), ("starred", 29), ("not starred", 29)]


async def test_starred_pictures_can_be_shown_alone(filled: Gallery) -> None:
    for picture in saved_pictures(filled):
        if seed_of(picture) in (3, 29):
            filled.star(picture.path)
    async with running(filled) as driver:
        await driver.press("f")
        await driver.until(lambda: driver.lines()[4:] == [""] * 7 and driver.has_read())
        assert [line[:22] for line in driver.lines()[:4]] == [
            *("2025-11-23", "12:29★ hill number 29", "2025-11-22", "12:03★ hill number 3")
        ]
        assert driver.history.border_subtitle == "2 starred of 30"
        await driver.press("home", "full_stop", "full_stop")  # the second one is on what came in its place
        assert driver.lines()[0].startswith("No picture is starred")
        await driver.press("f")
        assert driver.history.border_subtitle == "30" and "hill number 30" in driver.lines()[1]


async def test_a_new_picture_is_under_the_cursor_unless_somebody_is_in_the_pane(filled: Gallery) -> None:
    async with running(filled) as driver:
        driver.app.query_one(Input).focus()
        await driver.until(lambda: not driver.history.has_focus)
        for seed, under in ((40, 40), (41, 40)):
            save(filled, seed)
            driver.history.add(saved_pictures(filled)[:1])
            assert driver.history.picture and seed_of(driver.history.picture) == under
            driver.history.focus()
            await driver.until(lambda: driver.history.has_focus)
        assert driver.lines()[1].startswith("12:41  hill number 41")


async def test_what_is_in_view_stays_there_when_pictures_come_and_go(filled: Gallery) -> None:
    async with running(filled) as driver:
        await driver.press(*["pagedown"] * 2)
        await driver.until(driver.has_read)
        lines = driver.lines()
        save(filled, 50, count=3)
        driver.history.add(saved_pictures(filled)[:3][::-1])
        assert driver.lines() == lines
        path, place = driver.history.path, driver.history.place
        assert path is not None
        driver.history.forget(path)
        assert len(set(lines) - set(driver.lines())) == 1 and driver.history.place == place
        driver.history.show_again(path)
        assert driver.history.path == path and driver.history.border_subtitle == "33"
        assert len(set(lines) - set(driver.lines())) <= 1  # the picture is in view again
        assert any(line.startswith(f"12:{path.name[2:4]}") for line in driver.lines())


async def test_without_unicode_everything_but_the_prompt_is_ascii(filled: Gallery) -> None:
    save(filled, 31, "a hill " * 30)
    history = History(filled, ASCII)
    history.thumbnails = False
    async with running(filled, history=history) as driver:
        await driver.press("full_stop")
        assert driver.lines()[1].startswith("12:31* a hill a hill") and driver.lines()[1].endswith("hill~")
        assert all(line.isascii() for line in driver.lines())


async def test_the_look_follows_the_size_until_a_key_sets_it(filled: Gallery) -> None:
    async with running(filled, size=(60, 14)) as driver:
        seen = []
        for size in ((60, 14), (60, 22), (100, 40)):
            await driver.pilot.resize_terminal(*size)
            await driver.until(lambda size=size: driver.history.size.height == size[1] - 3)
            seen.append(driver.history.look_now)
        assert seen == ["rows", "cards", "strip"]
        for look in ("rows", "cards", "strip"):
            await driver.press("v")
            assert driver.history.look_now == driver.history.look == look


async def test_thumbnails_are_drawn_in_cards_and_tiles_and_not_where_they_are_unwanted(filled: Gallery) -> None:
    async with running(filled, size=(60, 22)) as driver:
        for look in ("cards", "strip"):
            driver.history.look = look
            await driver.until(lambda: sum("▀" * 6 in line for line in driver.lines()) > 3)
            drawn = [y for y, line in enumerate(driver.lines()) if "▀" in line]
            assert len({style.color for y in drawn for style in driver.styles(y) if style}) > 4
        driver.history.thumbnails = False
        assert driver.history.look_now == "rows" and not any("▀" in line for line in driver.lines())


async def test_over_a_thin_link_pictures_are_left_out_while_the_pane_scrolls(
    filled: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(filled, size=(60, 22)) as driver:
        driver.history.thin_link = True
        await driver.press("pagedown", "pagedown")
        await driver.until(lambda: any("▀" in line for line in driver.lines()))  # once it rests
        monkeypatch.setattr(picture_grid, "QUIET_S", 1000.0)
        await driver.press("home")
        assert not any("▀" in line for line in driver.lines())
        driver.history.thin_link = False
        await driver.until(lambda: any("▀" in line for line in driver.lines()))


async def test_the_picture_in_view_stays_in_view_at_every_size(filled: Gallery) -> None:
    async with running(filled, size=(100, 40)) as driver:
        await driver.press("end", "k", "k", "k")
        under = driver.history.path
        for size in ((52, 20), (78, 8), (20, 5), (3, 3), (1, 1), (200, 60), (60, 14)):
            await driver.pilot.resize_terminal(*size)
            await driver.pilot.pause()
            assert driver.history.path == under
        await driver.until(lambda: driver.history.size.height == 11)
        assert any(f"hill number {seed_of(driver.history.picture)}" in line for line in driver.lines())


@pytest.mark.parametrize("look", ["rows", "cards", "strip"])
async def test_no_prompt_moves_the_border_or_reaches_the_terminal_as_a_command(gallery: Gallery, look: str) -> None:
    for seed, prompt in enumerate((harmless(HOSTILE), "山" * 300, "ש" * 300, "é" * 9000), 1):
        save(gallery, seed, prompt)
    async with running(gallery, size=(60, 22)) as driver:
        driver.history.look = look  # type: ignore[assignment]
        await driver.pilot.pause()
        for strip in driver.app.screen._compositor.render_strips():
            assert strip.cell_length == 60
            assert strip.text.isprintable(), ascii(strip.text)
        for strip in driver.app.screen._compositor.render_strips()[1:18]:
            assert strip.text.endswith("│")


def test_every_key_has_an_id_of_its_own_and_words_for_the_help() -> None:
    ids = [binding.id for binding in History.BINDINGS]
    assert len(set(ids)) == len(ids) and None not in ids
    assert all(binding.tooltip and binding.description for binding in History.BINDINGS)


HOST = """
import sys
from pathlib import Path
from flux_tui.gallery import Gallery
from flux_tui.widgets.history import History
from tests.tui.history_host import Host

gallery = Gallery(Path(sys.argv[1]))
app = Host(History(gallery))
app.call_later(lambda: app.history.put_days(gallery.days()))
app.run()
"""


@pytest.fixture
def terminal(filled: Gallery) -> Iterator[Terminal]:
    with Terminal(["-c", HOST, str(filled.root)], cwd=ROOT, size=(80, 30)) as terminal:
        terminal.until(lambda: "12:30  hill number" in terminal.text())
        yield terminal


def test_at_rest_nothing_is_sent_and_the_cursor_does_not_paint_the_whole_pane(terminal: Terminal) -> None:
    terminal.until(lambda: terminal.text().count("▀") > 200)
    terminal.settle()
    before = len(terminal.raw)
    terminal.listen(1.0)
    assert len(terminal.raw) == before
    terminal.press("l")
    terminal.settle()
    assert 0 < len(terminal.raw) - before < 3000  # two captions, and not the pictures above them
    terminal.press("\x11")
    assert terminal.end() == 0
