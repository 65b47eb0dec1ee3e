"""tmux is asked by its command: a real one where there is one, and scripts that answer as others do."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flux_tui.terminal import tmux
from flux_tui.terminal.tmux import Tmux
from tests.tui.scripted import RealTmux, fake_tmux

SAYS = "echo '3.3a|/dev/pts/7|xterm-256color|kitty(0.35.2)|1|10|20|clipboard,RGB|{}'"


def test_a_real_tmux_tells_of_the_terminal_around_it_and_takes_a_code_out_to_it(tmp_path: Path) -> None:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed; the scripts below stand for it")
    with RealTmux(tmp_path) as real:
        said = tmux.ask(real.env)
        assert said and said.outer == "kitty(0.35.2)" and said.cell_px == (10, 20)
        assert said.version in real.run("-V") and said.true_colour and said.utf8
        assert not said.passthrough
        real.run("set", "-g", "allow-passthrough", "on")
        said = tmux.ask(real.env)
        assert said and said.passthrough
        code = "\x1b]777;notify;a;\N{SNOWMAN}\x1b\\"
        with open(real.run("list-panes", "-F#{pane_tty}"), "w", encoding="utf-8") as pane:
            pane.write(tmux.through(code))
        real.read_until(lambda: code.encode() in real.shown)


@pytest.mark.parametrize(
    ("value", "passthrough"), [("1", True), ("on", True), ("all", True), ("0", False), ("off", False)]
)
def test_passthrough_is_read_as_any_version_writes_it(tmp_path: Path, value: str, passthrough: bool) -> None:
    expected = Tmux("3.3a", "kitty(0.35.2)", frozenset({"clipboard", "RGB"}), True, passthrough, True, (10, 20))
    assert tmux.ask(fake_tmux(tmp_path, SAYS.format(value))) == expected


def test_a_detached_tmux_knows_no_terminal(tmp_path: Path) -> None:
    expected = Tmux("3.3a", "", frozenset(), False, False, True, None)
    assert tmux.ask(fake_tmux(tmp_path, "echo '3.3a|||||||||0'")) is None
    assert tmux.ask(fake_tmux(tmp_path, "echo '3.3a||||||||0'")) == expected


@pytest.mark.parametrize(
    ("tty", "capability", "true_colour"),
    [
        ("/dev/pts/7", "(string) \\\\033[38:2:%p1%d", True),
        ("/dev/pts/7", "[missing]", False),
        ("/dev/pts/77", "(string) \\\\033[38:2:%p1%d", False),
    ],
)
def test_true_colour_is_read_from_the_terminals_description_too(
    tmp_path: Path, tty: str, capability: str, true_colour: bool
) -> None:
    terminals = f"Terminal 0: xterm for /dev/pts/1, flags=0x0:\nTerminal 1: xterm-kitty for {tty}, flags=0x30:\n"
    listing = f"{terminals} 207: setrgbf: {capability}\n"
    says = f"case $1 in show-messages) printf '%s' '{listing}';; *) {SAYS.format('1').replace(',RGB', '')};; esac"
    said = tmux.ask(fake_tmux(tmp_path, says))
    assert said and said.true_colour == true_colour and "RGB" not in said.features


@pytest.mark.parametrize(
    ("answer", "status"), [("true", 0), ("echo no server running", 0), (SAYS.format("1"), 1), ("echo '|||||||||||'", 0)]
)
def test_an_answer_in_other_words_is_none(tmp_path: Path, answer: str, status: int) -> None:
    assert tmux.ask(fake_tmux(tmp_path, answer, status)) is None


def test_a_tmux_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tmux, "PATIENCE_S", 0.05)
    assert tmux.ask(fake_tmux(tmp_path, "exec sleep 600")) is None


def test_without_tmux_there_is_no_answer(tmp_path: Path) -> None:
    assert tmux.ask({"TMUX": "/nowhere,1,0", "PATH": str(tmp_path)}) is None


def test_a_terminals_name_brings_no_control_characters(tmp_path: Path) -> None:
    said = tmux.ask(fake_tmux(tmp_path, "printf '3.3a||xterm|evil\\033[31m\\007|1|10|20||1\\n'"))
    assert said and said.outer == "evil[31m"
