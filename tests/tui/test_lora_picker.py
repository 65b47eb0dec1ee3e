"""LoRAs in the app: chosen, made stronger and weaker, searched by name and words, painted with, put back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Static

from flux_engine.errors import CheckpointNotFound
from flux_engine.request import LoraUse
from flux_tui import paths
from flux_tui.gallery import Gallery
from flux_tui.launch import Launch
from flux_tui.screens import loras as screen
from flux_tui.screens import picker
from flux_tui.screens.loras import LoraPicker
from tests.tui.driver import OLD, WAIT_S, Driver, keep, running
from tests.tui.fakes import FakeEngine
from tests.tui.lora_drawer import fill, write_lora


@pytest.fixture
def folder() -> Path:
    return fill(paths.loras_dir())


@pytest.fixture
def may_read(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """What has the folder be read when it is set."""
    event, read = threading.Event(), screen.lora_files
    monkeypatch.setattr(screen, "lora_files", lambda folder: read(folder) if event.wait(WAIT_S) else [])
    return event


async def opened(driver: Driver, *keys: str, words: bool = True) -> None:
    """Open the picker, until it has read what there is, and press more keys."""
    await driver.press("ctrl+n")
    await driver.until(lambda: isinstance(driver.app.screen, LoraPicker))
    await driver.until(lambda: not words or "brush" in driver.screen_text())
    await driver.press(*keys)


async def closed(driver: Driver) -> None:
    await driver.press("escape")
    await driver.until(lambda: driver.app.screen is driver.screen)


def row(driver: Driver, name: str) -> list[str]:
    """What the picker's row of a LoRA says, word by word."""
    return next(line.strip("│ ").split() for line in driver.screen_text().splitlines() if f" {name} " in line)


def footer(driver: Driver) -> str:
    return driver.screen_text().splitlines()[-1].strip()


def said(driver: Driver) -> str:
    """What the picker says in place of rows."""
    return str(driver.app.screen.query_one("#picker-empty", Static).content)


async def test_what_is_switched_on_stands_in_the_form_and_paints(gallery: Gallery, folder: Path) -> None:
    async with running(gallery) as driver:
        await opened(driver, "down", "enter", "down", "space", "right", "right", "left", "left", "left")
        assert row(driver, "Film") == ["✓", "Film", "1.00", "grain,", "35mm"]
        assert row(driver, "ink") == ["✓", "ink", "0.95", "ink", "style,", "brush"]
        assert "2 on, 5 listed" in driver.screen_text()
        await closed(driver)
        assert driver.field("loras") == "Film; ink:0.95"
        assert driver.status == "The next picture is painted with Film, ink 0.95."

        await driver.press("a", "f5")
        await driver.done()
        uses = LoraUse(file=f"{folder}/Film.safetensors"), LoraUse(file=f"{folder}/ink.safetensors", strength=0.95)
        assert driver.engine.requests[0].loras == uses
        assert "Film, ink 0.95" in driver.screen.stage.text


async def test_what_stands_in_the_form_is_chosen_and_first_and_keeps_its_strength(
    gallery: Gallery, folder: Path, tmp_path: Path
) -> None:
    elsewhere = write_lora(tmp_path / "else.safetensors")
    async with running(gallery) as driver:
        driver.put("loras", f"style/woodcut.safetensors:0.5; {elsewhere}:-1")
        await opened(driver)
        assert row(driver, "style/woodcut") == ["✓", "style/woodcut", "0.50", "wdct"]
        assert "-1.00" in driver.screen_text() and "2 on, 6 listed" in driver.screen_text()
        await driver.press("enter", "enter", "right")
        await closed(driver)
        assert driver.field("loras") == f"{elsewhere}:-1; style/woodcut:0.55"
        await driver.press("escape", "ctrl+z")  # all of it is one step
        assert driver.field("loras") == f"style/woodcut.safetensors:0.5; {elsewhere}:-1"


