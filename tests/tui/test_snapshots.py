"""What the screens say, compared with the files in snapshots/, line by line.

As plain text and not as SVG: an SVG is another one with every release of Textual, the text only when a person would
read something else. Colours are computed in test_themes.py. `FLUX_TUI_SNAPSHOTS=write` writes the files anew.
"""

from __future__ import annotations

import difflib
import os
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from textual.command import CommandList

from flux_engine import series
from flux_engine.errors import CheckpointNotFound
from flux_engine.request import PicturesReady
from flux_tui import machine
from flux_tui.app import FluxApp
from flux_tui.gallery import Gallery, SavedPicture
from flux_tui.launch import Launch
from flux_tui.progress import JobProgress
from flux_tui.screens import facts
from flux_tui.terminal.pacing import SIZES, Pacer
from flux_tui.tokens import Counts, TokenCounter
from flux_tui.widgets import settings_form
from tests.tui.driver import OLD, Driver, keep, running
from tests.tui.fakes import FakeEngine

FOLDER = Path(__file__).parent / "snapshots"
QUIET = 5  # looks, with all that waited done before each
NOON = datetime(2025, 11, 23, 12, 0, tzinfo=UTC)
PROMPT = "a lighthouse on a cliff at dusk, waves below"
PRESETS = "[presets.draft]\nnum_steps = 4\n[presets.final]\nnum_steps = 40\nintegrator = 'heun'\n"
KEPT = ("a wooden house by a lake", "snow over a pine forest at night, with stars above it", "a sailing boat", "dunes")

Scene = Callable[[Driver], Awaitable[object]]


@pytest.fixture(autouse=True)
def nothing_varies(monkeypatch: pytest.MonkeyPatch) -> None:
    """No clock, no chance, no path and no fact of this machine on any screen."""
    save = Gallery.save

    def save_at_noon(self: Gallery, ready: PicturesReady, now: datetime = NOON) -> tuple[SavedPicture, ...]:
        return save(self, ready, now)

    def count(self: TokenCounter, prompt: str, checkpoint_dir: str | None = None) -> None:
        self._post(Counts(prompt_t5=len(prompt.split()) + 1, t5_limit=128, clip=len(prompt.split()) + 2, clip_limit=77))

    monkeypatch.setattr(Gallery, "save", save_at_noon)
    monkeypatch.setattr(TokenCounter, "count", count)  # the tokenizers are other ones with every demo model
    monkeypatch.setattr(JobProgress, "elapsed_s", lambda self, now_s: 7.0)
    monkeypatch.setattr(JobProgress, "left_s", lambda self, now_s, learned: 21.0)
    monkeypatch.setattr(JobProgress, "steps_per_second", 0.5)
    monkeypatch.setattr(facts, "memory_bytes", lambda: (8e9, 16e9))
    monkeypatch.setattr(machine, "free_disk_bytes", lambda folder: 212e9)
    for module in (settings_form, series):
        monkeypatch.setattr(module, "random_seed", lambda: 1234567890)
    monkeypatch.setattr(Pacer, "may_draw", lambda self, now_s, *, last=False: True)
    monkeypatch.setattr(Pacer, "columns_lines", lambda self: SIZES[0])
    monkeypatch.setattr(Pacer, "still_columns_lines", lambda self: None)
    monkeypatch.setattr(FluxApp, "_folder_table", lambda self: [("Pictures", "/home/me/Pictures/flux-tui")])


# The scenes: each brings the app to a state


async def start(driver: Driver) -> None:
    await driver.until(lambda: "T5" in str(driver.screen.prompt.border_subtitle))


async def write(driver: Driver, prompt: str = PROMPT) -> None:
    driver.screen.prompt.editor.text = prompt


async def painting(driver: Driver) -> None:
    """The fifth step of 20 is done."""
    await write(driver)
    await driver.press("f5")
    driver.engine.gate.release(5)
    await driver.until(lambda: "5/20" in driver.screen.stage.text)


async def queue(driver: Driver) -> None:
    """One is done, one failed, one runs, three wait and hold the cursor."""
    driver.engine.gate.release(20)
    await write(driver, "a red barn")
    await driver.press("f5")
    await driver.done()
    driver.engine.fault, driver.engine.fault_at = CheckpointNotFound("/models/flux is not there.", hint="Name it."), 1
    driver.engine.gate.release()
    await driver.press("f5")
    await driver.done()
    await painting(driver)
    driver.put("count", "3")
    await write(driver, "an old oak in a wide green meadow, morning fog, long shadows, a fence in front")
    await driver.press("f5", "escape", "4", "down", "J")
    await driver.until(lambda: "▸  5/20" in driver.screen_text())  # the queue's row is written now and then
    await driver.until(lambda: "3 waiting" in driver.screen_text())


