"""Keys and pastes in the prompt's editor: what is typed, what acts, and in which order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot

from flux_tui.screens.picker import Picker
from flux_tui.widgets.prompt_editor import MAX_CHARACTERS, PromptEditor
from flux_tui.widgets.prompt_keys import EDITING_KEYS, ENTER_MAKES_NEWLINE, PANE_KEYS, PROMPT_KEYS, PROMPT_SCREEN_KEYS
from flux_tui.widgets.prompt_pane import PromptPane
from tests.tui.driver import burst
from tests.tui.prompt_app import PromptApp
from tests.tui.terminal import Terminal

APP = Path(__file__).parent / "prompt_app.py"
ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def editing(
    text: str = "", keymap: dict[str, str] | None = None, size: tuple[int, int] = (60, 20)
) -> AsyncIterator[tuple[PromptApp, Pilot[None]]]:
    app = PromptApp(PromptPane(text))
    async with app.run_test(size=size) as pilot:
        app.set_keymap(keymap or {})
        await pilot.pause()
        yield app, pilot


async def until_quiet(app: PromptApp, pilot: Pilot[None], text: str) -> None:
    """Until the prompt says so; a key too many or too few shows then."""
    for _ in range(100):
        if app.main.pane.text == text:
            break
        await pilot.pause()
    await pilot.pause()
    assert app.main.pane.text == text


async def test_enter_runs_the_prompt_and_types_nothing() -> None:
    async with editing("a boat") as (app, pilot):
        await pilot.press("enter")

        assert app.main.ran == ["a boat"]
        assert app.main.pane.text == "a boat"


@pytest.mark.parametrize("key", ["ctrl+j", "shift+enter", "alt+enter"])
async def test_ctrl_j_and_its_like_make_a_new_line(key: str) -> None:
    async with editing("a boat") as (app, pilot):
        await pilot.press(key, "x")

        assert app.main.pane.text == "a boat\nx"
        assert not app.main.ran


async def test_a_setting_swaps_enter_and_ctrl_j() -> None:
    async with editing("a boat", ENTER_MAKES_NEWLINE) as (app, pilot):
        await pilot.press("enter", "x")
        assert app.main.pane.text == "a boat\nx"
        assert not app.main.ran

        await pilot.press("ctrl+j")
        assert app.main.pane.text == "a boat\nx"
        assert app.main.ran == ["a boat\nx"]


async def test_enter_is_a_new_line_when_nothing_is_bound_to_it() -> None:
    async with editing("a", {"generate-from-prompt": "f4"}) as (app, pilot):
        await pilot.press("enter", "x")

        assert app.main.pane.text == "a\nx"
        assert not app.main.ran


async def test_enter_in_a_burst_runs_what_was_typed_before_it_and_nothing_of_what_comes_after() -> None:
    async with editing() as (app, pilot):
        burst(app, "a cat", "enter", " and a dog", "enter")
        await until_quiet(app, pilot, "a cat and a dog")

        assert app.main.ran == ["a cat", "a cat and a dog"]


async def test_editing_keys_in_a_burst_act_in_their_place() -> None:
    async with editing() as (app, pilot):
        burst(app, "a dog", "ctrl+w", "cxt", "left", "left", "ctrl+d", "a")

        await until_quiet(app, pilot, "a cat")


async def test_keys_behind_the_one_that_moves_the_focus_go_to_its_new_owner() -> None:
    async with editing("old") as (app, pilot):
        burst(app, "!", "ctrl+r", "wood house", "enter", "?")

        await until_quiet(app, pilot, "a wooden\nhouse in the woods?")
        assert not app.main.ran


async def test_keys_that_come_while_the_first_ones_act_come_after_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async with editing("old") as (app, pilot):
        search = app.main.action_search_prompts

        async def search_while_typing() -> None:
            burst(app, " house", "enter", "!")
            await search()

        monkeypatch.setattr(app.main, "action_search_prompts", search_while_typing)
        burst(app, "ctrl+r", "wood")

        await until_quiet(app, pilot, "a wooden\nhouse in the woods!")


async def test_the_first_key_after_the_terminal_had_lost_the_focus_is_typed() -> None:
    async with editing("a") as (app, pilot):
        app.post_message(events.AppBlur())
        burst(app, "b", "enter")

        await until_quiet(app, pilot, "ab")
        assert app.main.ran == ["ab"]


async def test_a_pasted_text_runs_nothing_and_keeps_its_lines() -> None:
    async with editing("see: ") as (app, pilot):
        app.post_message(events.Paste("one\r\ntwo\rthree\n"))
        await until_quiet(app, pilot, "see: one\ntwo\nthree\n")

        assert not app.main.ran


async def test_what_a_terminal_obeys_is_neither_pasted_nor_put_back() -> None:
    async with editing("a\x1b[2Jb") as (app, pilot):
        assert app.main.pane.text == "a\N{REPLACEMENT CHARACTER}[2Jb"
        app.post_message(events.Paste("\x1b]52;c;\x07\x9b\ud800"))
        await until_quiet(app, pilot, "a�[2Jb�]52;c;���")
        app.main.pane.put_back("\x1bc")

        assert app.main.pane.text == "�c"


async def test_a_paste_of_a_megabyte_is_taken_as_far_as_there_is_room() -> None:
    async with editing("my prompt. ") as (app, pilot):
        app.post_message(events.Paste("words " * 170_000))
        await pilot.pause()
        text = app.main.pane.text
        assert text == ("my prompt. " + "words " * MAX_CHARACTERS)[:MAX_CHARACTERS]

        await pilot.press("x")
        assert app.main.pane.text == text

        await pilot.press("backspace", "x")
        assert app.main.pane.text == f"{text[:-1]}x"

        app.main.pane.editor.select_all()
        await pilot.press("y")
        assert app.main.pane.text == "y"


@pytest.mark.parametrize(
    ("keys", "after"),
    [
        (["ctrl+left", "|"], "a small |dog"),
        (["alt+left", "alt+left", "|"], "a |small dog"),
        (["home", "alt+right", "|"], "a| small dog"),
        (["home", "ctrl+right", "ctrl+right", "|"], "a small| dog"),
        (["ctrl+w", "|"], "a small |"),
        (["alt+backspace", "|"], "a small |"),
        (["home", "alt+d", "|"], "| small dog"),
        (["home", "ctrl+delete", "|"], "| small dog"),
        (["alt+shift+left", "|"], "a small |"),
        (["home", "alt+shift+right", "|"], "| small dog"),
        (["alt+a", "|"], "|"),
        (["ctrl+a", "|"], "|a small dog"),
        (["ctrl+u", "|"], "|"),
        (["x", "ctrl+w", "ctrl+z", "|"], "a small dogx|"),
        (["ctrl+w", "ctrl+z", "ctrl+y", "|"], "a small |"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
async def test_a_key_edits_as_in_other_editors(keys: list[str], after: str) -> None:
    async with editing("a small dog") as (app, pilot):
        await pilot.press(*keys)

        assert app.main.pane.text == after


async def test_a_letter_with_alt_is_no_text() -> None:
    async with editing("a") as (app, pilot):
        app.post_message(events.Key("alt+q", "q"))  # what most terminals' ESC q becomes
        burst(app, "b")

        await until_quiet(app, pilot, "ab")


async def test_a_key_that_has_nothing_to_do_here_goes_on_to_the_app() -> None:
    async with editing("a") as (app, pilot):
        await pilot.press("ctrl+c")  # there is nothing to copy: the app says how to quit
        assert len(app._notifications) == 1

        await pilot.press("alt+a", "ctrl+c")
        assert app.clipboard == "a"
        assert len(app._notifications) == 1


async def test_escape_leaves_the_editor() -> None:
    async with editing("a") as (app, pilot):
        await pilot.press("escape", "b")

        assert not app.main.pane.has_focus_within
        assert app.main.pane.text == "a"


async def test_every_key_has_an_id_of_its_own_and_leaves_the_panes_keys_alone() -> None:
    bindings = (*PROMPT_KEYS, *EDITING_KEYS, *PANE_KEYS, *PROMPT_SCREEN_KEYS)
    ids = [binding.id for binding in bindings]
    keys = [key for binding in bindings for key in binding.key.split(",")]

    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert len(set(keys)) == len(keys)
    assert not {"f1", "f3", "f5", "f6", "f7", "f9", "ctrl+g", "ctrl+p", "ctrl+q", "tab"} & set(keys)


async def test_an_editing_key_can_be_moved() -> None:
    async with editing("a small dog", {"editor-delete-word-left": "f4"}) as (app, pilot):
        await pilot.press("f4", "ctrl+w")

        assert app.main.pane.text == "a small "


async def test_put_back_is_undone_at_once_whatever_was_typed_before_and_after() -> None:
    async with editing() as (app, pilot):
        await pilot.press(*"cat", "backspace")
        app.main.pane.editor.put_back("b")  # undo would else join a deletion with the next one of a single character
        await pilot.press("backspace")
        seen = [app.main.pane.text]
        for _ in range(3):
            await pilot.press("ctrl+z")
            seen.append(app.main.pane.text)

        assert seen == ["", "b", "ca", "cat"]


@pytest.mark.parametrize("size", [(80, 24), (46, 12), (30, 9)])
@pytest.mark.parametrize("has_negative", [False, True])
async def test_an_undo_and_a_redo_may_take_the_scrollbar_away(size: tuple[int, int], has_negative: bool) -> None:
    long = "a\nlonger line\n" * 50
    async with editing(size=size) as (app, pilot):
        app.main.pane.show_negative(has_negative)
        editor = app.main.pane.negative_editor if has_negative else app.main.pane.editor
        editor.focus()
        app.post_message(events.Paste(long))
        await pilot.pause()
        seen = []
        for keys in (["ctrl+z"], ["ctrl+y"], ["alt+a", "ctrl+x"], ["ctrl+z"], ["ctrl+y"]):
            await pilot.press(*keys)
            seen.append((editor.text, editor.show_vertical_scrollbar))
        assert seen == [("", False), (long, True), ("", False), (long, True), ("", False)]

        await pilot.press(*["ctrl+j", "x"] * 20)
        assert editor.show_vertical_scrollbar
        await pilot.resize_terminal(size[0] + 3, size[1] + 3)
        await pilot.press(*["ctrl+z"] * 40)
        editor.put_back(long)
        await pilot.press("ctrl+z")
        assert not editor.show_vertical_scrollbar and editor.cursor_location == editor.document.end


async def test_the_editor_sends_nothing_while_nobody_types() -> None:
    async with editing() as (app, _):
        assert [editor.cursor_blink for editor in app.main.pane.query(PromptEditor)] == [False, False]


def until_it_listens(terminal: Terminal) -> None:
    """Until an "a" that was typed is there: before, Enter would be a new line, like all that comes too early."""
    terminal.until(lambda: "Prompt" in terminal.text())
    terminal.press("a")
    terminal.until(lambda: "\N{BOX DRAWINGS LIGHT VERTICAL} a" in terminal.text())


def test_a_real_terminal_pastes_breaks_lines_and_runs(tmp_path: Path) -> None:
    with Terminal([str(APP), str(tmp_path / "log")], ROOT) as terminal:
        until_it_listens(terminal)
        terminal.press("\x7f\x1b[200~one\ntwo\x1b[201~")
        terminal.press("\nthree\x1b[27;2;13~four five\x1b[1;3D\x1bdsix\r gone")

        terminal.until(lambda: "ran 1" in terminal.text() and "six gone" in terminal.text())

        assert r"ran 1: 'one\ntwo\nthree\nfour six'" in terminal.text()


def test_keys_of_one_burst_reach_the_picker_that_the_first_one_opens(tmp_path: Path) -> None:
    with Terminal([str(APP), str(tmp_path / "log")], ROOT) as terminal:
        until_it_listens(terminal)
        terminal.press("\x12house\r\r more")

        terminal.until(lambda: "ran 1" in terminal.text() and "woods more" in terminal.text())

        assert r"ran 1: 'a wooden\nhouse in the woods'" in terminal.text()


async def test_the_picker_covers_the_editor_and_gives_the_focus_back() -> None:
    async with editing("a") as (app, pilot):
        await pilot.press("ctrl+r")
        assert isinstance(app.screen, Picker)
        await pilot.press("escape", "b")

        assert app.main.pane.text == "ab"