async def test_nothing_changes_where_nothing_was_changed(gallery: Gallery, folder: Path) -> None:
    async with running(gallery) as driver:
        driver.put("loras", "ink.safetensors:1; ink:99")
        await opened(driver)
        await closed(driver)
        assert driver.field("loras") == "ink.safetensors:1; ink:99"
        assert driver.screen.form.rows["loras"].fault == "Needs a strength from -10 to 10 for ink."


async def test_rows_are_found_by_name_or_by_words_and_stay_chosen(gallery: Gallery, folder: Path) -> None:
    async with running(gallery) as driver:
        await opened(driver, *"brush", "enter")
        assert "1 on, 1 listed" in driver.screen_text()
        await driver.press(*["backspace"] * 5, *"wood", "right")
        await driver.press("x")
        await driver.until(lambda: "No LoRA has such a name, or such words." in driver.screen_text())
        assert "2 on " in driver.screen_text()
        await driver.press("enter", "right", "ctrl+t")  # there is nothing that they could do
        await closed(driver)
        assert driver.field("loras") == "ink; style/woodcut"


async def test_trigger_words_come_into_the_prompt_once(gallery: Gallery, folder: Path) -> None:
    async with running(gallery) as driver:
        await driver.press(*"a dog, Brush")
        await opened(driver, *"ink", "ctrl+t")
        assert driver.screen.prompt.text == "a dog, Brush, ink style"
        assert driver.status == "In the prompt now: ink style."
        await driver.press("ctrl+t")
        assert driver.status == "All its words are in the prompt."
        await driver.press(*["backspace"] * 3, *"plain", "ctrl+t")
        assert driver.status == "The file of this LoRA tells no trigger words."
        await closed(driver)
        assert driver.field("loras") == "" and driver.screen.prompt.text == "a dog, Brush, ink style"
        await driver.press("ctrl+z")
        assert driver.screen.prompt.text == "a dog, Brush"


