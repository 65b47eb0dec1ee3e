"""Pictures go to the trash and come back, on the disk and on the screen."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from flux_engine.errors import OutputError
from flux_tui import trash
from flux_tui.gallery import Gallery
from tests.tui.driver import OLD, Driver, keep, running
from tests.tui.fakes import FakeEngine
from tests.tui.pictures import saved_pictures

NOTHING_LEFT = "Nothing thrown away in this session is left to bring back."


@pytest.fixture
def old(gallery: Gallery) -> list[Path]:
    """Pictures with the seeds 0 to 2, the newest first."""
    return [keep(gallery, replace(OLD, seed=seed), day=seed + 1) for seed in range(3)][::-1]


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def shows(driver: Driver, seed: int) -> bool:
    shown = driver.screen.easel.shown
    return shown is not None and shown.record.request.seed == seed and f"seed {seed}" in driver.screen.stage.text


async def to_the_newest(driver: Driver, pane: str) -> None:
    """To the newest of `old`, with the focus in that pane."""
    await driver.press("escape", "5", "home")
    await driver.until(lambda: shows(driver, 2))
    if pane == "picture":
        await driver.press("enter")


def test_a_picture_goes_to_the_trash_and_comes_back_as_it_was(gallery: Gallery, old: list[Path]) -> None:
    before = saved_pictures(gallery)
    trash.discard(gallery.root, old[1])
    assert saved_pictures(gallery) == [before[0], before[2]]
    assert (gallery.root / ".trash" / old[1].parent.name / old[1].name).is_file()
    trash.restore(gallery.root, old[1])
    assert saved_pictures(gallery) == before


def test_neither_way_overwrites_a_file_and_both_say_what_hinders_them(gallery: Gallery, old: list[Path]) -> None:
    data = old[0].read_bytes()
    trash.discard(gallery.root, old[0])
    with pytest.raises(OutputError, match="could not be moved"):
        trash.discard(gallery.root, old[0].with_name("120000-1-1.png"))
    old[0].write_bytes(b"another")
    for move in (trash.discard, trash.restore):
        with pytest.raises(OutputError, match="was not moved"):
            move(gallery.root, old[0])
    assert old[0].read_bytes() == b"another"
    assert (gallery.root / ".trash" / old[0].parent.name / old[0].name).read_bytes() == data


@pytest.mark.parametrize("pane", ["history", "picture"])
async def test_delete_shows_the_next_picture_and_u_brings_the_others_back(
    gallery: Gallery, old: list[Path], pane: str
) -> None:
    async with running(gallery) as driver:
        await to_the_newest(driver, pane)
        await driver.press("delete")
        await driver.until(lambda: shows(driver, 1) and not old[0].exists())
        await driver.until(lambda: driver.status == f"{name_of(old[0])} is in the trash. u brings it back.")
        await driver.press("delete")
        await driver.until(lambda: shows(driver, 0) and not old[1].exists())
        assert driver.screen.history.count == 1
        await driver.press("u", "u", "u")
        await driver.until(lambda: shows(driver, 2) and all(path.exists() for path in old))
        await driver.until(lambda: driver.status == NOTHING_LEFT and driver.screen.history.count == 3)


@pytest.mark.parametrize("pane", ["history", "picture"])
async def test_keys_in_a_burst_throw_away_one_picture_after_another(
    gallery: Gallery, old: list[Path], pane: str
) -> None:
    async with running(gallery) as driver:
        await to_the_newest(driver, pane)
        screen = driver.screen
        discard = screen.history.action_discard if pane == "history" else screen.album.discard_shown
        discard()  # before anything that follows is done
        discard()
        await driver.until(lambda: shows(driver, 0) and not old[0].exists() and not old[1].exists())
        assert old[2].exists() and screen.history.count == 1 and not driver.notes


async def test_a_key_right_after_an_arrow_is_for_the_picture_that_it_leads_to(
    gallery: Gallery, old: list[Path]
) -> None:
    async with running(gallery) as driver:
        await to_the_newest(driver, "picture")
        driver.screen.album.walk(1)
        driver.screen.album.star_shown()
        driver.screen.album.discard_shown()
        await driver.until(lambda: shows(driver, 0) and not old[1].exists())
        assert old[0].exists() and gallery.starred == {old[1]}


async def test_without_the_last_picture_the_stage_welcomes_again(gallery: Gallery) -> None:
    path = keep(gallery)
    async with running(gallery) as driver:
        await driver.press("escape", "5", "home")
        await driver.until(lambda: shows(driver, 77))
        await driver.press("enter", "delete")
        await driver.until(lambda: "press F5" in driver.screen.stage.text and not path.exists())
        await driver.press("u")
        await driver.until(lambda: shows(driver, 77))


async def test_the_picture_that_was_just_painted_can_be_thrown_away_wherever_the_cursor_is(
    gallery: Gallery, old: list[Path]
) -> None:
    async with running(gallery) as driver:
        await driver.press("x", "escape", "5", "end", "f5")
        await driver.done()
        await driver.press("3", "delete")
        await driver.until(lambda: [picture.path for picture in saved_pictures(gallery)] == old)
        await driver.until(lambda: shows(driver, 2))


async def test_what_is_painted_stays_on_the_stage_when_an_old_picture_goes(gallery: Gallery, old: list[Path]) -> None:
    engine = FakeEngine(gate=threading.Semaphore(5))
    async with running(gallery, engine, size=(80, 24)) as driver:
        await driver.press("x", "f5")
        await driver.until(lambda: "5/20" in driver.screen.stage.text and driver.screen.stage.image)
        preview = driver.screen.stage.image
        await driver.press("escape", "5", "delete")
        await driver.until(lambda: not old[0].exists())
        assert driver.screen.stage.image == preview


async def test_a_picture_that_cannot_be_moved_is_listed_again_and_is_not_what_u_brings_back(
    gallery: Gallery, old: list[Path]
) -> None:
    (gallery.root / ".trash").mkdir()
    (gallery.root / ".trash" / old[1].parent.name).write_text("in the way")
    async with running(gallery) as driver:
        await driver.press("escape", "5", "home", "delete")
        await driver.until(lambda: driver.status == f"{name_of(old[0])} is in the trash. u brings it back.")
        await driver.press("delete")
        await driver.until(lambda: any("could not be moved" in note for note in driver.notes))
        await driver.until(lambda: driver.screen.history.path == old[1] and driver.screen.history.count == 2)
        assert driver.status == f"{name_of(old[0])} is in the trash. u brings it back."
        await driver.press("u")
        await driver.until(lambda: driver.status == f"{name_of(old[0])} is back." and old[0].exists())
        assert len(driver.notes) == 1


async def test_what_could_not_be_brought_back_is_brought_back_once_nothing_hinders_it(
    gallery: Gallery, old: list[Path]
) -> None:
    async with running(gallery) as driver:
        await driver.press("escape", "5", "home", "delete", "delete")
        await driver.until(lambda: driver.status == f"{name_of(old[1])} is in the trash. u brings it back.")
        old[1].write_bytes(b"another")
        await driver.press("u")
        await driver.until(lambda: any("Move that one away" in note for note in driver.notes))
        assert driver.status == f"{name_of(old[1])} is in the trash. u brings it back."
        old[1].unlink()
        await driver.press("u")
        await driver.until(lambda: driver.status == f"{name_of(old[1])} is back." and old[1].exists())


async def test_a_picture_that_is_in_the_trash_no_more_does_not_keep_the_others_there(
    gallery: Gallery, old: list[Path]
) -> None:
    async with running(gallery) as driver:
        await driver.press("escape", "5", "home", "delete", "delete")
        await driver.until(lambda: driver.status == f"{name_of(old[1])} is in the trash. u brings it back.")
        (gallery.root / ".trash" / old[1].parent.name / old[1].name).unlink()
        await driver.press("u", "u")
        await driver.until(lambda: driver.status == f"{name_of(old[0])} is back." and old[0].exists())
        assert len(driver.notes) == 1


async def test_a_file_without_a_prompt_is_said_to_have_none_and_can_be_thrown_away(
    gallery: Gallery, old: list[Path]
) -> None:
    foreign = old[0].with_name("202401-1-1.png")
    Image.new("RGB", (48, 32)).save(foreign)
    async with running(gallery) as driver:
        await driver.press("escape", "5", "end", "home", "down")
        await driver.until(lambda: shows(driver, 2))
        await driver.press("up")
        said = f"{name_of(foreign)}: no prompt. Delete moves it to the trash."
        await driver.until(lambda: driver.status == said and "no prompt" in driver.screen.stage.text)
        await driver.press("down")
        await driver.until(lambda: shows(driver, 2) and driver.status == "")
        await driver.press("up", "a")
        assert driver.screen.prompt.text == ""
        await driver.press("delete")
        await driver.until(lambda: driver.status == f"{name_of(foreign)} is in the trash. u brings it back.")
        await driver.until(lambda: shows(driver, 2) and not foreign.exists() and driver.screen.history.count == 3)
        await driver.press("u")
        await driver.until(lambda: driver.screen.history.path == foreign and foreign.exists())
