"""A file of prompts: which lines ask for something, and what they ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from flux_engine.errors import RequestError
from flux_engine.request import LoraUse
from flux_tui.verbs.prompt_file import prompt_lines, settings_in


def test_lines_keep_their_numbers(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b'\xef\xbb\xbf# all mine\r\n\r\n a hill \r\n#no\n\n{"prompt": 1}\n the\x0bsea\n')
    assert prompt_lines(str(file)) == [(3, "a hill"), (6, '{"prompt": 1}'), (7, "the\x0bsea")]


def test_bytes_that_are_no_utf8_spoil_their_own_line_only(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"a hill\ncaf\xe9\n")
    assert prompt_lines(str(file)) == [(1, "a hill"), (2, "caf\udce9")]


@pytest.mark.parametrize("text", ["", "\n\n", "# only\n  # remarks\n"])
def test_a_file_that_asks_for_nothing_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(RequestError, match="has no prompt"):
        prompt_lines(str(tmp_path / "a.txt"))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cannot be read: Is a directory"):
        prompt_lines(str(tmp_path))


def test_a_plain_line_is_its_prompt() -> None:
    assert settings_in('a hill, "at night"') == {"prompt": 'a hill, "at night"'}


def test_an_object_is_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    line = '{"prompt": "a hill", "seed": 3, "negative_prompt": null, "checkpoint_dir": "models/x"}'
    assert settings_in(line) == {
        **{"prompt": "a hill", "seed": 3, "negative_prompt": None},
        **{"checkpoint_dir": str(tmp_path / "models/x")},
    }
    assert settings_in('{"prompt": "a hill", "checkpoint_dir": ""}')["checkpoint_dir"] is None
    uses = LoraUse(file="ink", strength=0.8), LoraUse(file="film")
    assert settings_in('{"prompt": "a hill", "loras": "ink:0.8; film"}')["loras"] == uses


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{a|b} hill", "no JSON: .* at column 2"),
        ('{"prompt": "a"} {"prompt": "b"}', "no JSON"),
        ('{"seed": 1}', "there is no prompt"),
        ('{"prompt": "a", "Seed": 1}', r"no setting: 'Seed' \(did you mean 'seed'\?\)"),
        ('{"prompt": "a", "loras": "ink:11"}', "loras is 'ink:11'. Needs a strength from -10 to 10 for ink"),
        ('{"prompt": "a", "checkpoint_dir": 3}', "checkpoint_dir is 3; expected text"),
        ('{"prompt": "a", "seed": ' + "9" * 5000 + "}", "no JSON that could be read"),
        ('{"a":' * 100_000, "no JSON that could be read"),
    ],
)
def test_a_line_that_cannot_be_understood_is_refused(line: str, complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint) as caught:
        settings_in(line)
    assert caught.value.hint


def test_a_jsonl_file_takes_objects_only() -> None:
    assert settings_in('{"prompt": "a"}', only_json=True) == {"prompt": "a"}
    with pytest.raises(RequestError, match=r"expected a \{"):
        settings_in("a hill", only_json=True)