async def test_without_a_folder_it_is_said_where_to_put_files(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await opened(driver, words=False)
        await driver.until(lambda: f"There is no LoRA in {paths.loras_dir()}: put" in said(driver))
        await driver.until(lambda: footer(driver).startswith("Esc Done"))  # and no key for a row that is not there
        assert "lora_folder" in said(driver)


@pytest.mark.parametrize("size", [(32, 12), (40, 12), (80, 24)])
async def test_on_a_small_screen_the_way_out_and_where_to_put_files_are_to_be_seen(
    gallery: Gallery, size: tuple[int, int]
) -> None:
    config = '[app]\nlora_folder = "/home/somebody/.local/share/flux-tui/loras"\n'
    async with running(gallery, size=size, config=config) as driver:
        await opened(driver, words=False)
        await driver.until(lambda: "config." in driver.screen_text())
        assert driver.screen_text().rstrip().endswith("Esc Done")


async def test_a_folder_that_cannot_be_read_is_said(gallery: Gallery) -> None:
    async with running(gallery, config='[app]\nlora_folder = "config.toml"\n') as driver:
        await opened(driver, words=False)
        await driver.until(lambda: "config.toml cannot be read: Not a directory. Name another" in said(driver))


async def test_keys_of_one_burst_choose_what_was_typed(gallery: Gallery, folder: Path) -> None:
    async with running(gallery) as driver:
        await driver.burst("ctrl+n", "wood", "right", "right", "escape")
        await driver.until(lambda: driver.field("loras") == "style/woodcut:1.05")
        await driver.burst("ctrl+n", "wood", "ctrl+t", "escape")
        await driver.until(lambda: driver.screen.prompt.text == "wdct")


async def test_a_key_that_comes_before_the_folder_is_read_waits_for_it(
    gallery: Gallery, folder: Path, may_read: threading.Event
) -> None:
    async with running(gallery) as driver:
        await opened(driver, *"wood", words=False)
        tuning = asyncio.create_task(driver.app.screen.run_action("tune(0.05)"))
        await driver.pilot.pause()
        may_read.set()
        await tuning
        assert "1 on, 1 listed" in str(driver.app.screen.query_one("Vertical").border_subtitle)


async def test_a_folder_that_is_read_while_the_picker_goes_is_nobodys_fault(
    gallery: Gallery, folder: Path, may_read: threading.Event
) -> None:
    async with running(gallery) as driver:
        await opened(driver, words=False)
        shown = driver.app.screen
        await shown.remove_children()  # what Textual does first when a screen is closed
        may_read.set()
        await driver.app.workers.wait_for_complete([it for it in driver.app.workers if it.node is shown])
        await closed(driver)


async def test_a_folder_that_does_not_answer_is_said(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    async def in_vain(function: Callable[[], object]) -> None:
        raise TimeoutError

    monkeypatch.setattr(picker, "off_thread", in_vain)
    async with running(gallery) as driver:
        await opened(driver, words=False)
        await driver.until(lambda: f"{paths.loras_dir()} does not answer." in said(driver))


@pytest.mark.parametrize(("config", "key"), [("", "^N"), ('[keys]\npick-lora = "f10"\n', "F10")])
async def test_the_footer_offers_the_picker_where_the_row_has_the_focus(
    gallery: Gallery, config: str, key: str
) -> None:
    async with running(gallery, config=config) as driver:
        assert "LoRAs" not in driver.screen_text().splitlines()[-1]
        driver.screen.form.focus_field("loras")
        await driver.until(lambda: f"{key} LoRAs" in driver.screen_text().splitlines()[-1])
        await driver.press("ctrl+n" if key == "^N" else "f10")
        await driver.until(lambda: isinstance(driver.app.screen, LoraPicker))


@pytest.mark.parametrize("key", ["a", "r"])
async def test_a_picture_is_put_back_with_its_loras(gallery: Gallery, folder: Path, key: str) -> None:
    use = LoraUse(file=f"{folder}/ink.safetensors", strength=0.5, sha256="0f" * 32)
    keep(gallery, replace(OLD, loras=(use,), lora_fuse=True))
    async with running(gallery) as driver:
        await driver.press("escape", "5", "down")
        await driver.until(lambda: "ink 0.5" in driver.screen.stage.text)
        await driver.press(key)
        await driver.until(lambda: driver.field("loras") == "ink:0.5")
        assert driver.field("lora_fuse") == "yes"
        await driver.press("f5")
        await driver.done()
        assert driver.engine.requests[0].loras == (replace(use, sha256=""),)  # what lies there now
        driver.put("loras", "ink:0.6")
        await driver.until(lambda: driver.screen.form.rows["loras"].has_class("-changed"))


async def test_a_lora_that_is_gone_is_said_when_it_is_painted_with_and_nothing_is_lost(gallery: Gallery) -> None:
    fault = CheckpointNotFound("/loras/ink.safetensors does not exist.", hint="Choose another LoRA.")
    keep(gallery, replace(OLD, loras=(LoraUse(file="/loras/ink.safetensors", sha256="0f" * 32),)))
    async with running(gallery, FakeEngine(fault=fault)) as driver:
        await driver.press("escape", "5", "a", "f5")
        await driver.until(lambda: "/loras/ink.safetensors does not exist." in driver.screen.stage.text)
        assert driver.field("loras") == "/loras/ink.safetensors" and driver.screen.prompt.text == OLD.prompt


async def test_loras_of_the_command_line_stand_in_the_form(gallery: Gallery, folder: Path) -> None:
    launch = Launch(loras=[LoraUse(file=f"{folder}/ink.safetensors", strength=0.5)], lora_lenient=True)
    async with running(gallery, launch=launch, config='[defaults]\nloras = "film"\nlora_fuse = true\n') as driver:
        assert [driver.field(name) for name in ("loras", "lora_fuse", "lora_lenient")] == ["ink:0.5", "yes", "yes"]
    async with running(gallery) as driver:
        assert driver.field("loras") == "ink:0.5"  # as the last run left it


async def test_two_names_of_one_file_are_refused_before_anything_is_queued(gallery: Gallery, folder: Path) -> None:
    async with running(gallery) as driver:
        driver.put("loras", f"ink; {folder}/ink.safetensors")
        await driver.press("a", "f5")
        await driver.until(lambda: "each file once" in driver.status)
        assert driver.engine.requests == []
