"""The LoRA folder: what lies in it, how it is listed, and which names stand for which paths."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from flux_engine.errors import RequestError
from flux_engine.request import GenerationRequest, LoraUse
from flux_tui import paths
from flux_tui.__main__ import main
from flux_tui.loras import (
    MAX_DEPTH,
    MAX_FILES,
    in_short,
    listed,
    located,
    lora_files,
    path_of,
    short_name,
    trigger_words_of,
)
from tests.tui.lora_drawer import fill, write_lora

FOLDER = Path("/data/loras")


def names(folder: Path) -> list[str]:
    return [file.name for file in lora_files(folder)]


def test_a_folder_gives_the_loras_in_it_and_below_it_by_name(tmp_path: Path) -> None:
    files = lora_files(fill(tmp_path))
    assert [file.name for file in files] == ["broken", "Film", "ink", "plain", "style/woodcut"]
    assert all(str(file.path) == path_of(file.name, tmp_path) for file in files)
    assert files[0].size_bytes == 1


def test_without_the_folder_there_is_none(tmp_path: Path) -> None:
    assert lora_files(tmp_path / "none") == []


def test_a_folder_that_is_none_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory"):
        lora_files(tmp_path / "file")


def test_links_are_followed_and_a_circle_of_them_ends(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere")
    folder = tmp_path / "loras"
    folder.mkdir()
    (folder / "all").symlink_to(tmp_path / "elsewhere")
    (folder / "again").symlink_to(folder)
    (folder / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    found = names(folder)
    assert "all/ink" in found and "again/all/ink" in found and "gone" not in found
    assert max(name.count("/") for name in found) <= MAX_DEPTH


def test_a_name_that_no_terminal_can_show_or_no_line_can_hold_is_passed_over(tmp_path: Path) -> None:
    for name in (
        b"a; b.safetensors",
        b" a.safetensors",
        b"\x1b[2J.safetensors",
        b"\xff.safetensors",
        b"a\nb.safetensors",
        b".hidden.safetensors",
    ):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    for name in ("日本 1", "a:0.5", "b;c"):
        write_lora(tmp_path / f"{name}.safetensors")
    assert names(tmp_path) == ["a:0.5", "b;c", "日本 1"]


def test_a_drawer_without_end_is_listed_up_to_a_bound(tmp_path: Path) -> None:
    for number in range(MAX_FILES + 5):
        (tmp_path / f"{number}.safetensors").touch()
    assert len(lora_files(tmp_path)) == MAX_FILES


def test_trigger_words_are_read_and_a_file_that_is_damaged_or_gone_has_none(tmp_path: Path) -> None:
    fill(tmp_path)
    assert trigger_words_of(tmp_path / "ink.safetensors") == ("ink style", "brush")
    assert trigger_words_of(tmp_path / "Film.safetensors") == ("grain", "35mm")
    assert trigger_words_of(tmp_path / "broken.safetensors") == trigger_words_of(tmp_path / "gone") == ()


@pytest.mark.parametrize(
    ("written", "path", "short"),
    [
        ("ink", "/data/loras/ink.safetensors", "ink"),
        ("ink.safetensors", "/data/loras/ink.safetensors", "ink"),
        ("v1.5", "/data/loras/v1.5.safetensors", "v1.5"),
        ("style/ink", "/data/loras/style/ink.safetensors", "style/ink"),
        ("/else/ink.safetensors", "/else/ink.safetensors", "/else/ink.safetensors"),
        ("/else/ink", "/else/ink", "/else/ink"),
        ("/data/loras/ink.safetensors", "/data/loras/ink.safetensors", "ink"),
        ("/data/loras/ink.bin", "/data/loras/ink.bin", "/data/loras/ink.bin"),
        ("x.safetensors.safetensors", "/data/loras/x.safetensors.safetensors", "x.safetensors.safetensors"),
        ("/data/loras/~/ink.safetensors", "/data/loras/~/ink.safetensors", "/data/loras/~/ink.safetensors"),
    ],
)
def test_a_name_means_a_path_and_a_path_has_a_name(written: str, path: str, short: str) -> None:
    assert path_of(written, FOLDER) == path
    assert short_name(path, FOLDER) == short
    assert path_of(short, FOLDER) == path


def test_a_home_is_found(own_home: Path) -> None:
    assert path_of("~/ink.safetensors", FOLDER) == f"{own_home}/ink.safetensors"


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("./ink.safetensors", "here/ink.safetensors"),
        ("./ink", "here/ink"),
        ("../ink.safetensors", "ink.safetensors"),
    ],
)
def test_a_path_from_the_current_folder_is_named_as_it_was_given(
    written: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert path_of(written, FOLDER) == str(tmp_path / path)


def test_a_request_is_painted_with_paths_and_shown_with_names() -> None:
    named = GenerationRequest(prompt="p", loras=(LoraUse(file="ink", strength=0.5), LoraUse(file="/else/film")))
    painted = located(named, FOLDER)
    assert [lora.file for lora in painted.loras] == ["/data/loras/ink.safetensors", "/else/film"]
    assert painted.loras[0].strength == 0.5
    assert in_short(painted, FOLDER) == named
    assert listed(painted.loras) == "ink 0.5, film"
    twice = replace(named, loras=(LoraUse(file="ink"), LoraUse(file="/data/loras/ink.safetensors")))
    with pytest.raises(RequestError, match="each file once"):
        located(twice, FOLDER)


def test_the_verb_lists_names_sizes_and_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["loras"]) == 0
    out, err = capsys.readouterr()
    assert out == "" and f"put .safetensors files into {paths.loras_dir()}" in err

    fill(paths.loras_dir())
    assert main(["loras"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "ink               0 MB  ink style, brush" and lines[0] == "broken            0 MB"
    assert main(["loras", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    file = paths.loras_dir() / "style" / "woodcut.safetensors"
    assert told[4] == {
        "name": "style/woodcut",
        "path": str(file),
        "bytes": file.stat().st_size,
        "trigger_words": ["wdct"],
    }


def test_the_verb_takes_the_configs_folder_and_says_what_is_wrong_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path / "mine")
    (config := tmp_path / "config.toml").write_text('[app]\nlora_folder = "mine"\n')
    assert main(["--config", str(config), "loras"]) == 0
    assert capsys.readouterr().out.count("\n") == 5
    config.write_text('[app]\nlora_folder = "config.toml"\n')
    assert main(["--config", str(config), "loras"]) == 1
    assert "config.toml cannot be read: Not a directory. Name another" in capsys.readouterr().err
