"""The app, driven by keys, with an engine whose steps the test lets through."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot
from textual.widgets import Input, Select

from flux_engine.errors import CheckpointNotFound
from flux_engine.request import GenerationRequest, PicturesReady
from flux_tui.app import FluxApp
from flux_tui.gallery import Gallery
from flux_tui.keys import APP_KEYS, SCREEN_KEYS
from flux_tui.screens.help import HelpScreen
from flux_tui.settings import FORM_FIELDS
from flux_tui.widgets.history import row, shortened
from tests.tui.fakes import FakeEngine, fill_up_after, gradient

WAIT_S = 30.0
OLD = GenerationRequest(
    prompt="snow over\na pine [forest] at night", width=192, height=128, num_steps=7, seed=77, integrator="heun"
)


class Driver:
    """An app under test, its pilot and its engine."""

    def __init__(self, app: FluxApp, pilot: Pilot[None], engine: FakeEngine) -> None:
        self.app, self.pilot, self.engine = app, pilot, engine
        self.screen = app.main
        self.press = pilot.press

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the app go on until something is true."""
        async with asyncio.timeout(WAIT_S):
            while not condition():
                await self.pilot.pause()

    async def done(self) -> None:
        """Until the worker has nothing left and the screen knows."""
        await self.until(
            lambda: not self.app.worker.unfinished and self.screen._job is None and not self.screen._waiting
        )

    def field(self, name: str) -> str:
        return str(self.screen.form.rows[name].control.value)

    def put(self, name: str, text: str) -> None:
        control = self.screen.form.rows[name].control
        assert isinstance(control, Input)
        control.value = text

    def screen_text(self) -> str:
        """Everything the terminal shows, as lines."""
        width, height = self.app.size
        strips = self.app.screen._compositor.render_strips()
        return "\n".join("".join(segment.text for segment in strip) for strip in strips[:height])[
            : (width + 1) * height
        ]


@asynccontextmanager
async def running(
    gallery: Gallery, engine: FakeEngine | None = None, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[Driver]:
    engine = engine or FakeEngine()
    app = FluxApp(gallery, lambda: engine, log_path=Path("/log/file"))
    async with app.run_test(size=size) as pilot:
        await app.workers.wait_for_complete()
        try:
            yield Driver(app, pilot, engine)
        finally:
            for job_id in app.worker.unfinished:
                app.worker.cancel(job_id)
            if engine.gate is not None:
                engine.gate.release(1000)
            stopped = await asyncio.to_thread(app.worker.stop, WAIT_S)
    assert stopped


def keep(gallery: Gallery, request: GenerationRequest = OLD, day: int = 1) -> Path:
    picture = gradient(request.width, request.height)
    when = datetime(2025, 11, day, 9, 30, tzinfo=UTC)
    return gallery.save(PicturesReady(request, (picture,), {}, "demo"), when)[0].path


async def test_a_typed_prompt_becomes_a_saved_picture_that_is_shown_and_listed(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        assert "press F5" in driver.screen.stage.text
        assert driver.app.worker._thread is None  # the screen is there before the engine
        await driver.press("a", "space", "h", "i", "l", "l", "enter", "f5")
        await driver.done()
        (request,) = driver.engine.requests
        assert driver.engine.thread_names == ["flux-engine"]
        assert request.prompt == "a hill\n"
        (saved,) = gallery.newest()
        assert saved.record.request == request
        assert driver.screen.history.pictures == [saved]
        assert driver.screen.stage.image == gradient(128, 128)
        assert f"seed {request.seed}" in driver.screen.stage.text
        assert f"Saved {saved.day}/{saved.path.name} in " in driver.screen.status.content.plain


async def test_every_generate_key_works_inside_the_editor(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("x", "f5", "ctrl+g", "ctrl+enter")
        await driver.until(lambda: len(driver.engine.requests) == 3)
        await driver.done()
        assert driver.screen.prompt.text == "x"


async def test_the_steps_are_counted_and_the_preview_is_shown(gallery: Gallery) -> None:
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine) as driver:
        assert engine.gate is not None
        await driver.press("x", "f5")
        await driver.until(lambda: "denoising" in driver.screen.status.content.plain)
        assert " 0/20" in driver.screen.status.content.plain
        for step in range(1, 4):
            engine.gate.release()
            await driver.until(lambda step=step: f" {step}/20" in driver.screen.status.content.plain)
        await driver.until(lambda: driver.screen.stage.text == "step 3 of 20")
        preview = driver.screen.stage.image
        assert preview is not None and (preview.width, preview.height) == (16, 16)
        status = driver.screen.status.content.plain
        assert ("it/s" in status or "s/it" in status) and "ETA 0:" in status
        engine.gate.release(17)
        await driver.done()
        assert driver.screen.stage.image == gradient(128, 128)


async def test_requests_queue_up_and_cancel_ends_the_running_one(gallery: Gallery) -> None:
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine) as driver:
        assert engine.gate is not None
        assert "Cancel" not in driver.screen_text()
        await driver.press("x", "f5", "f5")
        await driver.until(lambda: "1 waiting" in driver.screen.status.content.plain)
        await driver.until(lambda: "F9 Cancel" in driver.screen_text())
        await driver.press("f9")
        assert driver.screen.status.content.plain.startswith("cancelling")
        engine.gate.release()
        await driver.until(lambda: len(engine.requests) == 2)
        await driver.until(lambda: "denoising" in driver.screen.status.content.plain)
        await driver.press("f6", "f6", "ctrl+x")  # outside the editor
        engine.gate.release()
        await driver.done()
        assert gallery.newest() == []
        assert driver.screen.status.content.plain.startswith("Cancelled.")


async def test_escape_and_cut_in_the_editor_do_not_cancel(gallery: Gallery) -> None:
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine) as driver:
        assert engine.gate is not None
        await driver.press("x", "f5", "escape", "ctrl+x", "f6", "escape", "f6", "escape")
        assert driver.screen.prompt.text == ""  # cut took the line
        engine.gate.release(20)
        await driver.done()
        assert len(gallery.newest()) == 1


