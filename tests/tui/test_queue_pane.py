"""The queue pane: what its rows say, where its cursor goes, and what its keys ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.events import MouseScrollDown
from textual.message import Message
from textual.pilot import Pilot
from textual.widgets import Footer, Input

from flux_engine.request import GenerationRequest
from flux_tui.glyphs import glyphs
from flux_tui.jobs import Job, JobQueue, JobState
from flux_tui.widgets.queue_pane import EMPTY, QueuePane
from flux_tui.widgets.queue_rows import Entry, row

ASKED = (
    *(QueuePane.Cancel, QueuePane.CancelWaiting, QueuePane.Pause, QueuePane.Edit),
    *(QueuePane.Retry, QueuePane.Move, QueuePane.Forget),
)


def job(job_id: int, state: JobState = "waiting", prompt: str = "", note: str = "", **values: int) -> Job:
    return Job(job_id, GenerationRequest(prompt=prompt or f"prompt {job_id}", **values), state, note)


JOBS = (
    job(1, "running", "a lighthouse on a hill"),
    job(2, prompt="snow over a pine forest"),
    job(3, prompt="夕暮れの山々と静かな湖"),
    job(6, "failed", "a house in the desert", "out of memory"),
    job(5, "cancelled", "fog"),
    job(4, "done", "a sailing boat", seed=77, width=64),
)


class Host(App[None]):
    """The pane, and another thing to focus."""

    def __init__(self, ascii: bool = False) -> None:
        super().__init__()
        self.animation_level = "none"
        self.pane = QueuePane(glyphs(ascii))
        self.asked: list[Message] = []

    def compose(self) -> ComposeResult:
        yield self.pane
        yield Input(id="elsewhere")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.pane.focus()


class Driver:
    """An app with the pane, its pilot, and what the pane asked for."""

    def __init__(self, app: Host, pilot: Pilot[None], asked: list[Message]) -> None:
        self.app, self.pilot, self.asked = app, pilot, asked
        self.pane, self.press = app.pane, pilot.press

    async def show(self, jobs: Iterable[Job], paused: bool = False) -> None:
        self.pane.show(jobs, paused)
        await self.pilot.pause()

    def lines(self) -> list[str]:
        """The pane's lines, as the terminal shows them, without its frame."""
        strips = self.app.screen._compositor.render_strips()
        return [strip.text[2:-2] for strip in strips[1 : self.pane.size.height + 1]]

    async def asks(self, *keys: str) -> list[Message]:
        """What the pane asks for at these keys."""
        self.asked.clear()
        await self.press(*keys)
        await self.pilot.pause()
        return list(self.asked)


@asynccontextmanager
async def running(size: tuple[int, int] = (40, 16), ascii: bool = False) -> AsyncIterator[Driver]:
    app, asked = Host(ascii), []

    def listen(message: Message) -> None:
        if isinstance(message, ASKED) and not any(message is other for other in asked):  # told at each bubble
            asked.append(message)

    async with app.run_test(size=size, message_hook=listen) as pilot:
        await pilot.pause()
        yield Driver(app, pilot, asked)


async def test_an_empty_queue_says_how_it_fills() -> None:
    async with running() as driver:
        assert driver.lines()[0].strip() == EMPTY
        assert not any(line.strip() for line in driver.lines()[1:])
        assert driver.pane.border_title == "Queue" and not driver.pane.border_subtitle
        assert driver.pane.job is None
        assert await driver.asks("x", "X", "e", "r", "K", "J", "D", "down", "end") == []


async def test_each_row_says_state_place_and_prompt() -> None:
    async with running() as driver:
        await driver.show(JOBS)
        driver.pane.progress(1, "7/20")
        await driver.pilot.pause()
        assert [line.rstrip() for line in driver.lines()[:6]] == [
            "▸  7/20  a lighthouse on a hill",
            "      1  snow over a pine forest",
            "      2  夕暮れの山々と静かな湖",
            "✗        a house in…  out of memory",
            "\N{EN DASH}        fog",
            "✓        a sailing boat",
        ]


async def test_in_ascii_mode_every_sign_of_the_pane_is_ascii() -> None:
    async with running(ascii=True) as driver:
        await driver.show([job for job in JOBS if job.id != 3], paused=True)
        text = "\n".join(driver.lines())
        assert text.isascii()
        assert "a house in~  out of memory" in text and "=     1" in text


