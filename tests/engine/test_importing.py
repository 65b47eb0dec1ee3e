"""Any checkpoint becomes one in this project's own layout, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import gguf
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest

from flux_engine import FluxModelLoader
from flux_engine.errors import CheckpointError, WeightsMismatch
from flux_engine.tokenizers import CLIPTokenizer
from flux_engine.weights.importing import import_checkpoint
from flux_engine.weights.orbax_writer import OrbaxWriter
from flux_engine.weights.sources import open_checkpoint
from tests.foreign_files import (
    CLIP,
    TRANSFORMER,
    VAE,
    as_scaled_fp8,
    bfl_tensors,
    save_file,
    write_diffusers_folder,
    write_gguf,
    write_single_files,
)
from tests.tiny_checkpoint import PICTURES, greatest_difference, paint, write_tiny_checkpoint


def painted(checkpoint: Path) -> np.ndarray:
    return paint(FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32"), PICTURES["square"])


@pytest.mark.parametrize("kind", ["diffusers", "single files", "own"])
def test_an_imported_checkpoint_paints_what_its_source_does(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "source"
    if kind == "diffusers":
        write_diffusers_folder(source)
    elif kind == "own":
        write_tiny_checkpoint(source, TRANSFORMER, VAE, CLIP)
    else:
        source = write_single_files(source)
    import_checkpoint(source, tmp_path / "new")
    assert greatest_difference(painted(source), painted(tmp_path / "new")) == 0


def test_a_tokenizer_in_a_single_file_comes_along(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path / "source")
    folder = tmp_path / "source" / "tokenizer"
    CLIPTokenizer.from_dir(folder)._bpe.save(str(folder / "tokenizer.json"))
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    import_checkpoint(tmp_path / "source", tmp_path / "new")
    words = ["a boat at dusk"]
    before, after = (CLIPTokenizer.from_dir(tmp_path / place / "tokenizer") for place in ("source", "new"))
    assert np.array_equal(before.encode(words).ids, after.encode(words).ids)


def test_orbax_itself_restores_what_was_written(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path / "source")
    import_checkpoint(tmp_path / "source", tmp_path / "new")
    write_tiny_checkpoint(tmp_path / "own", TRANSFORMER, VAE, CLIP)
    for component in ("transformer", "vae", "clip_text", "t5_text"):
        new, own = (_restored(tmp_path / name / component / "state") for name in ("new", "own"))
        assert new.keys() == own.keys() and len(new) > 20
        assert all(np.array_equal(new[path], own[path]) and new[path].dtype == own[path].dtype for path in own)


def _restored(state: Path) -> dict[str, np.ndarray]:
    with ocp.PyTreeCheckpointer() as checkpointer:
        return ocp.tree.to_flat_dict(checkpointer.restore(state), sep=".")


def test_a_checkpoint_may_be_stored_in_another_type(tmp_path: Path) -> None:
    source = write_single_files(tmp_path / "source")
    import_checkpoint(source, tmp_path / "new", dtype="bfloat16")
    leaves = _restored(tmp_path / "new" / "transformer" / "state")
    assert {leaf.dtype.name for leaf in leaves.values()} == {"bfloat16"}
    expected = bfl_tensors(TRANSFORMER)["img_in.weight"].T.astype(ml_dtypes.bfloat16)
    assert np.array_equal(leaves["img_in.kernel.value"], expected)
    assert json.loads((tmp_path / "new/transformer/config.json").read_text())["param_dtype"] == "bfloat16"


def stored_types(checkpoint: Path) -> dict[str, str]:
    return {name: leaf.dtype.name for name, leaf in _restored(checkpoint / "transformer" / "state").items()}


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_K", "BF16"])
def test_what_a_gguf_file_has_in_blocks_is_stored_as_bfloat16(tmp_path: Path, kind: str) -> None:
    source = write_single_files(tmp_path / "source")
    source.unlink()
    tensors = bfl_tensors(replace(TRANSFORMER, joint_attention_dim=256))
    write_gguf(source.with_suffix(".gguf"), tensors, gguf.GGMLQuantizationType[kind])
    import_checkpoint(source.with_suffix(".gguf"), tmp_path / "new")
    types = stored_types(tmp_path / "new")
    assert types["txt_in.kernel.value"] == "bfloat16"
    assert types["txt_in.bias.value"] == "float32"
    assert types["double_blocks.0.attn.img_proj.kernel.value"] == ("float32" if kind == "Q4_K" else "bfloat16")


def test_scaled_fp8_is_stored_as_bfloat16(tmp_path: Path) -> None:
    source = write_single_files(tmp_path / "source")
    save_file(as_scaled_fp8(bfl_tensors(TRANSFORMER)), source)
    import_checkpoint(source, tmp_path / "new")
    types = stored_types(tmp_path / "new")
    assert {types[name] for name in types if name.endswith("kernel.value")} == {"bfloat16"}
    assert types["txt_in.bias.value"] == "float32"


def test_a_matrix_takes_no_more_room_than_its_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = np.random.default_rng(0).integers(0, 2**15, (1111, 1536), np.uint16)
    monkeypatch.setattr("flux_engine.weights.orbax_writer.CHUNK_BYTES", 100_000)
    with OrbaxWriter(tmp_path / "state") as writer:
        writer.write(("layer", "kernel"), wide)
    size = sum(file.stat().st_size for file in (tmp_path / "state").rglob("*") if file.is_file())
    assert size < 1.02 * wide.nbytes
    assert np.array_equal(_restored(tmp_path / "state")["layer.kernel.value"], wide)


def test_a_disk_that_refuses_a_leaf_is_told_at_the_end_of_its_network(tmp_path: Path) -> None:
    with pytest.raises(OSError), OrbaxWriter(tmp_path / "state") as writer:
        shutil.rmtree(tmp_path / "state")
        (tmp_path / "state").write_text("")
        writer.write(("layer", "kernel"), np.ones((1000, 1000), np.float32))


def test_it_says_where_it_came_from(tmp_path: Path) -> None:
    source = write_single_files(tmp_path / "source")
    import_checkpoint(source, tmp_path / "new")
    origin = json.loads((tmp_path / "new" / "metadata.json").read_text())
    assert (origin["name"], origin["variant"]) == ("model.safetensors", "dev")
    hashes = {entry["file"]: entry["sha256"] for entry in origin["sources"]}
    assert hashes[str(source)] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert {Path(file).name for file in hashes} == {"model.safetensors", "ae.sft", "clip.safetensors", "t5.safetensors"}


def test_how_far_it_is_is_told(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    import_checkpoint(
        write_single_files(tmp_path / "source"), tmp_path / "new", watch=lambda what, part: told.append((what, part))
    )
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    assert {what for what, _ in told} >= {"transformer", "vae", "clip_text", "t5_text"}


class Stop(Exception):
    pass


def stop_at(fraction: float) -> object:
    def watch(what: str, so_far: float) -> None:
        if so_far >= fraction:
            raise Stop

    return watch


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_an_interrupted_import_leaves_nothing(tmp_path: Path, fraction: float) -> None:
    source = write_single_files(tmp_path / "source")
    with pytest.raises(Stop):
        import_checkpoint(source, tmp_path / "new", watch=stop_at(fraction))
    assert [place.name for place in tmp_path.iterdir()] == ["source"]


def test_a_full_disk_is_seen_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_single_files(tmp_path / "source")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 100_200_000))
    with pytest.raises(CheckpointError, match=r"takes 0\.0 GB, and .* has 0\.1 GB free"):
        import_checkpoint(source, tmp_path / "new")
    assert [place.name for place in tmp_path.iterdir()] == ["source"]


def test_a_disk_that_fills_up_meanwhile_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_single_files(tmp_path / "source")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("flux_engine.weights.importing.shutil.copyfile", full)
    with pytest.raises(CheckpointError, match="could not be written: No space left on device"):
        import_checkpoint(source, tmp_path / "new")
    assert [place.name for place in tmp_path.iterdir()] == ["source"]


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(CheckpointError, match="exists already"):
        import_checkpoint(write_single_files(tmp_path / "source"), tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_faulty_source_is_told_before_anything_is_written(tmp_path: Path) -> None:
    source = write_single_files(tmp_path / "source")
    tensors = bfl_tensors(TRANSFORMER)
    del tensors["img_in.bias"]
    save_file(tensors, source)
    with pytest.raises(WeightsMismatch, match=r"1 missing: img_in\.bias"):
        import_checkpoint(source, tmp_path / "new")
    assert [place.name for place in tmp_path.iterdir()] == ["source"]


def test_a_path_that_is_not_utf8_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="new\udcff is not UTF-8"):
        import_checkpoint(tmp_path / "none", tmp_path / "new\udcff")
    write_tiny_checkpoint(tmp_path / "own", TRANSFORMER, VAE, CLIP)
    (tmp_path / "own").rename(tmp_path / "own\udcff")
    with pytest.raises(CheckpointError, match="own\udcff/vae is not UTF-8"):
        open_checkpoint(tmp_path / "own\udcff").parts["vae"].open()


@pytest.mark.parametrize(
    ("name", "told", "hint"),
    [
        ("n" * 300, "File name too long", "shorter"),
        (f"{'n' * 300}/new", "File name too long", "shorter"),
        ("file/new", "File exists", "is a file"),
        ("file/a/new", "Not a directory", "is a file"),
    ],
)
def test_a_place_that_cannot_be_is_told_with_what_to_do(tmp_path: Path, name: str, told: str, hint: str) -> None:
    source = write_single_files(tmp_path / "source")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=f"could not be written: {told}") as caught:
        import_checkpoint(source, tmp_path / name)
    assert hint in caught.value.hint and "full" not in caught.value.hint


def test_a_link_to_nothing_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "new").symlink_to("nowhere")
    with pytest.raises(CheckpointError, match="exists already"):
        import_checkpoint(write_single_files(tmp_path / "source"), tmp_path / "new")
