"""Every action can be found by name, reached by key, and bound to other keys."""

from __future__ import annotations

import threading

import pytest

from flux_tui import paths
from flux_tui.gallery import Gallery
from flux_tui.keys import all_bindings, keymap
from flux_tui.launch import Launch
from flux_tui.terminal.abilities import Abilities
from flux_tui.widgets.key_footer import KeyFooter
from tests.tui.driver import running
from tests.tui.fakes import FakeEngine


async def test_every_action_has_an_id_a_tooltip_and_a_place_in_the_palette(gallery: Gallery) -> None:
    bindings = [binding for of_pane in all_bindings().values() for binding in of_pane]
    for of_pane in all_bindings().values():  # two panes may share one: the history and the picture do
        assert len({binding.id for binding in of_pane}) == len(of_pane)
    assert {binding.id for binding in bindings} <= {binding.id for binding in keymap()}
    async with running(gallery) as driver:
        commands = {command.help for command in driver.app.get_system_commands(driver.screen)}
        for binding in bindings:
            if binding.tooltip and binding.id not in ("palette", "cancel-outside-editor"):
                assert binding.tooltip in commands, binding


async def test_the_palette_runs_what_it_finds(gallery: Gallery) -> None:
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine) as driver:
        await driver.press("x", "f5")
        await driver.until(engine.started.is_set)
        for key in ("ctrl+p", "escape", "f2"):
            await driver.press(key)
            await driver.until(lambda key=key: ("Search for commands" in driver.screen_text()) == (key != "escape"))
        await driver.press(*"cancel", "enter")
        await driver.until(lambda: driver.app.screen is driver.screen)
        await driver.until(lambda: "cancelling" in driver.screen.stage.text)


async def test_keys_are_those_of_the_config(gallery: Gallery) -> None:
    config = '[keys]\ngenerate = "f12"\ncancel-job = "c"\nzoom = ""\n'
    async with running(gallery, config=config, size=(120, 200)) as driver:
        await driver.press("x", "f5", "f3")
        assert driver.engine.requests == [] and not driver.screen.is_zoomed
        await driver.press("f12")
        await driver.done()
        assert len(driver.engine.requests) == 1
        await driver.press("escape", "question_mark")
        await driver.until(lambda: "Paint the prompt" in driver.screen_text())
        line = next(line for line in driver.screen_text().splitlines() if "Paint the prompt" in line)
        assert "F12" in line and "F5" not in line


async def test_keys_that_clash_or_cannot_be_typed_any_more_are_named(gallery: Gallery) -> None:
    async with running(gallery, config='[keys]\nzoom = "f5"\nhelp = "a"\nquit = ""\n') as driver:
        for words in ("zoom: f5 is also the key of generate", "help: a could not be typed", "quit has no key"):
            assert any(words in note for note in driver.notes), words


@pytest.mark.parametrize(("config", "way"), [("", "Ctrl+Q"), ('[keys]\nquit = ""\n', "the palette")])
async def test_to_one_who_presses_ctrl_c_it_is_said_what_ends_the_program(
    gallery: Gallery, config: str, way: str
) -> None:
    async with running(gallery, config=config) as driver:
        await driver.press("escape", "ctrl+c")
        assert driver.notes[-1] == f"End the program with {way}."


async def test_hints_name_the_keys_of_the_config(gallery: Gallery) -> None:
    config = '[app]\nenter_generates = false\n[keys]\ngenerate = "f12"\n'
    async with running(gallery, config=config) as driver:
        assert "then press F12." in driver.screen.stage.text
        assert driver.status == "Ctrl+J paints, Enter breaks the line."


async def test_a_config_with_faults_names_them_and_the_rest_holds(gallery: Gallery) -> None:
    config = '[app]\nthem = "x"\nenter_generates = false\n[keys]\ngenerat = "f12"\n'
    async with running(gallery, config=config) as driver:
        assert any("did you mean theme?" in note for note in driver.notes)
        await driver.press("x", "enter", "y")
        assert driver.screen.prompt.text == "x\ny"


