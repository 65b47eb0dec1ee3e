"""`flux-tui keys` in a real pseudo-terminal: bytes in, their names out, and a terminal that is as it was at the end."""

from __future__ import annotations

import os
import signal
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from flux_tui import command_line as tui_main
from tests.tui.terminal import Terminal

ROOT = Path(__file__).parents[2]
CTRL_C, CTRL_D = "\x03", "\x04"
WITHOUT_TEXTUAL = """
import sys
sys.modules["textual._xterm_parser"] = None
from flux_tui.__main__ import main
sys.exit(main(["keys"]))
"""


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    with Terminal(["-m", "flux_tui", "keys"], cwd=ROOT) as terminal:
        terminal.until(lambda: "Ctrl+C twice, or Ctrl+D, ends" in terminal.text())
        yield terminal


def lines(terminal: Terminal) -> list[list[str]]:
    """What is shown for each press: bytes, names."""
    return [line.split() for line in terminal.screen.display[1:] if line.strip()]


def is_line_wise(terminal: Terminal) -> bool:
    """Whether the terminal gathers lines, echoes them and turns Ctrl+C into a signal, as it does for a shell."""
    flags = termios.tcgetattr(terminal.master)[3]
    return all(flags & flag for flag in (termios.ICANON, termios.ECHO, termios.ISIG))


def is_restored(terminal: Terminal) -> bool:
    return is_line_wise(terminal) and all(code in terminal.raw for code in (b"\x1b[<u", b"\x1b[?2004l"))


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("a", ["a", "a"]),
        ("\x1b[15~", [r"\x1b[15~", "f5"]),
        ("\x1bOP", [r"\x1bOP", "f1"]),
        ("\x1b[13;5u", [r"\x1b[13;5u", "ctrl+enter"]),
        ("\r", [r"\r", "enter"]),
        ("\x1b", [r"\x1b", "escape"]),
        ("\x1bx", [r"\x1bx", "alt+x"]),
        ("é", [r"\xc3\xa9", "é"]),
        ("\x1b[200~two\nlines\x1b[201~", [r"\x1b[200~two\nlines\x1b[201~", "paste", "of", "9", "signs"]),
    ],
)
def test_a_key_is_shown_with_its_bytes_and_its_name(terminal: Terminal, sent: str, shown: list[str]) -> None:
    assert not is_line_wise(terminal)
    terminal.press(sent)
    terminal.until(lambda: lines(terminal) == [shown])
    terminal.press(CTRL_D)
    assert terminal.end() == 0
    assert is_restored(terminal)


def test_ctrl_c_ends_at_the_second_time_in_a_row(terminal: Terminal) -> None:
    for sent, count in ((CTRL_C, 1), ("b", 2), (CTRL_C, 3)):
        terminal.press(sent)
        terminal.until(lambda count=count: len(lines(terminal)) == count)
    assert [names for _, *names in lines(terminal)] == [["ctrl+c"], ["b"], ["ctrl+c"]]
    terminal.press(CTRL_C)
    assert terminal.end() == 0
    assert is_restored(terminal)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_restores_the_terminal(terminal: Terminal, number: signal.Signals) -> None:
    os.kill(terminal.process.pid, number)
    assert terminal.end() == 128 + number
    assert is_restored(terminal)


def test_without_textuals_parser_bytes_alone_are_shown() -> None:
    with Terminal(["-c", WITHOUT_TEXTUAL], cwd=ROOT) as terminal:
        terminal.until(lambda: "bytes alone are shown" in terminal.text() and "ends." in terminal.text())
        terminal.press("\x1b[15~")
        terminal.until(lambda: [r"\x1b[15~"] in lines(terminal))
        terminal.press(CTRL_C)
        terminal.until(lambda: [r"\x03"] in lines(terminal))
        terminal.press(CTRL_C)
        assert terminal.end() == 0
        assert is_line_wise(terminal) and b"\x1b[>25u" not in terminal.raw


def test_pressing_keys_needs_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert tui_main.main(["keys"]) == 1
    assert "needs a terminal" in capsys.readouterr().err


def test_the_list_has_every_action_with_the_id_that_the_config_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert tui_main.main(["keys", "--list"]) == 0
    lines = capsys.readouterr().out.split("\n")
    assert all(line.isprintable() for line in lines)
    rows = {line.split()[0]: line for line in lines if line}
    assert {"generate", "cancel", "palette", "quit", "recall-all", "star"} <= set(rows)
    assert "f5" in rows["generate"]
    assert not [name for name in rows if "." in name]