async def test_the_subtitle_counts_what_waits_and_says_when_the_queue_is_held() -> None:
    async with running() as driver:
        for jobs, paused, subtitle in (
            (JOBS, False, "2 waiting"),
            (JOBS, True, "paused, 2 waiting"),
            (JOBS[:1], True, "paused"),
            (JOBS[3:], False, ""),
        ):
            await driver.show(jobs, paused)
            assert driver.pane.border_subtitle == subtitle


async def test_a_paused_queue_marks_the_job_that_is_held() -> None:
    async with running() as driver:
        await driver.show(JOBS, paused=True)
        assert [line[0] for line in driver.lines()[:3]] == ["▸", "‖", " "]


async def test_a_cancel_shows_at_once() -> None:
    async with running() as driver:
        driver.pane.progress(1, "7/20")
        await driver.show([replace(JOBS[0], state="cancelling"), *JOBS[1:]])
        assert driver.lines()[0].startswith("▸  7/20  a lighthouse") and "cancelling" in driver.lines()[0]


async def test_the_step_is_that_of_the_running_job_alone() -> None:
    async with running() as driver:
        await driver.show(JOBS)
        driver.pane.progress(1, "20/20")
        await driver.show([job(2, "running"), job(3), job(1, "done")])
        assert not any("20/20" in line for line in driver.lines())
        driver.pane.progress(2, " 1/20")
        await driver.pilot.pause()
        assert driver.lines()[0].startswith("▸  1/20  prompt 2")


async def test_a_step_too_wide_for_its_column_moves_all_prompts_alike() -> None:
    async with running() as driver:
        await driver.show(JOBS)
        driver.pane.progress(1, "999/1000")
        await driver.pilot.pause()
        assert driver.lines()[0].startswith("▸ 999/1000  a lighthouse")
        assert driver.lines()[1].startswith("         1  snow over")


async def test_only_what_changed_is_painted_again() -> None:
    async with running() as driver:
        await driver.show(JOBS)
        drawn: list[int] = []
        draw = driver.pane.render_line
        driver.pane.render_line = lambda y: drawn.append(y) or draw(y)  # type: ignore[method-assign, func-returns-value]
        await driver.show(JOBS)
        driver.pane.progress(9, "1/20")
        await driver.pilot.pause()
        assert drawn == []
        driver.pane.progress(1, "1/20")
        await driver.pilot.pause()
        assert drawn == [0]
        drawn.clear()
        await driver.press("down")
        await driver.pilot.pause()
        assert sorted(drawn) == [0, 1]


async def test_a_thousand_jobs_cost_what_is_in_view() -> None:
    async with running() as driver:
        drawn: set[int] = set()
        parts = driver.pane.parts
        driver.pane.parts = lambda place, width: (drawn.add(place), parts(place, width))[1]  # type: ignore[method-assign]
        await driver.show([job(place) for place in range(1, 1001)])
        height = driver.pane.size.height
        assert drawn == set(range(height))
        drawn.clear()
        await driver.press("end")
        assert drawn <= {0, *range(1000 - height, 1000)}
        assert driver.lines()[-1].startswith("   1000  prompt 1000")


def text_of(entry: Entry, width: int) -> str:
    return "".join(text for text, _ in row(entry, width, 5, glyphs(False)))


FOREIGN = ("a\tb\nc\r\nd", "夕暮れの山々と静かな湖" * 9, "שלם \u202eעלם", "e\u0301" * 99, "👩\u200d🚀" * 9)


@pytest.mark.parametrize("prompt", FOREIGN)
@pytest.mark.parametrize("state", ["running", "waiting", "cancelling", "done", "failed", "cancelled"])
def test_a_row_is_never_wider_than_its_line_and_never_holds_what_a_terminal_obeys(state: JobState, prompt: str) -> None:
    for width in range(12, 100):
        entry = Entry(job(1, state, prompt, note=f"\x1b[31m\x07{prompt}" if state == "failed" else ""), "7/20")
        text = text_of(entry, width)
        assert cell_len(text) <= width and text.isprintable()


@pytest.mark.parametrize("width", [0, 1, 4, 8, 11])
async def test_the_narrowest_panes_have_rows_of_their_width(width: int) -> None:
    async with running(size=(width + 4, 9)) as driver:
        await driver.show(JOBS)
        assert all(cell_len(line) == driver.pane.size.width - 1 for line in driver.lines())


async def test_size_and_seed_stand_where_there_is_room() -> None:
    async with running(size=(80, 16)) as driver:
        await driver.show(JOBS)
        lines = driver.lines()
        assert lines[5].rstrip().endswith("64x128     seed 77")
        assert "a house in the desert  out of memory" in lines[3] and "seed" not in lines[3]
        assert all(cell_len(line) == 76 for line in lines[:6])