async def test_an_empty_prompt_is_marked_and_asks_for_words(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("f6", "f5")
        assert driver.screen.prompt.has_focus
        await driver.until(lambda: "Say what to paint." in driver.screen_text())
        assert driver.engine.requests == []
        await driver.press("x")
        assert not driver.screen.prompt.has_class("-fault")


async def test_wrong_settings_are_marked_at_their_fields_and_the_first_is_focused(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("height", "100")
        driver.put("num_steps", "many")
        await driver.press("x", "f5")
        assert driver.engine.requests == []
        rows = driver.screen.form.rows
        assert rows["height"].fault == "Needs a multiple of 16: 96 or 112."
        assert rows["num_steps"].fault == "Needs a whole number."
        assert rows["height"].control.has_focus
        await driver.until(lambda: driver.screen.status.content.plain.startswith("Height: Needs a multiple of 16"))
        driver.put("height", "96")
        driver.put("num_steps", "2")
        await driver.until(lambda: rows["height"].fault == "" and "Needs" not in driver.screen_text())
        await driver.press("f5")
        await driver.done()
        assert driver.engine.requests[0].height == 96


async def test_a_fault_is_shown_with_its_hint_and_the_app_goes_on(gallery: Gallery) -> None:
    engine = FakeEngine(fault=CheckpointNotFound("No folder [there].", hint="Name another."))
    async with running(gallery, engine) as driver:
        await driver.press("x", "f5")
        await driver.done()
        await driver.until(
            lambda: "No folder [there]." in driver.screen_text() and "Name another." in driver.screen_text()
        )
        assert driver.screen.status.content.plain.startswith("The picture was not painted.")
        await driver.press("f5")
        await driver.done()
        assert driver.screen.stage.image is not None and len(gallery.newest()) == 1


async def test_an_unexpected_fault_names_the_log(gallery: Gallery) -> None:
    async with running(gallery, FakeEngine(fault=ZeroDivisionError("by zero"), fault_at=2)) as driver:
        await driver.press("x", "f5")
        await driver.done()
        assert "ZeroDivisionError: by zero" in driver.screen.stage.text and "/log/file" in driver.screen.stage.text


async def test_a_fault_is_still_said_when_the_next_picture_covers_the_stage(gallery: Gallery) -> None:
    engine = FakeEngine(
        gate=threading.Semaphore(0), fault=CheckpointNotFound("No [folder].", hint="Name one."), fault_at=1
    )
    async with running(gallery, engine) as driver:
        assert engine.gate is not None
        await driver.press("x", "f5", "f5")
        engine.gate.release(21)
        await driver.done()
        assert len(gallery.newest()) == 1 and driver.screen.stage.image is not None
        assert [note.message for note in driver.app._notifications] == ["No [folder]. Name one."]


async def test_a_picture_that_cannot_be_saved_stays_on_show_and_those_before_it_are_listed(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(gallery) as driver:
        driver.put("batch_size", "2")
        fill_up_after(1, monkeypatch)
        await driver.press("x", "f5")
        await driver.done()
        assert driver.screen.stage.image == gradient(128, 128)
        assert driver.screen.status.content.plain == "Painted, but not saved."
        assert ["The disk is full" in note.message for note in driver.app._notifications] == [True]
        assert driver.screen.history.pictures == gallery.newest() and len(gallery.newest()) == 1


async def test_a_long_fault_shows_its_hint_on_the_smallest_screen(gallery: Gallery) -> None:
    fault = CheckpointNotFound("a very long reason " * 60, hint="Name another folder.")
    async with running(gallery, FakeEngine(fault=fault)) as driver:
        await driver.press("x", "f5")
        await driver.done()
        await driver.until(lambda: "Name another folder." in driver.screen_text())
        assert "F3" in driver.screen.status.content.plain


async def test_a_seed_that_is_typed_is_the_one_that_paints(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.screen.form.rows["seed"].control.focus()
        await driver.press("4", "2")
        await driver.until(lambda: driver.field("seed_use") == "fixed")
        await driver.press("shift+f6", "x", "f5")
        await driver.done()
        assert driver.engine.requests[0].seed == 42


async def test_the_home_of_nobody_as_a_model_is_a_fault_and_no_end(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("checkpoint_dir", "~m")
        await driver.press("x", "f5")
        await driver.done()
        assert str(driver.engine.requests[0].checkpoint_dir).endswith("/~m")


async def test_pictures_that_are_read_late_come_below_those_of_this_session(gallery: Gallery) -> None:
    keep(gallery)
    async with running(gallery) as driver:
        old = driver.screen.history.pictures
        await driver.press("x", "f5")
        await driver.done()
        driver.screen.history.put_earlier(gallery.newest())
        driver.screen.history.add(gallery.newest()[:1])
        assert driver.screen.history.pictures == gallery.newest() == [*gallery.newest()[:1], *old]


@pytest.mark.parametrize(
    ("text", "width", "line"),
    [
        ("snow over\na  pine forest", 30, "snow over a pine forest"),
        ("snow over a pine forest", 16, "snow over a…"),
        ("snow over a pine forest", 10, "snow over…"),
        ("a" * 200, 10, "aaaaaaaaa…"),
        ("満月の夜の山と海", 16, "満月の夜の山と海"),
        ("満月の夜の山と海", 9, "満月の夜…"),
        ("満月の夜の山と海", 8, "満月の…"),
    ],
)
def test_a_prompt_is_cut_to_the_cells_that_it_takes(text: str, width: int, line: str) -> None:
    assert shortened(text, width) == line
    assert cell_len(line) <= width


async def test_size_and_seed_stand_in_line_whatever_the_prompt(gallery: Gallery) -> None:
    for day, prompt in enumerate(("山" * 90, "a" * 200, "short"), 1):
        keep(gallery, GenerationRequest(prompt=prompt, seed=5), day)
    async with running(gallery, size=(120, 40)) as driver:
        rows = [row(picture, 70) for picture in driver.screen.history.pictures]
        assert {line.cell_length for line in rows} == {70}
        assert all(line.plain.rstrip().endswith("seed 5") for line in rows)


async def test_a_warning_becomes_a_note(gallery: Gallery) -> None:
    async with running(gallery, FakeEngine(warnings=("The prompt was cut by 12 tokens.",))) as driver:
        await driver.press("x", "f5")
        await driver.done()
        assert [note.message for note in driver.app._notifications] == ["The prompt was cut by 12 tokens."]


async def test_enter_on_a_history_row_puts_prompt_and_settings_back(gallery: Gallery) -> None:
    keep(gallery)
    keep(gallery, GenerationRequest(prompt="newer"), day=2)
    async with running(gallery) as driver:
        await driver.press("m", "y", "f6", "f6")
        assert driver.screen.history.has_focus
        await driver.press("down", "down")
        await driver.until(lambda: "seed 77" in driver.screen.stage.text)
        assert driver.screen.stage.image == gradient(192, 128)
        await driver.press("enter")
        assert driver.screen.prompt.text == OLD.prompt
        assert [driver.field(name) for name in ("size", "num_steps", "seed", "seed_use", "integrator")] == [
            "192x128",
            "7",
            "77",
            "fixed",
            "heun",
        ]
        await driver.press("f5")
        await driver.done()
        assert driver.engine.requests == [OLD]
        await driver.press("f6", "ctrl+z")
        assert driver.screen.prompt.text == "my"  # nothing typed is lost


async def test_a_picture_that_was_deleted_is_said(gallery: Gallery) -> None:
    path = keep(gallery)
    async with running(gallery) as driver:
        path.unlink()
        await driver.press("f6", "f6", "down", "down")
        await driver.until(lambda: "cannot be read" in driver.screen.stage.text)


async def test_a_random_seed_changes_and_a_fixed_one_stays(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("x", "f5", "f5")
        await driver.done()
        first, second = (request.seed for request in driver.engine.requests)
        assert first != second
        assert driver.field("seed") == str(second)
        control = driver.screen.form.rows["seed_use"].control
        assert isinstance(control, Select)
        control.value = "fixed"
        await driver.press("f5")
        await driver.done()
        assert driver.engine.requests[2].seed == second


async def test_a_count_queues_so_many_pictures_and_an_incremented_seed_goes_on(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("seed", "4294967294")
        driver.put("count", "3")
        control = driver.screen.form.rows["seed_use"].control
        assert isinstance(control, Select)
        control.value = "increment"
        await driver.press("x", "f5")
        await driver.done()
        assert [request.seed for request in driver.engine.requests] == [4294967294, 4294967295, 0]
        assert driver.field("seed") == "1"
        driver.put("count", "none")
        await driver.press("f5")
        await driver.until(lambda: "from 1 to 1000" in driver.screen.form.rows["count"].fault)
        assert len(driver.engine.requests) == 3


async def test_a_size_preset_sets_width_and_height_and_free_numbers_make_it_custom(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("f6", "enter", "down", "enter")
        assert (driver.field("width"), driver.field("height")) == ("192", "128")
        driver.put("width", "160")
        await driver.until(lambda: driver.field("size") == "custom")
        driver.put("width", "128")
        await driver.until(lambda: driver.field("size") == "128x128")


async def test_another_model_brings_its_defaults_but_keeps_what_was_set(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("num_steps", "9")
        driver.put("checkpoint_dir", "/models/flux")
        names = ("width", "size", "num_steps")
        await driver.until(lambda: [driver.field(name) for name in names] == ["1024", "1024x1024", "9"])
        driver.put("checkpoint_dir", "")
        await driver.until(lambda: [driver.field(name) for name in names] == ["128", "128x128", "9"])


async def test_the_panes_are_reached_with_f6_and_each_says_what_its_keys_do(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        panes = (driver.screen.prompt, driver.screen.form, driver.screen.history)
        said = set()
        for pane in (*panes, panes[0]):
            await driver.pilot.pause()
            assert pane.has_focus_within
            said.add(driver.screen.status.content.plain)
            await driver.press("f6")
        assert len(said) == 3
        await driver.press("shift+f6", "shift+f6")
        assert driver.screen.history.has_focus
        await driver.press("shift+f6", "tab", "tab", "tab")  # the form remembers its field
        assert driver.screen.form.rows["num_steps"].control.has_focus
        assert driver.screen.status.content.plain.startswith("Steps: ")


async def test_f1_shows_every_key_and_setting_and_closes_again(gallery: Gallery) -> None:
    async with running(gallery, size=(120, 60)) as driver:
        await driver.press("f1")
        assert isinstance(driver.app.screen, HelpScreen)
        await driver.until(lambda: str(gallery.root)[:20] in driver.screen_text())
        text = driver.screen_text()
        for key in ("F5", "Ctrl+G", "F9", "Ctrl+X", "F6", "Shift+F6", "F3", "Ctrl+P", "Ctrl+Q"):
            assert key in text
        for field in FORM_FIELDS:
            assert field.label in text
        assert "/log/file" in text
        await driver.press("f1")
        assert driver.app.screen is driver.screen
        for key in ("escape", "q"):
            await driver.press("f1", key)
            assert driver.app.screen is driver.screen


async def test_zoom_gives_the_picture_the_screen_and_back(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("f6")
        before = driver.screen.stage.size
        for back in ("f3", "f6"):  # a pane that is gone to is shown
            await driver.press("f3")
            await driver.until(lambda: driver.screen.stage.size.width > 70 and not driver.screen.history.display)
            await driver.press(back)
            await driver.until(lambda: driver.screen.stage.size == before and driver.screen.history.display)


async def test_every_action_has_an_id_a_tooltip_and_a_place_in_the_palette(gallery: Gallery) -> None:
    keys = [*SCREEN_KEYS, *APP_KEYS]
    assert len({binding.id for binding in keys}) == len(keys)
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine) as driver:
        await driver.press("x", "f5")
        await driver.until(engine.started.is_set)
        titles = {command.title for command in driver.app.get_system_commands(driver.screen)}
        for binding in keys:
            if binding.action not in ("help_quit", "command_palette"):
                assert binding.tooltip and binding.description in titles, binding
        for key in ("ctrl+p", "escape", "f2"):
            await driver.press(key)
            await driver.until(lambda key=key: ("Search for commands" in driver.screen_text()) == (key != "escape"))
        await driver.press(*"cancel", "enter")
        await driver.until(lambda: driver.app.screen is driver.screen)
        await driver.until(lambda: driver.screen.status.content.plain.startswith("cancelling"))


async def test_quitting_while_painting_ends_the_app_and_the_worker(gallery: Gallery) -> None:
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine) as driver:
        await driver.press("x", "f5")
        await driver.until(engine.started.is_set)
        await driver.press("ctrl+q")
    assert driver.app.return_code == 0 and gallery.newest() == []


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_everything_is_in_view_at_every_size(gallery: Gallery, size: tuple[int, int]) -> None:
    for day in range(1, 25):
        keep(gallery, day=day)
    async with running(gallery, size=size) as driver:
        for word in (
            *("Prompt", "Settings", "Picture", "History", "Width", "Height", "Steps", "Guidance", "Seed", "Batch"),
            *("Integrator", "Model", "F5 Generate", "F6 Panes", "F3 Zoom", "F1 Help", "^P Palette", "^Q Quit"),
            *("09:30  snow over a pine", "2025-11-24"),
        ):
            await driver.until(lambda word=word: word in driver.screen_text())
        assert driver.screen.stage.size.width >= 38 and driver.screen.stage.size.height >= 13
        footer = driver.screen_text().splitlines()[-1]
        assert footer.rstrip().endswith("Quit")


async def test_resizing_keeps_what_was_typed(gallery: Gallery) -> None:
    keep(gallery)
    async with running(gallery, size=(200, 60)) as driver:
        await driver.press("a", "b")
        for size in ((80, 24), (120, 40), (20, 5), (200, 60)):
            await driver.pilot.resize_terminal(*size)
            await driver.pilot.pause()
        assert driver.screen.prompt.text == "ab"
        await driver.until(lambda: "snow over a pine [forest]" in driver.screen_text())
