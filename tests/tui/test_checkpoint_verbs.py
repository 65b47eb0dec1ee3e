"""`flux-tui import` and `flux-tui verify`, on real checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from flux_engine.checkpoint_cli import describe
from flux_engine.loader import DEMO_CHECKPOINT
from flux_engine.weights.sides import Compared
from flux_tui import paths
from flux_tui.__main__ import main
from tests.foreign_files import TRANSFORMER, bfl_tensors, save_file, write_diffusers_folder, write_single_files


def verified(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, object]]]:
    capsys.readouterr()
    status = main(["verify", str(checkpoint), "--json", "--no-compare"])
    return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_same_weights_have_the_same_hash_in_every_layout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_diffusers_folder(tmp_path / "diffusers")
    single = write_single_files(tmp_path / "files")
    assert main(["import", str(single), str(tmp_path / "own")]) == 0
    found = [verified(place, capsys) for place in (tmp_path / "diffusers", single, tmp_path / "own")]
    assert [status for status, _ in found] == [0, 0, 0]
    hashes = [{line["component"]: line["sha256"] for line in lines} for _, lines in found]
    assert len(hashes[0]) == 4 and hashes[0] == hashes[1] == hashes[2]


def test_the_demo_model_is_sound(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(DEMO_CHECKPOINT), "--no-compare"]) == 0
    out = capsys.readouterr().out
    assert out.count("sound") == 4 and "140 bfloat16" in out


def test_numbers_that_are_none_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_single_files(tmp_path)
    tensors = bfl_tensors(TRANSFORMER)
    tensors["img_in.bias"][:3] = np.nan
    tensors["single_blocks.1.linear1.weight"][0, :2] = np.inf
    save_file(tensors, file)
    status, (transformer, *others) = verified(file, capsys)
    assert status == 1
    assert (transformer["nans"], transformer["infinities"], transformer["sound"]) == (3, 2, False)
    assert all(line["sound"] for line in others)
    assert main(["verify", str(file)]) == 1  # and there is nothing to compare
    assert "3 NaN and 2 infinite numbers" in capsys.readouterr().out


def test_an_import_has_a_place_and_a_name_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_single_files(tmp_path)
    assert main(["import", str(source), "--dtype", "bfloat16"]) == 0
    assert capsys.readouterr().out == f"{paths.models_dir() / 'model'}\n"
    _, lines = verified(paths.models_dir() / "model", capsys)
    assert {name for line in lines for name in line["dtypes"]} == {"bfloat16"}


@pytest.mark.parametrize("verb", ["import", "verify"])
def test_what_is_no_checkpoint_is_told_in_one_line(
    tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"not one")
    assert main([verb, str(tmp_path / "model.safetensors")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and "no whole safetensors file" in captured.err


def test_that_nothing_is_there_to_compare_with_is_said_and_is_no_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["verify", str(DEMO_CHECKPOINT)]) == 0
    captured = capsys.readouterr()
    told = "Not compared with diffusers: torch is not installed; the extra 'parity' brings it.\n"
    assert captured.err.endswith(told) and "agrees" not in captured.out
    assert main(["verify", str(DEMO_CHECKPOINT), "--no-compare"]) == 0
    assert "diffusers" not in capsys.readouterr().err


def test_a_checkpoint_without_a_tokenizer_is_not_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_single_files(tmp_path)
    shutil.rmtree(tmp_path / "tokenizer")
    assert main(["verify", str(file)]) == 1
    captured = capsys.readouterr()
    assert captured.out.count("sound") == 4
    assert "has no tokenizer/; " in captured.err and "hf download openai/clip-vit-large-patch14" in captured.err


def test_a_module_that_differs_is_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def compared(module: str, difference: float) -> Compared:
        return Compared(component="vae", module=module, difference=difference, relative=difference, bound=1e-4)

    rows = [compared("encode", 1e-6), compared("decode", float("nan"))]
    monkeypatch.setattr("flux_engine.weights.comparing.compare_checkpoint", lambda checkpoint, watch: iter(rows))
    assert main(["verify", str(DEMO_CHECKPOINT)]) == 1
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "network      module                   difference   relative",
        "vae          encode                      1.0e-06    1.0e-06  agrees",
        "vae          decode                          nan        nan  DIFFERS by more than 1e-04",
    ]
    assert main(["verify", str(DEMO_CHECKPOINT), "--json"]) == 1
    *_, encode, decode = map(json.loads, capsys.readouterr().out.splitlines())
    assert encode == {"event": "compared", **rows[0].__dict__, "agrees": True}
    assert (decode["difference"], decode["relative"], decode["agrees"]) == (None, None, False)
    rows.pop()
    assert main(["verify", str(DEMO_CHECKPOINT)]) == 0


def test_a_path_that_is_not_utf8_is_said_as_the_bytes_that_it_is(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    file = write_single_files(tmp_path / "files\udcff")
    assert main(["verify", str(file), "--no-compare"]) == 1  # the reader of vocab.json takes no such path
    captured = capsysbinary.readouterr()
    assert captured.out.count(os.fsencode(file.parent)) == 4 and b"unexpected" not in captured.err
    assert describe(file) == 0
    assert os.fsencode(file) in capsysbinary.readouterr().out


def test_what_a_file_says_of_itself_brings_no_controls_to_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_single_files(tmp_path)
    save_file(bfl_tensors(TRANSFORMER) | {"\x1b]0;title\x07\x1b[31mX\u202e": np.zeros(3, np.float32)}, file)
    assert main(["verify", str(file), "--no-compare"]) == 1
    err = capsys.readouterr().err
    assert r"1 unused: \x1b]0;title\x07\x1b[31mX\u202e" in err and all(line.isprintable() for line in err.splitlines())