def test_the_reason_of_a_failure_has_the_room_that_the_prompt_leaves() -> None:
    for prompt, note, said in (
        ("fog", "no such folder", "✗        fog  no such folder"),
        ("fog " * 9, "gone", "✗        fog fog fog fog fog fog fog…  gone"),
        ("fog " * 9, "no " * 20, "✗        fog fog fog…  no no no no no no no…"),
    ):
        assert text_of(Entry(job(1, "failed", prompt, note), ""), 45) == said


async def test_the_cursor_stays_on_its_job_wherever_that_goes() -> None:
    async with running() as driver:
        await driver.show(JOBS)
        await driver.press("down", "down")
        assert driver.pane.job == JOBS[2]
        await driver.show([job(9), *JOBS])
        assert driver.pane.job == JOBS[2]
        done = replace(JOBS[2], state="done")
        await driver.show([JOBS[1], done, *JOBS[3:]])
        assert driver.pane.job == done
        await driver.show([JOBS[1], *JOBS[3:]])  # it is forgotten: the cursor stays where it was
        assert driver.pane.job == JOBS[3]
        await driver.show([])
        assert driver.pane.job is None


async def test_with_nobody_in_the_pane_the_first_row_stays_under_the_cursor() -> None:
    async with running() as driver:
        await driver.show(JOBS)
        driver.app.query_one("#elsewhere").focus()
        await driver.pilot.pause()
        await driver.show([job(2, "running"), job(3), job(1, "done")])
        assert driver.pane.job is not None and driver.pane.job.id == 2
        driver.pane.focus()
        await driver.pilot.pause()
        await driver.show([job(9), job(2, "running"), job(3), job(1, "done")])
        assert driver.pane.job is not None and driver.pane.job.id == 2


@pytest.mark.parametrize("end", ["done", "failed"])
async def test_the_cursor_goes_from_what_was_painted_to_what_is_painted_next(end: JobState) -> None:
    async with running() as driver:
        await driver.show([job(1, "running"), job(2), job(3)])
        for jobs in ([job(2), job(3), job(1, end)], [job(2, "running"), job(3), job(1, end)]):
            await driver.show(jobs)
            assert driver.pane.job == jobs[0]


async def test_the_cursor_stays_on_a_job_that_was_cancelled_so_that_a_second_key_spares_the_next() -> None:
    async with running() as driver:
        await driver.show([job(1, "running"), job(2)])
        await driver.show([job(1, "cancelling"), job(2)])
        await driver.show([job(2, "running"), job(1, "cancelled")])
        assert driver.pane.job == job(1, "cancelled")
        assert await driver.asks("x") == []


async def test_the_cursor_that_was_in_view_stays_in_view_and_a_view_that_was_scrolled_away_stays() -> None:
    async with running() as driver:
        jobs = [job(place) for place in range(1, 101)]
        await driver.show(jobs)
        await driver.press("end")
        await driver.show([*jobs, *(job(place) for place in range(200, 250))])
        assert driver.pane.job == jobs[-1]
        height = driver.pane.size.height
        await driver.show([jobs[-1], *jobs[:-1]])
        assert driver.pane.scroll_offset.y == 0 and driver.pane.job == jobs[-1]
        await driver.press("home")
        driver.pane.scroll_to(y=50, animate=False)
        await driver.show(jobs)
        assert driver.pane.scroll_offset.y == 50 > height


async def test_rows_that_have_just_come_can_be_scrolled_to() -> None:
    async with running() as driver:
        driver.pane.show([job(place) for place in range(1, 101)], False)
        driver.pane.action_end(1)  # before the first frame with these rows
        await driver.pilot.pause()
        assert driver.lines()[-1].startswith("    100  prompt 100")


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        (("down",), 1), (("j", "j"), 2), (("down", "up"), 0), (("j", "k"), 0), (("up",), 0), (("end",), 99),
        (("end", "home"), 0), (("end", "down"), 99), (("pagedown",), 10), (("end", "pageup"), 89), (("pageup",), 0),
    ],
)  # fmt: skip
async def test_keys_move_the_cursor_and_it_stays_in_view(keys: tuple[str, ...], place: int) -> None:
    async with running() as driver:
        await driver.show([job(number) for number in range(1, 101)])
        assert driver.pane.size.height == 10
        await driver.press(*keys)
        assert driver.pane.job == job(place + 1)
        top = driver.pane.scroll_offset.y
        assert top <= place < top + 10
        assert any(f"prompt {place + 1} " in line for line in driver.lines())