async def history(driver: Driver) -> None:
    """Kept pictures, one starred and shown."""
    for day, prompt in enumerate(KEPT, 1):
        keep(driver.app.gallery, replace(OLD, prompt=prompt), day=(day + 1) // 2)
    driver.screen.history.put_days(driver.app.gallery.days())
    await driver.press("escape", "5")
    await driver.until(lambda: len(driver.screen.history.pictures) == len(KEPT))
    await driver.press("down", "full_stop")
    await driver.until(lambda: "seed 77" in driver.screen.stage.text)
    shown = driver.screen.history
    await driver.until(lambda: shown.look_now == "rows" or all(map(shown._shelf.thumb, shown._line)))


async def faulty_settings(driver: Driver) -> None:
    """After a picture one setting has changed, another is wrong."""
    driver.engine.gate.release(20)
    await write(driver)
    await driver.press("f5")
    await driver.done()
    driver.put("num_steps", "8")
    driver.put("guidance_scale", "four")
    driver.screen.form.rows["guidance_scale"].control.focus()
    await driver.press("f5")
    await driver.until(lambda: driver.status == "Guidance: Needs a number.")


async def negative(driver: Driver) -> None:
    await write(driver)
    driver.put("true_cfg_scale", "2.5")
    driver.screen.prompt.negative_editor.text = "(people:1.3), boats"


async def failed(driver: Driver) -> None:
    driver.engine.fault = CheckpointNotFound(
        "/models/flux is not a folder.", hint="Name the folder of a checkpoint in Settings, Model."
    )
    await write(driver)
    await driver.press("f5")
    await driver.done()


async def quitting(driver: Driver) -> None:
    await painting(driver)
    await driver.press("f5", "ctrl+q")


async def palette(driver: Driver) -> None:
    await driver.press("ctrl+p", *"seed")
    # They come in batches, those of "se" before those of "seed".
    await driver.until(lambda: driver.app.screen.query_one(CommandList).option_count == 3)


def pressing(*keys: str) -> Scene:
    return lambda driver: driver.press(*keys)


SCENES: dict[str, tuple[Scene, tuple[str, ...]]] = {
    "start": (start, ("80x24", "120x40", "200x60", "50x20")),
    "painting": (painting, ("80x24", "120x40", "50x20")),
    "queue": (queue, ("80x24", "200x60")),
    "history": (history, ("80x24", "120x40", "200x60")),
    "settings": (faulty_settings, ("80x24", "120x40")),
    "negative": (negative, ("80x24", "120x40")),
    "failed": (failed, ("80x24",)),
    "help": (pressing("f6", "f1"), ("80x24",)),
    "keymap": (pressing("escape", "question_mark"), ("120x40",)),
    "palette": (palette, ("80x24",)),
    "picker": (pressing("ctrl+l"), ("80x24",)),
    "jump": (pressing("ctrl+o"), ("120x40",)),
    "quit": (quitting, ("80x24",)),
    "ascii-history": (history, ("120x40",)),
    "ascii-painting": (painting, ("80x24",)),
}
ALL = [(name, size) for name, (_, sizes) in SCENES.items() for size in sizes]


def staged(gallery: Gallery, size: str, **options: Any) -> AbstractAsyncContextManager[Driver]:
    """The app before its scene, on a screen of "80x24"."""
    columns, lines = map(int, size.split("x"))
    engine = FakeEngine(gate=threading.Semaphore(0))
    return running(gallery, engine, (columns, lines), config=PRESETS, **options)


@pytest.mark.parametrize(("name", "size"), ALL)
async def test_the_screen_says_what_it_said(gallery: Gallery, name: str, size: str) -> None:
    async with staged(gallery, size, launch=Launch(ascii=name.startswith("ascii"))) as driver:
        await driver.until(lambda: "disk 212 GB free" in driver.screen.status.facts)  # a thread measures it
        await SCENES[name][0](driver)
        text = await settled(driver)
    differs = difference(FOLDER / f"{name}-{size}.txt", text)
    if differs:
        pytest.fail(
            f"{differs}\nIf this is meant: FLUX_TUI_SNAPSHOTS=write pytest tests/tui/test_snapshots.py", pytrace=False
        )


def test_every_snapshot_has_its_scene() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {f"{name}-{size}" for name, size in ALL}
    assert len(ALL) <= 25


async def settled(driver: Driver) -> str:
    """What the screen says once it has said the same for a while."""
    said: list[str] = []

    def is_quiet() -> bool:
        said.append("\n".join(map(str.rstrip, driver.screen_text().splitlines())))
        return said.count(said[-1]) > QUIET

    await driver.until(is_quiet)
    return said[-1] + "\n"


def difference(path: Path, text: str) -> str:
    """How a text differs from the one in a file; "" if it does not, or was just written."""
    if os.environ.get("FLUX_TUI_SNAPSHOTS") == "write":
        path.write_text(text, encoding="utf-8")
        return ""
    old: Iterable[str] = path.read_text(encoding="utf-8").splitlines() if path.exists() else ()
    return "\n".join(difflib.unified_diff(list(old), text.splitlines(), path.name, "now", lineterm=""))
