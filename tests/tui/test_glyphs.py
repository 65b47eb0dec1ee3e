"""The signs: each one cell, each with a twin of ASCII."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from rich.cells import cell_len

from flux_tui.glyphs import Glyphs, glyphs


@pytest.mark.parametrize("ascii", [False, True])
def test_every_sign_is_one_cell_wide(ascii: bool) -> None:
    wide = {name: sign for name, sign in asdict(glyphs(ascii)).items() if len(sign) != 1 or cell_len(sign) != 1}
    assert not wide


def test_the_twins_are_printable_ascii_and_the_others_are_not() -> None:
    assert all(sign.isascii() and sign.isprintable() and sign != " " for sign in asdict(glyphs(True)).values())
    assert not any(sign.isascii() for sign in asdict(glyphs(False)).values())


@pytest.mark.parametrize("signs", [glyphs(False), glyphs(True)])
def test_signs_that_stand_in_each_others_place_differ(signs: Glyphs) -> None:
    for group in (
        ("running", "done", "failed", "cancelled", "paused"),
        ("bar_done", "bar_left"),
        ("star", "unstarred"),
        ("up", "down", "left", "right"),
    ):
        assert len({getattr(signs, name) for name in group}) == len(group), group