async def test_keys_ask_for_what_they_say() -> None:
    async with running() as driver:
        await driver.show(JOBS)
        assert await driver.asks("x") == [QueuePane.Cancel(1)]
        assert await driver.asks("X") == [QueuePane.CancelWaiting()]
        assert await driver.asks("space") == [QueuePane.Pause(True)]
        assert await driver.asks("D") == [QueuePane.Forget()]
        await driver.press("down")
        assert await driver.asks("x") == [QueuePane.Cancel(2)]
        assert await driver.asks("e", "enter") == [QueuePane.Edit(2)] * 2
        assert await driver.asks("J", "shift+down") == [QueuePane.Move(2, 1)] * 2
        assert await driver.asks("K", "shift+up") == [QueuePane.Move(2, -1)] * 2
        await driver.press("end")
        assert await driver.asks("r", "R") == [QueuePane.Retry(4)] * 2
        assert await driver.asks("e") == [QueuePane.Edit(4)]
        await driver.show(JOBS, paused=True)
        assert await driver.asks("space") == [QueuePane.Pause(False)]


async def test_what_makes_no_sense_for_a_job_is_neither_asked_for_nor_in_the_footer() -> None:
    async with running(size=(80, 16)) as driver:

        def footer() -> str:
            return driver.app.screen._compositor.render_strips()[-1].text

        await driver.show(JOBS)
        assert await driver.asks("r", "K", "J") == []  # it is being painted
        assert "Cancel" in footer() and "Edit" in footer() and "Pause" in footer() and "Retry" not in footer()
        await driver.press("end")
        await driver.pilot.pause()
        assert "Cancel" not in footer() and "Retry" in footer()
        assert await driver.asks("x", "K", "J") == []  # it is over
        await driver.show(JOBS[:1])
        assert await driver.asks("X", "D") == []  # none waits, and none is over


async def test_a_click_chooses_two_edit_and_the_wheel_scrolls() -> None:
    async with running() as driver:
        await driver.show(JOBS)
        await driver.pilot.click(driver.pane, offset=(5, 3))
        assert driver.pane.job == JOBS[2]
        assert driver.asked == []
        await driver.pilot.double_click(driver.pane, offset=(5, 2))
        assert driver.pane.job == JOBS[1]
        assert driver.asked == [QueuePane.Edit(2)]
        await driver.pilot.click(driver.pane, offset=(5, 9))  # below the rows
        assert driver.pane.job == JOBS[1]
        await driver.show([job(place) for place in range(1, 101)])
        driver.pane.post_message(MouseScrollDown(driver.pane, 1, 1, 0, 1, 0, False, False, False))
        await driver.pilot.pause()
        assert driver.pane.scroll_offset.y > 0


async def test_every_key_can_be_given_another_place_and_says_what_it_is_for() -> None:
    ids = {binding.id for binding in QueuePane.BINDINGS}
    assert ids == {
        *("cancel-job", "cancel-waiting", "edit-job", "retry-job"),
        *("pause-queue", "move-job-up", "move-job-down", "forget-finished"),
    }
    assert all(binding.tooltip for binding in QueuePane.BINDINGS)
    async with running() as driver:
        driver.app.set_keymap({"cancel-job": "c"})
        await driver.show(JOBS)
        assert await driver.asks("x") == []
        assert await driver.asks("c") == [QueuePane.Cancel(1)]


async def test_the_pane_and_a_real_queue_understand_each_other() -> None:
    async with running() as driver:
        queue = JobQueue()
        for prompt in "abc":
            queue.add(GenerationRequest(prompt=prompt))
        queue.take()

        def refresh() -> None:
            driver.pane.show(queue.jobs, queue.paused)

        refresh()
        await driver.press("down")
        (move,) = await driver.asks("J")
        assert isinstance(move, QueuePane.Move) and queue.move(move.job_id, move.by)
        refresh()
        (cancel,) = await driver.asks("x")
        assert isinstance(cancel, QueuePane.Cancel) and queue.cancel(cancel.job_id)
        refresh()
        await driver.pilot.pause()
        assert [line.split() for line in driver.lines()[:3]] == [["▸", "a"], ["1", "c"], ["\N{EN DASH}", "b"]]
        assert driver.pane.job is not None and driver.pane.job.request.prompt == "b"
