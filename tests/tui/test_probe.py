"""Terminals on real pseudo-terminals say what they can do: at once, in pieces, late, never, with keys mixed in."""

from __future__ import annotations

import os
import signal
import termios
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flux_tui.terminal import probe as probing
from flux_tui.terminal.abilities import Abilities, best_graphics, judge
from flux_tui.terminal.answers import FENCE, Answers, read_answers, text_in
from flux_tui.terminal.colour import depth
from flux_tui.terminal.probe import drain, probe
from tests.tui.scripted import ScriptedTerminal, fake_tmux

KITTY = b"\x1bP>|kitty(0.35.2)\x1b\\\x1b[6;20;10t\x1b_Gi=31;OK\x1b\\\x1b[?62;52;c"
XTERM = b"\x1bP>|XTerm(390)\x1b\\\x1b[6;13;6t\x1b[?63;1;2;4;6;9;15;22c"
TMUX = b"\x1bP>|tmux 3.3a\x1b\\\x1b[?1;2c"
ENV = {"TERM": "xterm-256color"}
TMUX_SAYS = "echo '3.3a|/dev/pts/7|xterm-kitty|{kind}|{utf8}|8|17|bpaste{features}|{passthrough}'"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Answers count, not how busy the machine is: a test that waits for nothing shortens it again."""

    def last(seconds: float) -> None:
        monkeypatch.setattr(probing, "PATIENCE_S", seconds)
        monkeypatch.setattr(probing, "SSH_PATIENCE_S", seconds)

    last(30.0)
    return last


def ask(script: Callable[[ScriptedTerminal], None], env: dict[str, str] | None = None) -> Abilities:
    """What is known of a terminal that behaves like `script`; its line is as it was afterwards."""
    with ScriptedTerminal(script) as terminal:
        abilities = probe(terminal.slave, terminal.slave, ENV if env is None else env, encoding="utf-8")
        assert termios.tcgetattr(terminal.slave) == terminal.before
    return abilities


def test_kitty_answers_everything_at_once() -> None:
    abilities = ask(lambda terminal: terminal.say(KITTY))
    assert abilities.kitty and abilities.placeholders and abilities.true_colour and not abilities.sixel
    assert (abilities.name, abilities.cell_px, abilities.colours) == ("kitty(0.35.2)", (10, 20), "truecolor")
    assert abilities.rtt_s is not None and abilities.typed == b"" and abilities.notes == ()
    assert best_graphics(abilities) == ("kitty", "")


def test_xterm_answers_that_it_has_sixel_and_keeps_quiet_about_kitty() -> None:
    abilities = ask(lambda terminal: terminal.say(XTERM))
    assert abilities.sixel and not abilities.kitty and abilities.cell_px == (6, 13)
    assert abilities.colours == "256" and "COLORTERM" in abilities.notes[0]
    assert best_graphics(abilities) == ("half256", "")
    assert best_graphics(abilities, "sixel") == ("sixel", "")


def test_all_questions_go_out_at_once_and_no_answer_is_echoed() -> None:
    with ScriptedTerminal(lambda terminal: terminal.say(KITTY)) as terminal:
        probe(terminal.slave, terminal.slave, ENV)
        iflag, _, _, lflag, *_ = terminal.settings
        assert not lflag & (termios.ECHO | termios.ICANON) and not iflag & termios.ICRNL
        assert lflag & termios.ISIG
        os.write(terminal.slave, b"end")
        echoed = os.read(terminal.master, 4096)
    assert terminal.heard.count(FENCE) == 1 and terminal.heard.endswith(FENCE)
    assert echoed == b"end"


def test_answers_come_in_pieces() -> None:
    pieces = [KITTY[start : start + 3] for start in range(0, len(KITTY), 3)]
    whole = ask(lambda terminal: terminal.say(KITTY))
    assert replace(ask(lambda terminal: terminal.say(*pieces)), rtt_s=whole.rtt_s) == whole


def test_keys_pressed_meanwhile_are_kept_in_order() -> None:
    pieces = (b"a", KITTY[:5], KITTY[5:20], KITTY[20:-3], KITTY[-3:] + b"\x1b[A\r")
    abilities = ask(lambda terminal: terminal.say(*pieces))
    assert abilities.kitty and abilities.typed == b"a\x1b[A\r"


def test_a_terminal_that_never_answers_is_waited_for_and_no_longer(patience: Callable[[float], None]) -> None:
    patience(0.05)
    abilities = ask(lambda terminal: None)
    assert abilities.rtt_s is None and abilities.name == "" and not abilities.kitty
    assert "did not answer" in abilities.notes[0]
    assert best_graphics(abilities) == ("half256", "")


def test_over_ssh_more_patience_is_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "PATIENCE_S", 0.0)
    assert not ask(lambda terminal: None).kitty
    abilities = ask(lambda terminal: terminal.say(KITTY), {**ENV, "SSH_CONNECTION": "1.2.3.4 5 6.7.8.9 22"})
    assert abilities.kitty and abilities.ssh


def test_an_answer_after_the_patience_is_drained_and_the_keys_beside_it_are_not(
    patience: Callable[[float], None],
) -> None:
    patience(0.05)
    with ScriptedTerminal(lambda terminal: None) as terminal:
        assert probe(terminal.slave, terminal.slave, ENV).rtt_s is None
        terminal.interject(XTERM + b"x")
        assert drain(terminal.slave) == b"x"
        assert drain(terminal.slave) == b""
        assert termios.tcgetattr(terminal.slave) == terminal.before


def test_a_terminal_that_hangs_up_is_no_fault() -> None:
    with ScriptedTerminal(lambda terminal: terminal.hang_up()) as terminal:
        assert probe(terminal.slave, terminal.slave, ENV).rtt_s is None


def test_ctrl_c_interrupts_and_the_line_is_restored() -> None:
    main = threading.main_thread().ident
    assert main is not None
    with ScriptedTerminal(lambda terminal: signal.pthread_kill(main, signal.SIGINT)) as terminal:
        with pytest.raises(KeyboardInterrupt):
            probe(terminal.slave, terminal.slave, ENV)
        assert termios.tcgetattr(terminal.slave) == terminal.before
        assert terminal.settings != terminal.before


@pytest.mark.parametrize("term", ["", "dumb"])
def test_a_terminal_that_obeys_nothing_is_asked_nothing(term: str) -> None:
    with ScriptedTerminal(lambda terminal: None) as terminal:
        abilities = probe(terminal.slave, terminal.slave, {"TERM": term})
        assert terminal.heard == b""
    assert abilities.colours == "none" and best_graphics(abilities)[0] == "text"


def test_a_pipe_is_asked_nothing() -> None:
    read_end, write_end = os.pipe()
    assert probe(read_end, write_end, ENV).rtt_s is None
    assert drain(read_end) == b""
    os.close(write_end)
    assert os.read(read_end, 1) == b""
    os.close(read_end)


def test_the_linux_console_is_asked_for_the_fence_only() -> None:
    with ScriptedTerminal(lambda terminal: terminal.say(b"\x1b[?6c")) as terminal:
        abilities = probe(terminal.slave, terminal.slave, {"TERM": "linux"})
        assert terminal.heard == FENCE
    assert abilities.colours == "16" and abilities.rtt_s is not None


@pytest.mark.parametrize("env", [{"TERM": "screen-256color"}, {**ENV, "ZELLIJ": "0"}, {**ENV, "STY": "1.pts-0"}])
def test_no_multiplexer_is_asked_for_pictures(env: dict[str, str]) -> None:
    with ScriptedTerminal(lambda terminal: terminal.say(b"\x1b[?1;2c")) as terminal:
        probe(terminal.slave, terminal.slave, env)
        assert b"_G" not in terminal.heard and b"\x1b[>q" in terminal.heard


def test_tmux_is_not_asked_for_pictures_whatever_it_calls_itself(tmp_path: Path) -> None:
    with ScriptedTerminal(lambda terminal: terminal.say(TMUX)) as terminal:
        probe(terminal.slave, terminal.slave, {**fake_tmux(tmp_path, "exit 1"), **ENV})
        assert b"_G" not in terminal.heard


def test_the_size_of_a_cell_comes_from_the_window_where_nothing_answers() -> None:
    with ScriptedTerminal(lambda terminal: terminal.say(b"\x1b[?6c")) as terminal:
        terminal.resize(80, 24, 720, 432)
        assert probe(terminal.slave, terminal.slave, ENV).cell_px == (9, 18)


def in_tmux(folder: Path, kind: str = "", features: str = ",RGB", passthrough: str = "1", utf8: str = "1") -> Abilities:
    says = TMUX_SAYS.format(kind=kind, features=features, passthrough=passthrough, utf8=utf8)
    return ask(lambda terminal: terminal.say(TMUX), fake_tmux(folder, says))


def test_through_tmux_kitty_is_reached_and_tmux_is_not_asked_for_pictures(tmp_path: Path) -> None:
    env = fake_tmux(tmp_path, TMUX_SAYS.format(kind="", features=",RGB", passthrough="1", utf8="1"))
    with ScriptedTerminal(lambda terminal: terminal.say(TMUX)) as terminal:
        abilities = probe(terminal.slave, terminal.slave, env)
        assert b"\x1b_G" not in terminal.heard
    assert abilities.tmux and (abilities.tmux_version, abilities.outer) == ("3.3a", "xterm-kitty")
    assert abilities.cell_px == (8, 17) and abilities.notes == ()
    assert best_graphics(abilities) == ("kitty", "")


def test_tmux_that_lets_nothing_through_is_told_how(tmp_path: Path) -> None:
    abilities = in_tmux(tmp_path, kind="ghostty 1.2.0", passthrough="0")
    assert not abilities.kitty and best_graphics(abilities)[0] == "half"
    assert any("set -g allow-passthrough on" in note for note in abilities.notes)
    assert "allow-passthrough" in best_graphics(abilities, "kitty")[1]


def test_tmux_before_3_3_has_no_such_option_and_lets_all_through(tmp_path: Path) -> None:
    assert in_tmux(tmp_path, passthrough="").kitty


def test_another_terminal_around_tmux_gets_half_blocks(tmp_path: Path) -> None:
    abilities = in_tmux(tmp_path, kind="WezTerm 20240203")
    assert not abilities.kitty and best_graphics(abilities) == ("half", "")


def test_tmux_without_rgb_shows_256_colours_whatever_colorterm_says(tmp_path: Path) -> None:
    abilities = in_tmux(tmp_path, features="")
    assert abilities.colours == "256" and "terminal-features ',*:RGB'" in abilities.notes[0]
    assert best_graphics(abilities)[0] == "half256"


def test_tmux_that_writes_no_utf8_gets_text(tmp_path: Path) -> None:
    abilities = in_tmux(tmp_path, utf8="0")
    assert best_graphics(abilities)[0] == "text" and "tmux -u" in abilities.notes[0]


def test_a_tmux_that_fails_is_a_tmux_that_cannot_be_asked(tmp_path: Path) -> None:
    abilities = ask(lambda terminal: terminal.say(TMUX), fake_tmux(tmp_path, "echo nonsense", status=1))
    assert abilities.tmux and not abilities.kitty and "cannot be asked" in abilities.notes[0]


def test_a_tmux_at_the_near_end_of_ssh_is_known_by_its_name() -> None:
    abilities = judge({"TERM": "screen-256color"}, Answers(name="tmux 3.4", attributes=frozenset({4})))
    assert abilities.tmux and not abilities.sixel


@pytest.mark.parametrize("variable", ["STY", "ZELLIJ"])
def test_other_multiplexers_get_half_blocks(variable: str) -> None:
    env = {"TERM": "xterm-256color", "COLORTERM": "truecolor", variable: "0"}
    abilities = judge(env, Answers(kitty=True, attributes=frozenset({4})))
    assert not abilities.kitty and not abilities.sixel
    assert abilities.colours == ("256" if variable == "STY" else "truecolor")


@pytest.mark.parametrize(
    ("env", "name", "colours"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "", "truecolor"),
        ({"TERM": "xterm-256color", "COLORTERM": "24bit"}, "", "truecolor"),
        ({"TERM": "xterm-256color", "COLORTERM": "yes"}, "", "256"),
        ({"TERM": "xterm-kitty"}, "", "truecolor"),
        ({"TERM": "xterm-ghostty"}, "", "truecolor"),
        ({"TERM": "alacritty"}, "", "truecolor"),
        ({"TERM": "foot-extra"}, "", "truecolor"),
        ({"TERM": "wezterm"}, "", "truecolor"),
        ({"TERM": "xterm-direct"}, "", "truecolor"),
        ({"TERM": "xterm-256color"}, "VTE(7600)", "truecolor"),
        ({"TERM": "xterm-256color"}, "iTerm2 3.5.0", "truecolor"),
        ({"TERM": "xterm-256color"}, "XTerm(390)", "256"),
        ({"TERM": "xterm"}, "XTerm(379)", "256"),
        ({"TERM": "xterm"}, "", "16"),
        ({"TERM": "linux"}, "", "16"),
        ({"TERM": "dumb", "COLORTERM": "truecolor"}, "", "none"),
        ({}, "", "none"),
    ],
)
def test_the_colours_follow_from_term_colorterm_and_name(env: dict[str, str], name: str, colours: str) -> None:
    assert depth(env, name) == colours


def test_no_color_is_a_wish_that_leaves_the_ability() -> None:
    abilities = judge({"TERM": "xterm-kitty", "NO_COLOR": "1"}, read_answers(KITTY))
    assert abilities.colours == "none" and abilities.true_colour
    assert best_graphics(abilities) == ("text", "")
    assert best_graphics(abilities, "half") == ("half", "")
    assert best_graphics(abilities, "kitty")[0] == "text" and "NO_COLOR" in best_graphics(abilities, "kitty")[1]
    assert judge({"TERM": "xterm-kitty", "NO_COLOR": ""}, Answers()).colours == "truecolor"


@pytest.mark.parametrize("name", ["kitty(0.26.5)", "WezTerm 20240203-110809", "Konsole 23.08"])
def test_kitty_pictures_without_placeholders_are_used_only_when_asked_for(name: str) -> None:
    abilities = judge(ENV, Answers(name=name, kitty=True))
    assert best_graphics(abilities) == ("half", "") and "not known" in abilities.notes[0]
    assert best_graphics(abilities, "kitty") == ("kitty", "")


@pytest.mark.parametrize(
    ("abilities", "wanted", "got"),
    [
        (Abilities(colours="truecolor", true_colour=True), "kitty", "half"),
        (Abilities(colours="truecolor", true_colour=True), "sixel", "half"),
        (Abilities(colours="truecolor", true_colour=True), "half256", "half256"),
        (Abilities(colours="truecolor", true_colour=True), "text", "text"),
        (Abilities(colours="256"), "half", "half256"),
        (Abilities(colours="16"), "half", "text"),
        (Abilities(colours="truecolor", true_colour=True, utf8=False), "half", "text"),
        (Abilities(colours="truecolor", true_colour=True, utf8=False, sixel=True), "sixel", "sixel"),
    ],
)
def test_what_is_not_there_falls_back_and_says_why(abilities: Abilities, wanted: str, got: str) -> None:
    graphics, reason = best_graphics(abilities, wanted)  # type: ignore[arg-type]
    assert graphics == got and bool(reason) == (wanted != got)


def test_auto_never_takes_sixel() -> None:
    for utf8 in (True, False):
        for colours in ("truecolor", "256", "16", "none"):
            assert best_graphics(Abilities(sixel=True, utf8=utf8, colours=colours))[0] != "sixel"  # type: ignore[arg-type]


def test_the_screens_encoding_decides_about_glyphs() -> None:
    assert judge(ENV, Answers(), encoding="UTF8").utf8
    assert best_graphics(judge(ENV, Answers(), encoding="iso-8859-1"))[0] == "text"


def test_the_class_of_a_terminal_is_none_of_its_attributes() -> None:
    assert read_answers(b"\x1b[?4;6c").attributes == {6}
    assert read_answers(b"\x1b[?62c").attributes == frozenset()


@pytest.mark.parametrize(
    ("heard", "typed"),
    [
        (b"\x1b[6~\x1b[6;5~\x1b", b"\x1b[6~\x1b[6;5~\x1b"),
        (b"q\x1b[?62;4", b"q"),
        (b"\x1bP>|kit", b""),
        (b"\x1b[6;99999999999;1t", b"\x1b[6;99999999999;1t"),
        (b"\x1b[6;0;0t", b""),
        (b"\xff\xfe\x00", b"\xff\xfe\x00"),
    ],
)
def test_answers_and_keys_are_told_apart(heard: bytes, typed: bytes) -> None:
    answered = read_answers(heard)
    assert answered.typed == typed and answered.cell_px is None and answered.attributes is None


def test_a_terminals_name_brings_no_control_characters() -> None:
    assert read_answers(b"\x1bP>|evil\x07\x9b31m\n" + b"x" * 500 + b"\x1b\\").name == ("evil31m" + "x" * 500)[:80]


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        (b"a hill\r", "a hill\n"),
        (b"two\r\nlines\n\tthree", "two\nlines\n\tthree"),
        (b"\x1b[A\x1b[1;5D\x1b[15~\x1bOPup", "up"),
        (b"\x1b[200~pasted\x1b[201~", "pasted"),
        (b"wrng\x7f\x7fong\x08\x08\x08\x08\x08\x08right", "right"),
        (b"\x1bd\x03\x07\x00d", "d"),
        (b"\x1b]11;rgb:0000/0000/0000\x1b\\t\x1b]0;x\x07o", "to"),
        ("h\u00fcgel \u4e18".encode() + b"\xe4\xb8", "h\u00fcgel \u4e18"),
        (b"a\x1b", "a"),
    ],
)
def test_of_keys_typed_early_the_text_is_kept(typed: bytes, text: str) -> None:
    assert text_in(typed) == text
