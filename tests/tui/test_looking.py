"""Pictures of the history on the stage: shown when the cursor rests, opened while one is painted, walked through."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from flux_engine.errors import CheckpointNotFound
from flux_engine.request import GenerationRequest, RGBImage
from flux_tui.gallery import Gallery
from flux_tui.screens import album
from tests.tui.driver import OLD, Driver, keep, running
from tests.tui.fakes import FakeEngine, gradient

COUNT = 40  # more than the history has in view


@pytest.fixture
def old(gallery: Gallery) -> list[Path]:
    """Pictures with the seeds 0 to COUNT - 1, the newest first."""
    return [keep(gallery, replace(OLD, seed=seed, prompt=f"hill {seed}"), day=1) for seed in range(COUNT)][::-1]


@asynccontextmanager
async def painting(gallery: Gallery, words: str = "x", size: tuple[int, int] = (80, 24)) -> AsyncIterator[Driver]:
    """Five steps of the first picture are painted; the others wait."""
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine, size=size) as driver:
        for word in words:
            await driver.press("ctrl+u", word, "f5")
        go_on(driver, 5)
        await driver.until(lambda: shows_preview(driver) and "5/20" in driver.screen.stage.text)
        yield driver


def go_on(driver: Driver, steps: int) -> None:
    assert driver.engine.gate is not None
    driver.engine.gate.release(steps)


def shows_preview(driver: Driver) -> bool:
    image = driver.screen.stage.image
    return image is not None and image.width == 128 // 8


def on_show(driver: Driver, seed: int) -> bool:
    """Whether the picture of that seed is on the stage."""
    shown = driver.screen.easel.shown
    return shown is not None and shown.record.request.seed == seed and driver.screen.stage.image == gradient(192, 128)


async def test_a_picture_is_read_when_the_cursor_rests_and_not_for_every_key(
    gallery: Gallery, old: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    read_image = album.read_image
    monkeypatch.setattr(album, "read_image", lambda path: read.append(path) or read_image(path))  # type: ignore[func-returns-value]
    async with running(gallery) as driver:
        await driver.press("escape", "5")
        await driver.until(lambda: driver.screen.history.picture)
        monkeypatch.setattr(album, "QUIET_S", 1000.0)
        await driver.press("down", "down", "down")
        assert read == []
        await driver.press("enter")  # who opens one does not wait
        await driver.until(lambda: on_show(driver, COUNT - 4))
        monkeypatch.setattr(album, "QUIET_S", 0.15)
        await driver.press("escape", "up")
        await driver.until(lambda: on_show(driver, COUNT - 3))
        assert read == [str(old[3]), str(old[2])]


async def test_an_old_picture_opens_while_one_is_painted_whose_progress_stays_and_which_escape_brings_back(
    gallery: Gallery, old: list[Path]
) -> None:
    async with painting(gallery) as driver:
        await driver.press("escape", "5", "down", "enter")
        await driver.until(lambda: on_show(driver, COUNT - 2))
        await driver.until(lambda: old[1].name in driver.screen_text() and "5/20" in driver.screen_text())
        assert "Escape shows the one painted last" in driver.screen_text()
        go_on(driver, 2)
        await driver.until(lambda: "7/20" in driver.screen_text())
        assert on_show(driver, COUNT - 2) and driver.screen.stage._next is None  # no preview comes in its place
        await driver.press("escape")
        await driver.until(lambda: shows_preview(driver) and not driver.screen.is_zoomed)
        assert driver.screen.stage.border_title == "Picture" and "7/20" in driver.screen.stage.text
        go_on(driver, 1)
        await driver.until(lambda: driver.screen.stage.image == gradient(16, 16, hue=8 / 20))


async def test_moving_the_cursor_leaves_what_is_painted_on_the_stage(gallery: Gallery, old: list[Path]) -> None:
    async with painting(gallery) as driver:
        await driver.press("escape", "5", "down", "down")
        await driver.until(lambda: driver.screen.history.path == old[2])
        assert driver.screen.album._quiet is None and shows_preview(driver)


@pytest.mark.parametrize("key", ["f3", "f6", "1"])
async def test_whatever_leaves_the_large_picture_shows_what_is_painted(
    gallery: Gallery, old: list[Path], key: str
) -> None:
    async with painting(gallery) as driver:
        await driver.press("escape", "5", "enter")
        await driver.until(lambda: on_show(driver, COUNT - 1))
        await driver.press(key)
        await driver.until(lambda: shows_preview(driver) and not driver.screen.is_zoomed)


async def test_who_looks_at_an_old_picture_goes_on_doing_so_when_one_is_finished_and_the_next_begins(
    gallery: Gallery, old: list[Path]
) -> None:
    async with painting(gallery, "ab") as driver:
        await driver.press("escape", "5", "enter")
        await driver.until(lambda: on_show(driver, COUNT - 1))
        go_on(driver, 15 + 3)
        await driver.until(lambda: " 3/20" in driver.screen.stage.text)
        assert on_show(driver, COUNT - 1) and driver.status.startswith("Saved ")
        go_on(driver, 17)
        await driver.done()
        assert on_show(driver, COUNT - 1) and "20/20" not in driver.screen.stage.text
        assert f"seed {COUNT - 1}" in driver.screen.stage.text
        await driver.press("escape")
        await driver.until(lambda: driver.screen.stage.image == gradient(128, 128))
        assert driver.screen.easel.shown is not None and driver.screen.easel.shown.record.request.prompt == "b"
        assert f"seed {driver.engine.requests[1].seed}" in driver.screen.stage.text


async def test_a_fault_meanwhile_is_told_and_stands_on_the_stage_afterwards(gallery: Gallery, old: list[Path]) -> None:
    async with painting(gallery) as driver:
        driver.engine.fault, driver.engine.fault_at = CheckpointNotFound("No folder.", hint="Name one."), 6
        await driver.press("escape", "5", "enter")
        await driver.until(lambda: on_show(driver, COUNT - 1))
        go_on(driver, 1)
        await driver.done()
        assert driver.notes == ["No folder. Name one."] and on_show(driver, COUNT - 1)
        await driver.press("escape")
        await driver.until(lambda: "No folder." in driver.screen_text())


async def test_who_asks_for_a_picture_sees_it_painted(gallery: Gallery, old: list[Path]) -> None:
    async with painting(gallery) as driver:
        await driver.press("escape", "5", "enter")
        await driver.until(lambda: on_show(driver, COUNT - 1))
        go_on(driver, 15)
        await driver.done()
        await driver.press("f5")
        go_on(driver, 1)
        await driver.until(lambda: shows_preview(driver))


async def test_keys_walk_through_the_history_in_the_large_picture_and_beyond_the_newest_is_what_is_painted(
    gallery: Gallery, old: list[Path]
) -> None:
    async with painting(gallery) as driver:
        await driver.press("escape", "f3", "up")
        assert driver.status == "There is no newer picture." and shows_preview(driver)
        await driver.press("down", "j", "right", "up")
        await driver.until(lambda: on_show(driver, COUNT - 2))
        await driver.press("k", "left")
        await driver.until(lambda: shows_preview(driver))
        assert driver.screen.is_zoomed
        await driver.press(*["l"] * COUNT)
        await driver.until(lambda: on_show(driver, 0) and driver.status == f"{COUNT} of {COUNT}.")
        await driver.press("l")
        assert driver.status == "There is no older picture." and on_show(driver, 0)
        go_on(driver, 15)
        await driver.done()
        await driver.press(*["up"] * COUNT)
        await driver.until(lambda: driver.screen.stage.image == gradient(128, 128))


async def test_a_picture_that_is_late_does_not_throw_a_walk_back(
    gallery: Gallery, old: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_read, may_come = threading.Event(), threading.Event()
    read_image = album.read_image

    def read(path: str) -> RGBImage:
        if path == str(old[1]):
            is_read.set()
            assert may_come.wait(60)
        return read_image(path)

    monkeypatch.setattr(album, "read_image", read)
    async with running(gallery) as driver:
        await driver.press("escape", "5", "enter")
        await driver.until(lambda: on_show(driver, COUNT - 1))
        await driver.press("down")
        await driver.until(is_read.is_set)
        monkeypatch.setattr(album, "QUIET_S", 1000.0)
        await driver.press("down")
        may_come.set()
        await driver.until(lambda: on_show(driver, COUNT - 2))
        monkeypatch.setattr(album, "QUIET_S", 0.01)
        await driver.press("down")
        await driver.until(lambda: on_show(driver, COUNT - 4))


async def test_a_picture_that_is_gone_is_said_and_passed_over(gallery: Gallery, old: list[Path]) -> None:
    async with running(gallery) as driver:
        await driver.press("escape", "5", "home")
        await driver.until(lambda: on_show(driver, COUNT - 1) and driver.screen.history.count == COUNT)
        old[1].unlink()
        await driver.press("enter", "down")
        await driver.until(lambda: "Not shown" in driver.screen_text())
        await driver.press("down")
        await driver.until(lambda: on_show(driver, COUNT - 3))


async def test_what_can_be_done_with_the_picture_on_show_is_done_in_its_pane(gallery: Gallery, old: list[Path]) -> None:
    async with running(gallery) as driver:
        assert "Recall" not in driver.screen_text()
        await driver.press("m", "y", "escape", "5", "enter", "down")
        await driver.until(lambda: on_show(driver, COUNT - 2))
        await driver.until(lambda: "a Recall" in driver.screen_text())
        await driver.press("full_stop")
        await driver.until(lambda: gallery.starred == {old[1]} and "is starred" in driver.status)
        await driver.press("S")
        assert driver.field("seed") == str(COUNT - 2) and driver.screen.prompt.text == "my"
        await driver.press("a")
        assert driver.screen.prompt.text == f"hill {COUNT - 2}" and driver.field("num_steps") == "7"
        await driver.press("full_stop")
        await driver.until(lambda: gallery.starred == frozenset())


async def test_what_is_being_painted_can_neither_be_starred_nor_put_back(gallery: Gallery) -> None:
    async with painting(gallery) as driver:
        await driver.press("escape", "full_stop", "a")
        await driver.until(lambda: "F9 Cancel" in driver.screen_text())
        assert gallery.starred == frozenset() and "Recall" not in driver.screen_text()


async def test_where_there_is_one_picture_only_no_key_leads_anywhere(gallery: Gallery) -> None:
    keep(gallery, GenerationRequest(prompt="alone"))
    async with running(gallery) as driver:
        await driver.press("escape", "5", "enter", "up")
        assert driver.status == "There is no newer picture."
        await driver.until(lambda: driver.screen.easel.shown)
        await driver.press("down")
        assert driver.status == "There is no older picture."
