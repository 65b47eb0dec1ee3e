"""Notations of other tools are told from plain parentheses."""

from __future__ import annotations

import pytest

from flux_tui.literal_weights import literal_weights


@pytest.mark.parametrize(
    ("prompt", "named"),
    [
        ("a (word:1.2) here", "(word:1.2)"),
        ("a (dark red:.5) here", "(dark red:.5)"),
        ("a (word: -2 ) here", "(word: -2 )"),
        ("a ((word)) here", "((word))"),
        ("an [old] boat", "[old]"),
        ("sky <lora:name:0.8>", "<lora:name:0.8>"),
        ("sky, BREAK, sea", "BREAK"),
        ("sky\nBREAK\nsea", "BREAK"),
        ("[later] (word:1.2)", "[later]"),
        ("one (plain) and one (word:1.2)", "(word:1.2)"),
        ("(many words in a row, more than fit:1.3)", "(many words in a row,…"),
        ("a [bad \x1b[2J thing]", "[2J thing]"),
        ('"quoted [words]" and [others]', "[others]"),
    ],
)
def test_the_first_notation_of_another_tool_is_named(prompt: str, named: str) -> None:
    hint = literal_weights(prompt)

    assert hint is not None
    assert hint.startswith(f"FLUX reads {named} literally; ")


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "(a small dog)",
        "a picture (16:9) at noon (12:30)",
        "colours: red, blue",
        "BREAKFAST at a windBREAK",
        r"\(word:1.2\)",
        'a sign that says "[OPEN]"',
        "a sign that says “(word:1.2)”",
        "if a < b and c > d",
        "((((",
    ],
)
def test_plain_words_and_words_to_be_written_get_no_hint(prompt: str) -> None:
    assert literal_weights(prompt) is None


def test_the_advice_is_about_what_was_found() -> None:
    assert literal_weights("(word:1.2)") == "FLUX reads (word:1.2) literally; say it in words."
    assert literal_weights("<lora:a:1>") == "FLUX reads <lora:a:1> literally; a prompt loads nothing."
    assert literal_weights("a BREAK b") == "FLUX reads BREAK literally; it reads the prompt as one."