async def test_the_theme_is_the_command_lines_or_the_configs_where_a_chosen_one_is_kept(gallery: Gallery) -> None:
    config = '[app]\ntheme = "flux-light"  # mine\n'
    async with running(gallery, config=config) as driver:
        assert driver.app.theme == "flux-light"
        driver.app.theme = "nord"
        await driver.until(lambda: paths.config_file().read_text() == '[app]\ntheme = "nord"  # mine\n')
    async with running(gallery, launch=Launch(theme="flux-contrast")) as driver:
        assert driver.app.theme == "flux-contrast"
    async with running(gallery) as driver:
        assert driver.app.theme == "nord"  # the command line's was for once
    async with running(gallery, launch=Launch(theme="nonsense")) as driver:
        assert driver.app.theme == "flux-dark"
        assert any("no theme 'nonsense'" in note for note in driver.notes)


async def test_the_footer_runs_what_is_clicked(gallery: Gallery) -> None:
    async with running(gallery) as driver:
        await driver.press("x")
        footer = driver.screen.query_one(KeyFooter)
        await driver.until(lambda: "F5 Paint" in driver.screen_text())
        await driver.pilot.click(footer, offset=(3, 0))
        await driver.done()
        assert len(driver.engine.requests) == 1


async def test_many_faults_are_one_message_and_the_help_has_them_all(gallery: Gallery) -> None:
    lines = [f"wrong{number} = 1" for number in range(5)]
    async with running(gallery, config="[app]\n" + "\n".join(lines), launch=Launch(theme="flux-drak")) as driver:
        (note,) = driver.notes
        assert note.splitlines()[0].startswith("config.toml, line 2: [app] wrong0 is unknown")
        assert note.endswith("And 3 more. F1 lists all.")
        await driver.press("f1")
        await driver.until(lambda: "To be mended" in driver.screen_text())
        words = " ".join(driver.screen_text().split())
        assert "config.toml, line 6" in words and "did you mean flux-dark?" in words


async def test_what_the_terminal_lacks_is_said_once_where_it_covers_nothing(gallery: Gallery) -> None:
    abilities = Abilities(colours="256", notes=("Only 256 colours: set COLORTERM=truecolor.",))
    async with running(gallery, abilities=abilities) as driver:
        await driver.until(lambda: driver.status == "Only 256 colours. F1 tells more.")
        assert driver.notes == []
        await driver.press("f1")
        await driver.until(lambda: "set COLORTERM=truecolor." in driver.screen_text())


@pytest.mark.parametrize("size", [(80, 24), (44, 16)])
async def test_ascii_holds_for_help_palette_and_questions_too(gallery: Gallery, size: tuple[int, int]) -> None:
    engine = FakeEngine(gate=threading.Semaphore(0))
    async with running(gallery, engine, size=size, config="[app]\nascii = true\n") as driver:
        await driver.press("x", "f5")
        await driver.until(engine.started.is_set)
        for key in ("f1", "ctrl+p", "ctrl+q", "ctrl+o", "ctrl+l"):
            await driver.press(key)
            await driver.until(lambda: driver.app.screen is not driver.screen)
            await driver.until(driver.screen_text().isascii)
            await driver.press("escape")
            await driver.until(lambda: driver.app.screen is driver.screen)
        driver.app.search_themes()
        await driver.until(lambda: "Search for themes" in driver.screen_text())
        assert driver.screen_text().isascii()
        await driver.press("escape")
        driver.screen.status.say("words " * 40)
        await driver.until(lambda: "words words" in driver.screen_text())
        assert driver.screen_text().isascii()


async def test_actions_without_a_key_of_their_own_get_one_from_the_config(gallery: Gallery) -> None:
    config = '[keys]\nreset-settings = "f11"\nsave-preset = "f12"\n'
    async with running(gallery, config=config) as driver:
        driver.put("num_steps", "7")
        await driver.press("f11")
        await driver.until(lambda: driver.field("num_steps") != "7")
        await driver.press("f12")
        await driver.until(lambda: driver.app.screen is not driver.screen)
        assert driver.notes == []
