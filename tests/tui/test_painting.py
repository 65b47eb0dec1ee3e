"""From the prompt to a saved picture: what is asked for, what is shown meanwhile, and what goes wrong."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from flux_engine.errors import CheckpointNotFound
from flux_tui import machine
from flux_tui.gallery import Gallery
from flux_tui.terminal.abilities import Abilities
from flux_tui.terminal.pacing import REQUEST, Pacer
from tests.tui.driver import running
from tests.tui.fakes import FakeEngine, fill_up_after, gradient
from tests.tui.pictures import saved_pictures


async def test_a_typed_prompt_becomes_a_saved_picture_that_is_shown_and_listed(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        assert "press F5" in driver.screen.stage.text
        assert driver.app.worker._thread is None  # the screen is there before the engine
        await driver.press("a", "space", "h", "i", "l", "l", "ctrl+j", "enter")
        await driver.done()
        (request,) = driver.engine.requests
        assert driver.engine.thread_names == ["flux-engine"]
        assert request.prompt == "a hill\n"
        (saved,) = saved_pictures(gallery)
        assert saved.record.request == request
        await driver.until(lambda: driver.screen.history.pictures == [saved])
        assert driver.screen.stage.image == gradient(128, 128)
        assert f"seed {request.seed}" in driver.screen.stage.text
        assert f"Saved {saved.day}/{saved.path.name} in " in driver.status


@pytest.mark.parametrize("key", ["enter", "f5", "ctrl+g", "ctrl+enter", "ctrl+\r"])
async def test_every_key_that_paints_works_inside_the_editor(gallery: Gallery, key: str) -> None:
    async with running(gallery) as driver:
        await driver.press("x", key)
        await driver.done()
        assert [request.prompt for request in driver.engine.requests] == ["x"]
        assert driver.screen.prompt.text == "x"


async def test_enter_and_ctrl_j_change_places_if_the_config_wants_it(gallery: Gallery) -> None:
    async with running(gallery, config="[app]\nenter_generates = false\n") as driver:
        await driver.press("x", "enter", "y", "ctrl+j")
        await driver.done()
        assert [request.prompt for request in driver.engine.requests] == ["x\ny"]


async def test_enter_in_a_field_paints(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("x")
        driver.screen.form.rows["num_steps"].control.focus()
        await driver.press("enter")
        await driver.done()
        assert len(driver.engine.requests) == 1


async def test_the_steps_are_counted_and_the_preview_is_shown(gallery: Gallery) -> None:
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine) as driver:
        assert engine.gate is not None
        await driver.press("x", "f5")
        await driver.until(lambda: "denoising   0/20" in driver.screen.stage.text)
        for step in range(1, 4):
            engine.gate.release()
            await driver.until(lambda step=step: f" {step}/20" in driver.screen.stage.text)
        await driver.until(lambda: driver.screen.stage.image is not None)
        preview = driver.screen.stage.image
        assert preview is not None and (preview.width, preview.height) == (16, 16)
        said = driver.screen.stage.text
        assert ("it/s" in said or "s/it" in said) and "ETA 0:" in said and "━" in said
        engine.gate.release(17)
        await driver.done()
        assert driver.screen.stage.image == gradient(128, 128)
        assert "denoising" not in driver.screen.stage.text


async def test_a_preview_that_waited_for_the_link_asks_for_its_reply_too(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Opening(Pacer):
        is_open = False

        def may_draw(self, now_s: float, *, last: bool = False) -> bool:
            return self.is_open

    engine, written = FakeEngine(gate=threading.Semaphore(0)), list[str]()
    async with running(gallery, engine) as driver:
        assert engine.gate is not None
        pacer = driver.screen.stage.pacer = Opening()
        monkeypatch.setattr(driver.app._driver, "write", written.append)
        await driver.press("x", "f5")
        engine.gate.release()
        await driver.until(lambda: " 1/20" in driver.screen.stage.text)
        assert written.count(REQUEST) == 0
        pacer.is_open = True  # a timer of the screen draws it
        await driver.until(lambda: written.count(REQUEST) == 1)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_without_colours_pictures_are_drawn_all_the_same(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with running(gallery, size=size, abilities=Abilities(colours="none")) as driver:
        await driver.press("x", "f5")
        await driver.done()
        await driver.until(lambda: driver.screen.stage.image == gradient(128, 128) and "@@" in driver.screen_text())
        assert len(saved_pictures(gallery)) == 1


async def test_how_far_the_weights_are_is_shown(gallery: Gallery) -> None:
    engine = FakeEngine(loading_gate=threading.Semaphore(0))
    async with running(gallery, engine) as driver:
        assert engine.loading_gate is not None
        await driver.press("x", "f5")
        await driver.until(lambda: "loading  transformer" in driver.screen.stage.text)
        assert "━" not in driver.screen.stage.text
        engine.loading_gate.release(2)
        await driver.until(lambda: "━" in driver.screen.stage.text)
        bar = driver.screen.stage.text.splitlines()[-1]
        assert abs(bar.count("━") - bar.count("─")) <= 1
        engine.loading_gate.release(2)
        await driver.done()


async def test_what_a_machine_has_learned_gives_the_time_left_from_the_start(gallery: Gallery) -> None:
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine) as driver:
        assert engine.gate is not None
        engine.gate.release(20)
        await driver.press("x", "f5")
        await driver.done()
        await driver.press("f5")
        await driver.until(lambda: "denoising   0/20   ETA " in driver.screen.stage.text)


async def test_a_cancel_is_said_at_once_and_acts_after_the_step(gallery: Gallery) -> None:
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine) as driver:
        assert engine.gate is not None
        assert "Cancel" not in driver.screen_text()
        await driver.press("x", "f5")
        await driver.until(lambda: "F9 Cancel" in driver.screen_text() and driver.screen.newsroom.is_painting)
        await driver.press("f9")
        assert "cancelling" in driver.screen.stage.text
        engine.gate.release()
        await driver.done()
        assert saved_pictures(gallery) == [] and driver.status.startswith("Cancelled.")
        await driver.until(lambda: "F9 Cancel" not in driver.screen_text())


async def test_a_cancel_acts_while_weights_are_read(gallery: Gallery) -> None:
    engine = FakeEngine(loading_gate=threading.Semaphore(0))
    async with running(gallery, engine) as driver:
        assert engine.loading_gate is not None
        await driver.press("x", "f5")
        await driver.until(lambda: "loading  transformer" in driver.screen.stage.text)
        await driver.press("f9")
        engine.loading_gate.release()
        await driver.done()
        assert driver.status.startswith("Cancelled.") and "press F5" in driver.screen.stage.text


async def test_escape_and_cut_in_the_editor_do_not_cancel(gallery: Gallery) -> None:
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine) as driver:
        assert engine.gate is not None
        await driver.press("x", "f5", "ctrl+x", "escape", "escape", "f6", "escape", "f6", "escape")
        assert driver.screen.prompt.text == ""  # cut took the line
        engine.gate.release(20)
        await driver.done()
        assert len(saved_pictures(gallery)) == 1


async def test_ctrl_x_cancels_where_no_text_is_edited(gallery: Gallery) -> None:
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine) as driver:
        assert engine.gate is not None
        await driver.press("x", "f5", "escape")
        await driver.until(lambda: driver.screen.stage.has_focus and driver.screen.newsroom.is_painting)
        await driver.press("ctrl+x")
        engine.gate.release()
        await driver.done()
        assert saved_pictures(gallery) == []


async def test_an_empty_prompt_is_marked_and_asks_for_words(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("f6", "f5")
        assert driver.screen.prompt.editor.has_focus
        await driver.until(lambda: "Say what to paint." in driver.screen_text())
        assert driver.engine.requests == []
        await driver.press("x")
        assert not driver.screen.prompt.has_class("-fault")


async def test_wrong_settings_are_marked_at_their_fields_and_the_first_is_focused(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("guidance_scale", "much")
        driver.put("num_steps", "many")
        await driver.press("x", "f5")
        assert driver.engine.requests == []
        rows = driver.screen.form.rows
        assert rows["guidance_scale"].fault == "Needs a number."
        assert rows["num_steps"].fault == "Needs a whole number."
        assert rows["num_steps"].control.has_focus
        await driver.until(lambda: driver.status.startswith("Steps: Needs a whole number."))
        driver.put("guidance_scale", "3")
        driver.put("num_steps", "2")
        await driver.until(lambda: rows["num_steps"].fault == "" and "Needs" not in driver.screen_text())
        await driver.press("f5")
        await driver.done()
        assert driver.engine.requests[0].guidance_scale == 3


async def test_settings_that_contradict_each_other_are_said_at_the_field_and_not_painted(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        shift = driver.screen.form.rows["sigma_shift"]
        driver.put("sigma_shift", "3")
        driver.put("timer", "linear")
        await driver.until(lambda: "Model's own only" in shift.fault)
        await driver.press("x", "f5")
        await driver.until(lambda: shift.control.has_focus)
        assert driver.engine.requests == []
        driver.put("timer", "auto")
        await driver.until(lambda: shift.fault == "")


async def test_a_fault_is_shown_with_its_hint_and_the_app_goes_on(gallery: Gallery) -> None:
    engine = FakeEngine(fault=CheckpointNotFound("No folder [there].", hint="Name another."))
    async with running(gallery, engine) as driver:
        await driver.press("x", "f5")
        await driver.done()
        await driver.until(lambda: "No folder [there]." in driver.screen_text())
        assert "Name another." in driver.screen_text()
        assert driver.status.startswith("The picture was not painted.")
        await driver.press("f5")
        await driver.done()
        assert driver.screen.stage.image is not None and len(saved_pictures(gallery)) == 1


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
        assert len(saved_pictures(gallery)) == 1 and driver.screen.stage.image is not None
        assert driver.notes == ["No [folder]. Name one."]


async def test_a_picture_that_cannot_be_saved_stays_on_show_and_those_before_it_are_listed(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(gallery) as driver:
        driver.put("batch_size", "2")
        await driver.press("x")
        driver.app.session.write()
        monkeypatch.setattr(driver.app.session, "write", lambda: None)
        monkeypatch.setattr(driver.app.session.prompts, "add", lambda *_: None)
        fill_up_after(1, monkeypatch)
        await driver.press("f5")
        await driver.done()
        assert driver.screen.stage.image == gradient(128, 128)
        assert driver.status == "Painted, but not saved."
        assert ["The disk is full" in note for note in driver.notes] == [True]
        (saved,) = saved_pictures(gallery)
        await driver.until(lambda: driver.screen.history.pictures == [saved])


async def test_a_long_fault_shows_its_hint_on_a_small_screen(gallery: Gallery) -> None:
    fault = CheckpointNotFound("a very long reason " * 60, hint="Name another folder.")
    async with running(gallery, FakeEngine(fault=fault), size=(80, 24)) as driver:
        await driver.press("x", "f5")
        await driver.done()
        await driver.until(lambda: "Name another folder." in driver.screen_text())
        assert "F3" in driver.status


async def test_the_home_of_nobody_as_a_model_is_a_fault_and_no_end(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        driver.put("checkpoint_dir", "~m")
        await driver.press("x", "f5")
        await driver.done()
        assert str(driver.engine.requests[0].checkpoint_dir).endswith("/~m")


async def test_a_warning_becomes_a_note(gallery: Gallery) -> None:
    async with running(gallery, FakeEngine(warnings=("The prompt was cut by 12 tokens.",))) as driver:
        await driver.press("x", "f5")
        await driver.done()
        assert driver.notes == ["The prompt was cut by 12 tokens."]


async def test_the_negative_prompt_counts_while_true_cfg_is_on(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        negative = driver.screen.prompt.negative_editor
        assert not negative.display
        driver.put("true_cfg_scale", "3")
        await driver.until(lambda: negative.display and "two passes a step" in driver.screen_text())
        await driver.press("x", "tab", "f", "o", "g", "f5")
        await driver.done()
        driver.put("true_cfg_scale", "1")
        await driver.until(lambda: not negative.display)
        await driver.press("f5")
        await driver.done()
        assert [request.negative_prompt for request in driver.engine.requests] == ["fog", None]


async def test_the_status_line_says_where_things_stand(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("x", "f5")
        await driver.done()
        await driver.until(lambda: "fake 3.2/26 GB" in driver.screen_text())
        facts = " ".join(driver.screen.status.facts)
        assert "disk" in facts and "free" in facts and "memory" in facts


async def test_a_disk_that_does_not_answer_holds_nothing_up(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = threading.Event()

    def hang(folder: Path) -> int:
        assert answers.wait(60)
        return 7_000_000_000

    monkeypatch.setattr(machine, "free_disk_bytes", hang)
    async with running(gallery) as driver:
        await driver.press("x", "f5")
        await driver.done()
        await driver.until(lambda: driver.status.startswith("Saved "))
        assert not any("disk" in fact for fact in driver.screen.status.facts)
        answers.set()
        await driver.until(lambda: "disk 7.0 GB free" in driver.screen.status.facts)


async def test_on_a_small_screen_the_tab_counts_the_steps(gallery: Gallery) -> None:
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine, size=(50, 20)) as driver:
        assert engine.gate is not None
        await driver.press("x", "f5")
        await driver.until(lambda: "Picture 0/20" in driver.screen_text())
        engine.gate.release(7)
        await driver.until(lambda: "Picture 7/20" in driver.screen_text())
        engine.gate.release(13)
        await driver.done()
        await driver.until(lambda: "Picture  Queue" in driver.screen_text())
