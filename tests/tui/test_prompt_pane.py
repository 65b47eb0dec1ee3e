"""The prompt pane: its counter, its hint, the negative prompt, and the way through the history."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.visual import visualize

from flux_tui.off_thread import off_thread
from flux_tui.prompts import PromptHistory
from flux_tui.tokens import Counts, CountsUnavailable
from flux_tui.widgets import prompt_pane
from flux_tui.widgets.prompt_editor import MAX_CHARACTERS
from flux_tui.widgets.prompt_pane import PromptPane
from tests.tui.prompt_app import PromptApp


def counts(t5: int, clip: int, t5_limit: int = 512) -> Counts:
    return Counts(prompt_t5=t5, t5_limit=t5_limit, clip=clip, clip_limit=77)


@asynccontextmanager
async def showing(pane: PromptPane, size: tuple[int, int] = (46, 16)) -> AsyncIterator[tuple[PromptApp, Pilot[None]]]:
    app = PromptApp(pane)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield app, pilot


async def until(pilot: Pilot[None], condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await pilot.pause()


def lines(app: PromptApp) -> list[str]:
    """What the terminal shows, without the frame."""
    strips = app.screen._compositor.render_strips()
    return ["".join(segment.text for segment in strip).strip(" │") for strip in strips]


@pytest.mark.parametrize(
    ("width", "counted", "shown"),
    [
        (46, counts(12, 13), "T5 12/512 · CLIP 13/77"),
        (46, counts(137, 140), "T5 137/512 · CLIP sees the first 77"),
        (38, counts(137, 140), "T5 137/512 · CLIP 77 of 140"),
        (30, counts(137, 140), "T5 137/512"),
        (46, counts(530, 600), "T5 530/512: the last 18 are cut"),
        (38, counts(530, 600), "T5 530/512: the last 18 are cut"),
        (30, counts(530, 600), "T5 530/512, cut"),
        (46, counts(10_001, 10_001), "T5 over 10,000/512: the rest is cut"),
        (46, CountsUnavailable("m is not a folder."), "tokens not counted"),
        (20, CountsUnavailable("m is not a folder."), "no count"),
    ],
)
async def test_the_counter_says_as_much_as_there_is_room_for(
    width: int, counted: Counts | CountsUnavailable, shown: str
) -> None:
    pane = PromptPane("a boat")
    async with showing(pane, (width, 16)) as (app, pilot):
        pane.count_shown(counted)
        await pilot.pause()

        [edge] = [line for line in lines(app) if "╰" in line]
        assert edge.strip("╰╯─ ") == shown


async def test_the_counter_fits_itself_to_a_new_size() -> None:
    pane = PromptPane("a boat")
    async with showing(pane, (46, 16)) as (_, pilot):
        pane.count_shown(counts(137, 140))
        await pilot.resize_terminal(30, 16)
        await pilot.pause()
        assert pane.border_subtitle == "T5 137/512"

        pane.count_shown(None)
        assert pane.border_subtitle == ""


async def test_only_what_t5_does_not_read_is_a_warning() -> None:
    pane = PromptPane("a boat")
    async with showing(pane):
        calm = pane.styles.border_subtitle_color
        pane.count_shown(counts(512, 600))
        assert pane.styles.border_subtitle_color == calm

        pane.count_shown(counts(513, 600))
        assert pane.styles.border_subtitle_color != calm


async def test_the_counter_keeps_to_ascii_when_asked() -> None:
    pane = PromptPane("a boat", dot="-")
    async with showing(pane):
        pane.count_shown(counts(137, 140))

        assert pane.border_subtitle == "T5 137/512 - CLIP sees the first 77"


async def test_why_tokens_are_not_counted_is_there_for_the_mouse() -> None:
    pane = PromptPane("a boat")
    async with showing(pane):
        pane.count_shown(CountsUnavailable("m is not a folder."))
        assert pane.tooltip == "m is not a folder."

        pane.count_shown(counts(3, 3))
        assert pane.tooltip is None


async def test_a_fault_stays_until_words_are_typed() -> None:
    pane = PromptPane()
    async with showing(pane) as (app, pilot):
        pane.say("Say what to paint.")
        await pilot.press("space")
        assert "Say what to paint." in lines(app)

        await pilot.press("a")
        assert "Say what to paint." not in lines(app)


async def test_weights_of_other_tools_get_a_hint_as_soon_as_they_are_there() -> None:
    pane = PromptPane("a (red:1.2) boat")
    async with showing(pane, (60, 16)) as (app, pilot):
        assert "FLUX reads (red:1.2) literally; say it in words." in lines(app)

        pane.put_back("a very red boat")
        await pilot.pause()
        assert not any("FLUX reads" in line for line in lines(app))


async def test_a_full_pane_says_so() -> None:
    pane = PromptPane("word " * MAX_CHARACTERS)
    async with showing(pane, (80, 16)) as (app, pilot):
        assert "The pane is full: it holds 32,768 characters, and FLUX reads far fewer." in lines(app)

        pane.put_back("a boat")
        await pilot.pause()
        assert not any("full" in line for line in lines(app))


async def test_the_negative_prompt_is_folded_away_until_it_counts() -> None:
    pane = PromptPane("a boat", "people")
    async with showing(pane) as (app, pilot):
        assert "people" not in lines(app)
        await pilot.press("tab")
        assert not pane.negative_editor.has_focus

        pane.show_negative(True)
        pane.focus_editor()
        await pilot.pause()
        shown = lines(app)
        assert shown.index("people") == shown.index("Negative prompt: two passes a step") + 1

        await pilot.press("tab", "!")
        assert pane.negative == "people!"


async def test_folding_the_negative_prompt_keeps_it_and_gives_the_focus_to_the_prompt() -> None:
    pane = PromptPane("a boat", "people")
    async with showing(pane) as (_, pilot):
        pane.show_negative(True)
        pane.negative_editor.focus()
        await pilot.pause()
        pane.show_negative(False)
        async with asyncio.timeout(30):
            while not pane.editor.has_focus:
                await pilot.pause()
        await pilot.press("!")

        assert (pane.text, pane.negative) == ("a boat!", "people")


async def test_a_low_pane_shows_a_line_of_both_prompts_and_a_fault_rather_than_a_hint() -> None:
    pane = PromptPane("a (red:1.2) boat", "people")
    async with showing(pane, (38, 10)) as (app, pilot):
        pane.show_negative(True)
        await pilot.pause()
        assert pane.content_size.height == 4
        assert {"a (red:1.2) boat", "Negative prompt: two passes a step", "people"} <= set(lines(app))
        assert pane.editor.size.height == 2
        assert not any("FLUX reads" in line for line in lines(app))

        pane.say("Say what to paint.")
        await pilot.pause()
        assert {"a (red:1.2) boat", "people", "Say what to paint."} <= set(lines(app))


@pytest.mark.parametrize("in_negative", [False, True])
@pytest.mark.parametrize("prompt", ["a bridge", "boat"])
async def test_put_back_replaces_both_and_one_undo_in_either_brings_the_old_ones_back(
    prompt: str, in_negative: bool
) -> None:
    pane = PromptPane(negative="rain")
    async with showing(pane) as (_, pilot):
        await pilot.press(*"boat")
        pane.show_negative(True)
        pane.put_back(prompt, "")
        if in_negative:
            pane.negative_editor.focus()
        seen = []
        for key in ("ctrl+z", "ctrl+y", "ctrl+z"):
            await pilot.press(key)
            seen.append((pane.text, pane.negative))
        assert seen == [("boat", "rain"), (prompt, ""), ("boat", "rain")]

        await pilot.press("ctrl+z")  # what was typed before is undone where it was typed
        assert (pane.text, pane.negative) == ("boat" if in_negative else "", "rain")


async def test_an_undo_of_what_was_put_back_leaves_what_was_typed_into_the_other_editor_since() -> None:
    pane = PromptPane("boat", "rain")
    async with showing(pane) as (_, pilot):
        pane.show_negative(True)
        pane.put_back("a bridge", "people")
        pane.negative_editor.focus()
        await pilot.press("s")
        pane.focus_editor()
        await pilot.press("ctrl+z")
        assert (pane.text, pane.negative) == ("boat", "peoples")


async def test_put_back_without_a_negative_prompt_leaves_it() -> None:
    pane = PromptPane("a boat", "people")
    async with showing(pane):
        pane.put_back("a bridge")

        assert (pane.text, pane.negative) == ("a bridge", "people")


async def test_text_goes_into_the_editor_that_is_in_use() -> None:
    pane = PromptPane("a boat", "people")
    async with showing(pane) as (_, pilot):
        pane.insert(", fog")
        assert pane.text == "a boat, fog"

        pane.show_negative(True)
        pane.negative_editor.focus()
        await pilot.pause()
        pane.insert(", text")
        assert pane.negative == "people, text"
        pane.replace("cars")
        assert (pane.text, pane.negative) == ("a boat, fog", "cars")


async def test_each_change_is_told_with_both_texts() -> None:
    pane = PromptPane("a", "people")
    async with showing(pane) as (app, pilot):
        assert app.main.edited == []
        await pilot.press("b")
        pane.put_back("c", "cars")
        await pilot.pause()

        told = [(event.prompt, event.negative) for event in app.main.edited]
        assert told[0] == ("ab", "people")
        assert told[-1] == ("c", "cars")


@pytest.mark.parametrize(("older", "newer"), [("alt+up", "alt+down"), ("ctrl+up", "ctrl+down")])
async def test_the_history_is_walked_back_and_forth_and_gives_the_draft_back(
    tmp_path: Path, older: str, newer: str
) -> None:
    history = PromptHistory(tmp_path / "prompts.jsonl")
    history.add("the first")
    history.add("the second\nof two lines", "people")
    pane = PromptPane("a draft", "cars", history=history)
    async with showing(pane) as (app, pilot):
        seen = [(pane.text, pane.negative)]
        for key in (older, older, older, newer, newer, newer):
            await pilot.press(key)
            await until(pilot, lambda: not app.keys_wait)
            seen.append((pane.text, pane.negative))

    draft, second, first = ("a draft", "cars"), ("the second\nof two lines", "people"), ("the first", "")
    assert seen == [draft, second, first, first, second, draft, draft]


async def test_what_is_typed_while_a_slow_disk_is_read_goes_behind_the_prompt_that_it_brings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_pane, "off_thread", partial(off_thread, patience_s=30))
    history, answers = PromptHistory(tmp_path / "prompts.jsonl"), threading.Event()
    history.add("the first")
    read = history.entries
    monkeypatch.setattr(history, "entries", lambda: read() if answers.wait(30) else [])
    pane = PromptPane("a draft", history=history)
    async with showing(pane) as (app, pilot):
        for key in ("alt+up", "!"):
            app.post_message(events.Key(key, key if key == "!" else None))
        async with asyncio.timeout(30):
            while not app.keys_wait:
                await asyncio.sleep(0)
        assert pane.text == "a draft"
        answers.set()
        await until(pilot, lambda: not app.keys_wait)
        assert pane.text == "the first!"


async def test_a_disk_that_does_not_answer_is_said_and_the_keys_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def in_vain(function: Callable[[], object]) -> None:
        raise TimeoutError

    monkeypatch.setattr(prompt_pane, "off_thread", in_vain)
    pane = PromptPane("a draft", history=PromptHistory(tmp_path / "prompts.jsonl"))
    async with showing(pane) as (app, pilot):
        await pilot.press("alt+up", "!")
        await until(pilot, lambda: pane.text == "a draft!")
        assert ["the disk does not answer" in note.message for note in app._notifications] == [True]


async def test_without_a_history_its_keys_do_nothing() -> None:
    pane = PromptPane("a draft")
    async with showing(pane) as (_, pilot):
        await pilot.press("alt+up", "ctrl+down", "!")

        assert pane.text == "a draft!"


async def test_the_reason_for_no_count_is_plain_text() -> None:
    pane = PromptPane("a boat")
    async with showing(pane):
        pane.count_shown(CountsUnavailable("/m[/x] is not a folder."))
        assert str(visualize(pane, pane.tooltip)) == "/m[/x] is not a folder."
