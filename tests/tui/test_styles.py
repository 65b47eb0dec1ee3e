"""Styles: they come from the program, a table and files, and only the place of the prompt means anything in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from flux_engine.request import GenerationRequest
from flux_tui.styles import BUILT_IN, apply, matching, styles


def test_the_built_in_styles_take_a_prompt_and_come_in_order() -> None:
    found, faults = styles(Path("/nowhere"))
    assert (found, faults) == (BUILT_IN, [])
    assert list(found) == sorted(found)
    for text in found.values():
        assert apply(text, "a hill").count("a hill") == 1
        GenerationRequest(prompt=apply(text, "a hill"))


def test_a_files_style_goes_before_the_tables_and_that_before_the_built_in_one(tmp_path: Path) -> None:
    (tmp_path / "styles.toml").write_text('ink = "{prompt} in ink"\n"my own" = "mine"\npen = "table"')
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "pen.txt").write_text("\ufeffa pen drawing\nof {prompt}\n")
    (tmp_path / "styles" / "notes.md").write_text("no style")
    found, faults = styles(tmp_path)
    assert faults == []
    assert (found["ink"], found["my own"], found["pen"]) == ("{prompt} in ink", "mine", "a pen drawing\nof {prompt}")
    assert found["photo"] == BUILT_IN["photo"]
    assert set(found) == set(BUILT_IN) | {"my own", "pen"}


def test_a_style_that_is_wrong_says_so_in_a_line_and_the_others_stay(tmp_path: Path) -> None:
    (tmp_path / "styles.toml").write_text('good = "x"\nbad = 3\nempty = " "\n"\\u001b" = "x"')
    folder = tmp_path / "styles"
    folder.mkdir()
    (folder / "latin.txt").write_bytes(b"\xe9")
    (folder / "long.txt").write_text("x" * 70_000)
    (folder / "none.txt").write_text("\n")
    (folder / "folder.txt").mkdir()
    (folder / "gone.txt").symlink_to(folder / "nowhere")
    found, faults = styles(tmp_path)
    assert set(found) == set(BUILT_IN) | {"good"}
    assert faults == [
        "styles.toml: '\\x1b' is 'x'; expected a text such as \"{prompt}, in ink\".",
        'styles.toml, line 2: bad is 3; expected a text such as "{prompt}, in ink".',
        "styles.toml, line 3: empty is ' '; expected a text such as \"{prompt}, in ink\".",
        "folder.txt cannot be read: Is a directory.",
        "gone.txt cannot be read: No such file or directory.",
        "latin.txt is not UTF-8; expected a text in UTF-8.",
        "long.txt is no style; expected a name and 1 to 65536 bytes of text.",
        "none.txt is no style; expected a name and 1 to 65536 bytes of text.",
    ]


def test_a_table_that_is_no_toml_leaves_the_files(tmp_path: Path) -> None:
    (tmp_path / "styles.toml").write_text("ink = {prompt}")
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "pen.txt").write_text("a pen drawing")
    found, faults = styles(tmp_path)
    assert found["pen"] == "a pen drawing"
    assert len(faults) == 1 and faults[0].startswith("styles.toml, line 1, column ")


def test_what_a_terminal_obeys_is_taken_out_of_a_style(tmp_path: Path) -> None:
    (tmp_path / "styles.toml").write_text('red = "\\u001b[31m{prompt}"')
    assert styles(tmp_path)[0]["red"] == "\ufffd[31m{prompt}"


@pytest.mark.parametrize(
    ("template", "prompt", "painted"),
    [
        ("{prompt}, in ink", "a hill", "a hill, in ink"),
        ("in ink", "a hill", "a hill, in ink"),
        ("{prompt} and {prompt}", "a hill", "a hill and a hill"),
        ("{a} {0} {{prompt}} {", "a hill", "{a} {0} {a hill} {"),
        ("{prompt}, in ink", "{prompt} {0} \\1", "{prompt} {0} \\1, in ink"),
        ("in ink", " ", " "),
    ],
)
def test_a_style_is_applied_to_a_prompt(template: str, prompt: str, painted: str) -> None:
    assert apply(template, prompt) == painted


def test_names_that_start_with_what_was_typed_come_before_those_that_hold_it() -> None:
    names = ["blue ink", "film", "Ink", "inkwell", "night"]
    assert matching(names, "ink") == ["Ink", "inkwell", "blue ink"]
    assert matching(names, " IN") == ["Ink", "inkwell", "blue ink"]
    assert matching(names, "") == names
    assert matching(names, "x") == []
