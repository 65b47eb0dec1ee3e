"""The queue on the screen: what is asked for waits, moves, pauses, comes back into the panes, and outlives the app."""

from __future__ import annotations

import threading

import pytest

from flux_tui.gallery import Gallery
from flux_tui.screens.quit import QuitScreen
from tests.tui.driver import Driver, running
from tests.tui.fakes import FakeEngine
from tests.tui.pictures import saved_pictures


def prompts(driver: Driver) -> str:
    return "".join(job.request.prompt for job in driver.queue.waiting)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(gate=threading.Semaphore(0))


async def fill(driver: Driver, words: str = "abc") -> None:
    """One job runs, the others wait."""
    for word in words:
        await driver.press("ctrl+u", word, "f5")
    await driver.until(lambda: driver.queue.running and prompts(driver) == words[1:])


async def test_jobs_wait_and_one_can_come_first(gallery: Gallery, engine: FakeEngine) -> None:
    async with running(gallery, engine, size=(200, 60)) as driver:
        assert engine.gate is not None
        await fill(driver)
        await driver.press("ctrl+u", "d", "shift+f5")
        await driver.until(lambda: prompts(driver) == "dbc")
        await driver.until(lambda: "3 waiting" in driver.screen_text())
        engine.gate.release(80)
        await driver.done()
        assert [request.prompt for request in engine.requests] == ["a", "d", "b", "c"]


async def test_a_count_comes_first_in_its_own_order(gallery: Gallery, engine: FakeEngine) -> None:
    async with running(gallery, engine) as driver:
        await fill(driver, "ab")
        driver.put("count", "2")
        driver.put("seed", "5")
        driver.put("seed_use", "fixed")
        await driver.press("ctrl+u", "c", "shift+f5")
        await driver.until(lambda: prompts(driver) == "ccb")
        assert [job.request.seed for job in driver.queue.waiting[:2]] == [5, 6]


async def test_the_queues_keys_move_cancel_edit_retry_and_pause(gallery: Gallery, engine: FakeEngine) -> None:
    async with running(gallery, engine) as driver:
        assert engine.gate is not None
        await fill(driver, "abcd")
        await driver.press("escape", "4", "down", "J")
        await driver.until(lambda: prompts(driver) == "cbd")
        await driver.press("x")
        await driver.until(lambda: prompts(driver) == "cd")
        await driver.press("r")  # the cursor went with the cancelled one
        await driver.until(lambda: prompts(driver) == "cdb")
        await driver.press("space")
        await driver.until(lambda: driver.queue.paused and "paused, 3 waiting" in driver.screen_text())
        engine.gate.release(20)
        await driver.until(lambda: driver.queue.running is None)
        await driver.press("home", "e")
        await driver.until(lambda: driver.screen.prompt.text == "c" and prompts(driver) == "db")
        await driver.press("escape", "4", "X")
        await driver.until(lambda: prompts(driver) == "")
        await driver.press("f7")
        await driver.until(lambda: not driver.queue.paused)


async def test_the_running_job_is_cancelled_alone_or_all_but_it(gallery: Gallery, engine: FakeEngine) -> None:
    async with running(gallery, engine) as driver:
        assert engine.gate is not None
        await fill(driver)
        await driver.press("escape", "4", "X")
        await driver.until(lambda: prompts(driver) == "" and driver.status == "2 cancelled. r lets one wait again.")
        assert driver.queue.running is not None and driver.queue.running.state == "running"
        await driver.press("home", "x")
        await driver.until(lambda: driver.queue.running and driver.queue.running.state == "cancelling")
        engine.gate.release()
        await driver.done()
        assert saved_pictures(gallery) == []


async def test_draft_settings_layout_and_queue_are_there_again_at_the_next_start(
    gallery: Gallery, engine: FakeEngine
) -> None:
    async with running(gallery, engine) as driver:
        driver.put("num_steps", "9")
        driver.put("true_cfg_scale", "2")
        await fill(driver, "ab")
        await driver.press("ctrl+u", "d", "r", "a", "f", "t", "escape", "4")
    assert saved_pictures(gallery) == []
    async with running(gallery) as driver:
        assert driver.screen.prompt.text == "draft"
        assert (driver.field("num_steps"), driver.field("true_cfg_scale")) == ("9", "2")
        assert driver.screen.queue.has_focus
        assert prompts(driver) == "ab" and driver.queue.paused  # what was being painted is not lost either
        assert any("wait from last time" in note for note in driver.notes)
        await driver.press("space")
        await driver.done()
        assert len(saved_pictures(gallery)) == 2


async def test_one_picture_that_waits_from_last_time_is_no_plural(gallery: Gallery, engine: FakeEngine) -> None:
    async with running(gallery, engine) as driver:
        await fill(driver, "a")
    async with running(gallery) as driver:
        assert "1 picture waits from last time. F7 lets it go on." in driver.notes


async def test_of_two_apps_the_first_keeps_the_queue(gallery: Gallery, engine: FakeEngine) -> None:
    async with running(gallery, engine) as first:
        await fill(first, "ab")
        first.app.session.write()
        async with running(gallery, FakeEngine(gate=threading.Semaphore(0))) as second:
            assert prompts(second) == "" and any("Another flux-tui is open" in note for note in second.notes)
            await fill(second, "cd")
            await second.press("ctrl+q")
            await second.until(lambda: "The one that waits is given up either way." in second.screen_text())
            await second.press("escape", "ctrl+u", "z")
    async with running(gallery) as third:
        assert prompts(third) == "ab" and not any("Another" in note for note in third.notes)


