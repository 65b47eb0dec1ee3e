"""The history pane and its files: which of them it opens, when, and what it says of those that it cannot read."""

from __future__ import annotations

import re
import shutil
import threading
from pathlib import Path

from textual.widgets import Input

from flux_tui.gallery import Day, Gallery
from flux_tui.widgets.history import History
from tests.tui.history_host import Driver, Host, running
from tests.tui.pictures import save, saved_pictures
from tests.tui.test_loader import WatchedGallery


async def test_only_the_files_in_view_and_near_it_are_opened(tmp_path: Path) -> None:
    gallery = WatchedGallery(tmp_path / "gallery")
    days = [
        Day(gallery.root / f"2025-{month:02}-{day:02}", [f"12{n // 60:02}{n % 60:02}-1-{n}.png" for n in range(357)])
        for month in range(1, 11)
        for day in range(1, 29)
    ]
    async with running(gallery, listed=False) as driver:
        driver.history.put_days(days)
        assert driver.history.border_subtitle == "99960"
        for key in ("end", "pageup", "home"):
            await driver.press(key)
            await driver.until(lambda: all("gone" in line for line in driver.lines() if line.startswith("12:")))
        assert len(gallery.opened) < 150


async def test_a_key_on_a_picture_that_is_not_read_yet_is_not_lost(tmp_path: Path) -> None:
    gallery = WatchedGallery(tmp_path / "gallery", threading.Semaphore(0))
    assert gallery.gate is not None
    save(gallery, 1)
    save(gallery, 2)
    async with running(gallery, listed=False) as driver:
        driver.history.put_days(gallery.days())
        assert driver.lines()[1] == "12:02  …"
        await driver.press("down", "full_stop")
        assert driver.app.news == []
        gallery.gate.release(10)
        await driver.until(lambda: driver.app.news == [("starred", 1)])


async def test_pictures_that_are_read_late_come_below_those_of_this_session(filled: Gallery) -> None:
    async with running(filled, listed=False) as driver:
        driver.history.add(saved_pictures(filled)[:1])
        driver.history.put_days(filled.days())
        await driver.until(driver.has_read)
        assert driver.history.border_subtitle == "30"
        assert [line[-2:] for line in driver.lines()[1:4]] == ["30", "29", "28"]


async def test_a_history_can_be_filled_before_it_is_on_the_screen(filled: Gallery) -> None:
    app = Host(History(filled))
    app.history.add(saved_pictures(filled)[:1])
    app.history.look = "rows"
    app.history.show_stars({saved_pictures(filled)[0].path})
    async with app.run_test(size=(60, 14)) as pilot:
        driver = Driver(app, pilot)
        await driver.until(lambda: driver.lines()[1].startswith("12:30★ hill number 30"))


async def test_a_gallery_that_vanishes_is_said_in_its_rows(filled: Gallery) -> None:
    async with running(filled) as driver:
        shutil.rmtree(filled.root)
        driver.app.query_one(Input).focus()
        await driver.press("tab")  # whoever comes back sees how it is now
        await driver.until(lambda: driver.lines()[1:] == [f"12:{minute}  gone" for minute in range(30, 20, -1)])
        await driver.press("enter", "a", "end")
        await driver.until(lambda: driver.lines()[-1] == "12:01  gone")
        await driver.press("delete")
        newest, oldest = ("gone", "123000-1-30.png"), ("gone", "120100-1-1.png")
        await driver.until(lambda: driver.app.news == [newest, newest, oldest, oldest])


async def test_what_is_known_is_not_read_again(filled: Gallery) -> None:
    gallery = WatchedGallery(filled.root)
    async with running(gallery, size=(60, 22), listed=False) as driver:
        driver.history.add(saved_pictures(gallery)[::-1])
        gallery.opened.clear()
        await driver.press("pagedown", "end")
        await driver.until(lambda: any("▀" in line for line in driver.lines()))  # records come before thumbnails
        assert gallery.opened == []


async def test_foreign_and_broken_files_are_said_in_their_rows(gallery: Gallery) -> None:
    (path,) = save(gallery, 1)
    (path.parent / "130000-1-1.png").write_bytes(b"no picture")
    (path.parent / "140000-1-1.png").mkdir()
    async with running(gallery, size=(60, 22)) as driver:
        lines = [line for line in driver.lines() if re.search(r"\d:\d", line)]
        assert [line.strip(" ▀") for line in lines] == [
            *("14:00  cannot be read", "13:00  no prompt", "12:01  hill number 1")
        ]
        await driver.until(lambda: any("▀" in line for line in driver.lines()))  # of the one that is a picture


async def test_of_foreign_and_broken_files_every_key_is_told_why_not_but_the_one_that_throws_them_away(
    gallery: Gallery,
) -> None:
    (path,) = save(gallery, 1)
    (path.parent / "130000-1-2.png").write_bytes(b"no picture")
    (path.parent / "140000-1-3.png").mkdir()
    async with running(gallery) as driver:
        await driver.press("enter", "a", "full_stop", "delete", "S")
        unreadable, foreign = ("cannot be read", "140000-1-3.png"), ("no prompt", "130000-1-2.png")
        await driver.until(lambda: driver.app.news == [*[unreadable] * 3, ("discarded", 3), foreign, foreign])
