"""Notices are one escape code each, and nothing in them can end it early."""

from __future__ import annotations

import re

import pytest

from flux_tui.terminal import tmux
from flux_tui.terminal.notify import BELL, NoticeKind, notice

EVIL = "a\x07b\x1b]52;c;AAAA\x1b\\\x9c\x9d\r\n\tc\x00\x7f\ud800d"


def test_off_is_nothing_and_a_bell_is_a_bell() -> None:
    assert notice("off", "flux-tui", "done") == ""
    assert notice("bell", "flux-tui", "done") == notice("bell", "", "", passthrough=True) == "\x07"


def test_the_two_notifications_have_their_form() -> None:
    assert notice("osc9", "flux-tui", "4 pictures") == "\x1b]9;flux-tui: 4 pictures\x07"
    assert notice("osc9", "", "done") == "\x1b]9;done\x07"
    assert notice("osc777", "flux-tui", "4 pictures") == "\x1b]777;notify;flux-tui;4 pictures\x07"


@pytest.mark.parametrize("kind", ["osc9", "osc777"])
def test_text_from_elsewhere_cannot_end_the_code(kind: NoticeKind) -> None:
    code = notice(kind, EVIL, EVIL)
    inner = code.removeprefix("\x1b]").removesuffix(BELL)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", inner)
    assert inner.count(";") == (3 if kind == "osc777" else 1)
    assert "a b ]52,c,AAAA \\ c d" in inner


def test_a_text_that_is_a_command_elsewhere_is_none_here() -> None:
    assert notice("osc9", "", "4;1;50") == "\x1b]9;4,1,50\x07"


def test_a_long_prompt_is_cut() -> None:
    code = notice("osc777", "flux-tui", "hill " * 200_000)
    assert len(code) < 250 and code.endswith("…\x07")


@pytest.mark.parametrize("kind", ["osc9", "osc777"])
def test_through_tmux_it_is_wrapped(kind: NoticeKind) -> None:
    assert notice(kind, "a", "b", passthrough=True) == tmux.through(notice(kind, "a", "b"))