@pytest.mark.parametrize(("policy", "painted"), [("run", 2), ("drop", 0)])
async def test_what_becomes_of_the_last_queue_is_the_configs_choice(
    gallery: Gallery, engine: FakeEngine, policy: str, painted: int
) -> None:
    async with running(gallery, engine) as driver:
        await fill(driver, "ab")
    async with running(gallery, config=f'[app]\nqueue_at_start = "{policy}"\n') as driver:
        await driver.done()
        assert [request.prompt for request in driver.engine.requests] == ["a", "b"][:painted]


async def test_quitting_asks_while_something_is_painted_and_says_what_happens_to_it(
    gallery: Gallery, engine: FakeEngine
) -> None:
    async with running(gallery, engine) as driver:
        await fill(driver)
        await driver.press("ctrl+q")
        await driver.until(lambda: isinstance(driver.app.screen, QuitScreen))
        await driver.until(lambda: "given up" in driver.screen_text())
        await driver.press("enter")  # stays
        await driver.until(lambda: driver.app.screen is driver.screen)
        await driver.press("ctrl+q", "ctrl+q", "q")
        await driver.until(lambda: driver.app.return_code == 0)
    assert saved_pictures(gallery) == []
    async with running(gallery) as driver:
        assert prompts(driver) == "bc"  # the one that was given up is not among them


async def test_a_fault_is_read_before_the_program_ends(gallery: Gallery, engine: FakeEngine) -> None:
    engine.fault, engine.fault_at = ZeroDivisionError("by zero"), 1
    async with running(gallery, engine) as driver:
        assert engine.gate is not None
        await fill(driver, "a")
        await driver.press("ctrl+q", "f")
        engine.gate.release()
        await driver.done()
        assert "by zero" in driver.screen.stage.text and driver.app.return_code is None


async def test_a_job_that_was_edited_away_can_be_tried_again(gallery: Gallery, engine: FakeEngine) -> None:
    async with running(gallery, engine) as driver:
        await fill(driver, "ab")
        await driver.press("escape", "4", "end", "e")
        await driver.until(lambda: prompts(driver) == "" and driver.screen.prompt.text == "b")
        await driver.press("escape", "4", "end", "r")
        await driver.until(lambda: prompts(driver) == "b")


async def test_a_paused_queue_says_what_waits_and_what_lets_it_go_on(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("f7")
        await driver.until(lambda: driver.status == "Paused: none waiting; F7 lets them go on.")
        await driver.press("x", "enter")
        await driver.until(lambda: driver.status == "Paused: 1 waiting; F7 lets it go on.")
        await driver.press("enter")
        await driver.until(lambda: driver.status == "Paused: 2 waiting; F7 lets them go on.")
        await driver.press("f7")
        await driver.done()
        assert len(driver.engine.requests) == 2


async def test_what_a_job_that_is_edited_puts_aside_comes_back(gallery: Gallery, engine: FakeEngine) -> None:
    async with running(gallery, engine) as driver:
        await fill(driver, "ab")
        await driver.press("ctrl+u", *"mine")
        driver.put("num_steps", "9")
        await driver.press("escape", "4", "down", "e")
        await driver.until(lambda: driver.screen.prompt.text == "b" and driver.field("num_steps") == "20")
        await driver.until(lambda: driver.status.startswith("The job is in the panes. Undo: Ctrl+Z"))
        await driver.press("ctrl+z", "escape", "ctrl+z")
        assert driver.screen.prompt.text == "mine" and driver.field("num_steps") == "9"


async def test_hundreds_of_jobs_at_once_change_the_screen_once(gallery: Gallery, engine: FakeEngine) -> None:
    async with running(gallery, engine) as driver:
        changes: list[object] = []
        driver.queue._changed = lambda: changes.append(None)
        driver.put("count", "500")
        await driver.press("x", "f5")
        assert len(driver.queue.jobs) == 500 and len(changes) <= 2  # they were added, and one was taken


async def test_quitting_can_wait_for_the_picture(gallery: Gallery, engine: FakeEngine) -> None:
    async with running(gallery, engine) as driver:
        assert engine.gate is not None
        await fill(driver)
        await driver.press("ctrl+q", "f")
        engine.gate.release(20)
        await driver.until(lambda: driver.app.return_code == 0)
    assert len(saved_pictures(gallery)) == 1


async def test_quitting_at_rest_asks_nothing(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("ctrl+q")
        await driver.until(lambda: driver.app.return_code == 0)


async def test_the_end_of_the_queue_calls_for_attention(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(gallery, config='[app]\nnotify = "osc9"\n') as driver:
        written: list[str] = []
        monkeypatch.setattr(driver.app, "write_escape", written.append)
        driver.put("count", "2")
        await driver.press("x", "f5")
        await driver.done()
        await driver.until(lambda: any(text.startswith("\x1b]9;") for text in written))
        assert sum(text.startswith("\x1b]9;") for text in written) == 1
