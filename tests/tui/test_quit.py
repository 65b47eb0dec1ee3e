"""The question before the end: what it says, and what answers it."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.app import App, ComposeResult, ScreenStackError
from textual.pilot import Pilot
from textual.widgets import Button, Static

from flux_tui.gallery import Gallery
from flux_tui.screens.quit import Answer, QuitScreen, outcome, question
from tests.tui.driver import running
from tests.tui.fakes import FakeEngine


class Host(App[None]):
    """Something to ask about."""

    def __init__(self) -> None:
        super().__init__()
        self.animation_level = "none"
        self.answers: list[Answer | None] = []

    def compose(self) -> ComposeResult:
        yield Static("the screen below")


@asynccontextmanager
async def asked(
    doing: str = "step 7 of 20", waiting: int = 2, size: tuple[int, int] = (60, 12)
) -> AsyncIterator[tuple[Host, Pilot[None]]]:
    app = Host()
    async with app.run_test(size=size) as pilot:
        app.push_screen(QuitScreen(doing, waiting), app.answers.append)
        await pilot.pause()
        yield app, pilot


def screen_text(app: Host) -> str:
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


@pytest.mark.parametrize(
    ("doing", "waiting", "keeps", "said"),
    [
        (
            *("step 7 of 20", 2, True),
            "A picture is being painted (step 7 of 20) and 2 more wait.\n"
            "Finish first: quit when this picture is saved.\n"
            "Quit now: this picture is given up.\n"
            "Those that wait are kept for the next start.",
        ),
        (
            *("loading", 1, False),
            "A picture is being painted (loading) and 1 more waits.\n"
            "Finish first: quit when this picture is saved.\n"
            "Quit now: this picture is given up.\n"
            "The one that waits is given up either way.",
        ),
        (
            *("decoding", 0, True),
            "A picture is being painted (decoding).\n"
            "Finish first: quit when this picture is saved.\n"
            "Quit now: this picture is given up.",
        ),
        ("", 2, False, "2 pictures wait to be painted.\nThose that wait are given up."),
        ("", 1, True, "One picture waits to be painted.\nThe one that waits is kept for the next start."),
        ("", 3, True, "3 pictures wait to be painted.\nThose that wait are kept for the next start."),
    ],
)
def test_it_says_what_goes_on_and_what_becomes_of_it(doing: str, waiting: int, keeps: bool, said: str) -> None:
    assert f"{question(doing, waiting)}\n{outcome(doing, waiting, keeps)}" == said


@pytest.mark.parametrize(
    ("keys", "answer"),
    [
        (("enter",), None), (("escape",), None), (("q",), "quit"), (("f",), "finish"),
        (("tab", "enter"), "finish"), (("right", "right", "enter"), "quit"), (("left", "enter"), "quit"),
        (("down", "up", "enter"), None),
    ],
)  # fmt: skip
async def test_keys_answer_and_enter_alone_loses_nothing(keys: tuple[str, ...], answer: Answer | None) -> None:
    async with asked() as (app, pilot):
        await pilot.press(*keys)
        await pilot.pause()
        assert app.answers == [answer]
        assert not isinstance(app.screen, QuitScreen)


@pytest.mark.parametrize(("button", "answer"), [("#stay", None), ("#finish", "finish"), ("#quit", "quit")])
async def test_buttons_answer(button: str, answer: Answer | None) -> None:
    async with asked() as (app, pilot):
        await pilot.click(button)
        await pilot.pause()
        assert app.answers == [answer]


async def test_of_two_answers_in_one_burst_the_first_counts() -> None:
    async with asked() as (app, pilot):
        for button in app.screen.query(Button):
            button.press()
        await pilot.pause()
        assert len(app.answers) == 1 and len(app.screen_stack) == 1


async def test_keys_that_answer_nothing_do_nothing() -> None:
    async with asked() as (app, pilot):
        await pilot.press("y", "n", "x", "home")
        await pilot.pause()
        assert app.answers == [] and isinstance(app.screen, QuitScreen)


async def test_with_none_being_painted_there_is_nothing_to_finish() -> None:
    async with asked(doing="") as (app, pilot):
        assert [str(button.label) for button in app.screen.query(Button) if button.display] == ["Stay", "Quit now"]
        assert "Finish" not in screen_text(app)
        await pilot.press("f")
        await pilot.pause()
        assert app.answers == []


async def test_it_follows_what_goes_on_meanwhile() -> None:
    async with asked() as (app, pilot):
        screen = app.screen
        assert isinstance(screen, QuitScreen)
        screen.tell("step 8 of 20", 1)
        await pilot.pause()
        assert "(step 8 of 20) and 1 more" in screen_text(app)
        await pilot.press("tab")
        screen.tell("", 0)
        await pilot.pause()
        assert "Nothing is being painted any more: nothing is lost." in screen_text(app)
        assert "Finish" not in screen_text(app) and app.focused is not None and app.focused.id == "stay"
        await pilot.press("f", "q")
        await pilot.pause()
        assert app.answers == ["quit"]


async def test_a_picture_that_is_saved_while_the_question_stands_is_no_longer_spoken_of(gallery: Gallery) -> None:
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine) as driver:
        await driver.press("x", "f5")
        await driver.until(engine.started.is_set)
        await driver.press("ctrl+q")
        await driver.until(lambda: "A picture is being painted" in driver.screen_text())
        engine.gate.release(1000)
        await driver.until(lambda: "nothing is lost" in driver.screen_text())
        await driver.press("enter")
        await driver.until(lambda: driver.app.screen is driver.screen)


@pytest.mark.parametrize("size", [(60, 12), (38, 14), (80, 24)])
async def test_nothing_of_it_is_cut(size: tuple[int, int]) -> None:
    async with asked(size=size) as (app, _):
        assert app.focused is not None and app.focused.id == "stay"
        words = " ".join(screen_text(app).replace("│", " ").split())
        for part in (question("step 7 of 20", 2), *outcome("step 7 of 20", 2, True).split("\n")):
            assert part in words
        assert "Stay Finish first Quit now" in words
        assert "Esc Stay f Finish q Quit now" in words


async def test_on_the_smallest_screen_of_the_app_every_answer_has_its_key() -> None:
    async with asked(size=(32, 12)) as (app, _):
        assert screen_text(app).splitlines()[-1].split() == ["Esc", "Stay", "f", "Finish", "q", "Quit", "now"]


async def test_on_a_screen_too_small_for_it_the_choice_can_be_made_all_the_same() -> None:
    async with asked(size=(20, 5)) as (app, pilot):
        assert "Esc Stay" in screen_text(app)
        await pilot.press("q")
        await pilot.pause()
        assert app.answers == ["quit"]


async def test_what_breaks_once_the_app_ends_is_for_the_log(gallery: Gallery, caplog: pytest.LogCaptureFixture) -> None:
    async with running(gallery) as driver:
        driver.app.exit()
        driver.app._handle_exception(ValueError("told to end"))
    async with running(gallery) as driver:
        pass
    driver.app._handle_exception(ScreenStackError("no screen is left"))
    assert [record.exc_info[1].args[0] for record in caplog.records if record.exc_info and record.exc_info[1]] == [
        "told to end",
        "no screen is left",
    ]
