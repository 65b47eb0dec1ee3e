"""Kernels in 8 bits: how far off they are, what lies on the disk, and that it is read as strictly as the rest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest

from flux_engine import FluxModelLoader
from flux_engine.errors import CheckpointError, ConfigError, WeightsMismatch
from flux_engine.models.quantised import EIGHT_BITS
from flux_engine.weights.checkpoint import load_network
from flux_engine.weights.importing import import_checkpoint
from flux_engine.weights.placing import on_device
from flux_engine.weights.quantised import is_quantised, quantised
from flux_engine.weights.sources import open_checkpoint
from flux_engine.weights.verifying import verify_checkpoint
from tests.foreign_files import CLIP, TRANSFORMER, VAE, write_single_files
from tests.tiny_checkpoint import PICTURES, paint, write_tiny_checkpoint

KERNEL = "double_blocks.1.attn.img_qkv"
KINDS = {"int8": "int8", "fp8": "float8_e4m3fn"}
FLOAT32, BFLOAT16 = np.dtype(np.float32), np.dtype(ml_dtypes.bfloat16)


def kernel() -> np.ndarray:
    """[in, out] with outputs of very different sizes, the last one of zeros."""
    random = np.random.default_rng(0)
    sizes = np.append(np.geomspace(1e-30, 1e30, 11), 0)
    return (random.normal(size=(200, 12)) * sizes).astype(np.float32)


def test_int8_is_off_by_half_a_scale_at_most() -> None:
    stored, scale = quantised(kernel(), "int8")
    assert stored.dtype == np.int8 and scale.dtype == np.float32 and scale.shape == (12,)
    off = np.abs(stored.astype(float) * scale - kernel())
    assert (off <= scale.astype(float) / 2 * (1 + 1e-5)).all()
    assert np.abs(stored.astype(int)).max(axis=0).tolist() == [127] * 11 + [0]


def test_fp8_is_off_by_a_sixteenth_at_most() -> None:
    stored, scale = quantised(kernel(), "fp8")
    assert stored.dtype == ml_dtypes.float8_e4m3fn and scale.dtype == np.float32 and scale.shape == (12,)
    off = np.abs(stored.astype(float) * scale - kernel())
    bound = np.maximum(np.abs(kernel().astype(float)) / 16, scale * 2.0**-10)
    assert (off <= bound * (1 + 1e-5)).all()
    largest = np.abs(stored.astype(float)).max(axis=0)
    assert ((largest[:-1] >= 224) & (largest[:-1] <= 448)).all() and largest[-1] == 0
    assert set(np.frexp(scale)[0]) == {0.5}  # powers of two


def test_what_lies_in_the_middle_becomes_the_even_one() -> None:
    column = np.array([127, 0.5, 1.5, 2.5, -0.5, -1.5], np.float32)[:, None]
    assert quantised(column, "int8")[0][:, 0].tolist() == [127, 0, 2, 2, 0, -2]


@pytest.mark.parametrize("kind", EIGHT_BITS)
@pytest.mark.parametrize("fault", [np.nan, np.inf])
def test_an_output_that_is_no_number_stays_none(kind: str, fault: float) -> None:
    faulty = kernel()
    faulty[3, 5] = fault
    stored, scale = quantised(faulty, kind)
    off = np.isnan(stored.astype(np.float32) * scale)
    assert off[:, 5].all() and not np.delete(off, 5, axis=1).any()


@pytest.mark.parametrize(
    ("component", "path", "expected"),
    [
        ("transformer", "double_blocks.0.img_mlp.fc1.kernel", True),
        ("transformer", "double_blocks.0.img_mlp.fc1.bias", False),
        ("transformer", "single_blocks.7.query_norm.scale", False),
        ("transformer", "img_in.kernel", False),
        ("transformer", "final_layer.linear.kernel", False),
        ("clip_text", "layers.3.mlp.fc2.kernel", True),
        ("t5_text", "blocks.0.self_attn.q.kernel", True),
        ("t5_text", "blocks.0.self_attn.relative_attention_bias.embedding", False),
        ("vae", "decoder.mid_block.attentions.0.to_q.kernel", False),
    ],
)
def test_only_kernels_of_repeated_blocks_are_in_8_bits(component: str, path: str, expected: bool) -> None:
    assert is_quantised(component, tuple(path.split("."))) is expected


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "own"
    write_tiny_checkpoint(folder, TRANSFORMER, VAE, CLIP)
    return folder


@pytest.fixture(scope="module", params=KINDS)
def imported(request: pytest.FixtureRequest, source: Path) -> Path:
    folder = source.with_name(request.param)
    import_checkpoint(source, folder, dtype=request.param)
    return folder


@pytest.fixture
def copied(imported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(imported, tmp_path / imported.name))


def restored(state: Path) -> dict[str, np.ndarray]:
    with ocp.PyTreeCheckpointer() as checkpointer:
        return ocp.tree.to_flat_dict(checkpointer.restore(state), sep=".")


def rewrite(state: Path, edit: Callable[[Any], None]) -> None:
    """Store the tree again after `edit` has changed it."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.restore(state)
        edit(tree)
        shutil.rmtree(state)
        checkpointer.save(state, tree)


def leaf_of(checkpoint: Path, path: str, dtype: np.dtype) -> np.ndarray:
    return open_checkpoint(checkpoint).parts["transformer"].open().read([tuple(path.split("."))], dtype)[0]


def test_orbax_itself_restores_kernels_and_scales(imported: Path, source: Path) -> None:
    kind = imported.name
    for component in ("transformer", "clip_text", "t5_text", "vae"):
        tree, before = restored(imported / component / "state"), restored(source / component / "state")
        types = {name: leaf.dtype.name for name, leaf in tree.items()}
        eight = {name for name, dtype in types.items() if dtype == KINDS[kind]}
        assert eight == {name for name in before if is_quantised(component, tuple(name.split("."))[:-1])}
        assert {types[name] for name in before if name not in eight} == {"bfloat16"}
        assert tree.keys() - before.keys() == {name.replace(".kernel.", ".kernel_scale.") for name in eight}
    stored, scale = quantised(leaf_of(source, f"{KERNEL}.kernel", FLOAT32), kind)
    tree = restored(imported / "transformer" / "state")
    assert np.array_equal(tree[f"{KERNEL}.kernel.value"], stored)
    assert np.array_equal(tree[f"{KERNEL}.kernel_scale.value"], scale)


def test_reading_gives_the_product_in_float32_rounded_once(imported: Path) -> None:
    tree = restored(imported / "transformer" / "state")
    product = tree[f"{KERNEL}.kernel.value"].astype(np.float32) * tree[f"{KERNEL}.kernel_scale.value"]
    assert np.array_equal(leaf_of(imported, f"{KERNEL}.kernel", FLOAT32), product)
    assert np.array_equal(leaf_of(imported, f"{KERNEL}.kernel", BFLOAT16), product.astype(BFLOAT16))


def test_files_say_what_is_stored(imported: Path) -> None:
    stored = KINDS[imported.name]
    config = json.loads((imported / "transformer" / "config.json").read_text())
    assert (config["kernel_dtype"], config["param_dtype"]) == (stored, "bfloat16")
    assert "kernel_dtype" not in json.loads((imported / "vae" / "config.json").read_text())
    dtypes = json.loads((imported / "metadata.json").read_text())["dtypes"]
    assert dtypes == {"transformer": stored, "vae": "bfloat16", "clip_text": stored, "t5_text": stored}


def psnr(checkpoint: Path, reference: np.ndarray) -> float:
    picture = paint(FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32"), PICTURES["square"])
    error = np.square(picture.astype(float) - reference.astype(float)).mean()
    return float(10 * np.log10(255**2 / error))


def test_a_picture_is_nearly_that_of_the_source(
    imported: Path, source: Path, record_property: Callable[[str, object], None]
) -> None:
    found = psnr(imported, paint(FluxModelLoader(checkpoint_dir=source, dtype="float32"), PICTURES["square"]))
    record_property("psnr_db", found)
    print(f"PSNR {found:.1f} dB")
    assert found > {"int8": 30, "fp8": 20}[imported.name]


def test_verifying_says_how_they_are_stored(imported: Path) -> None:
    transformer = next(found for found in verify_checkpoint(imported) if found.component == "transformer")
    assert transformer.is_sound and transformer.leaves == sum(transformer.dtypes.values())
    assert transformer.dtypes.keys() == {KINDS[imported.name], "bfloat16"}


@pytest.mark.parametrize("dtype", [None, "bfloat16", "float32"])
def test_what_was_imported_is_imported_again_in_more_bits(imported: Path, tmp_path: Path, dtype: str | None) -> None:
    import_checkpoint(imported, tmp_path / "new", dtype=dtype)
    target = FLOAT32 if dtype == "float32" else BFLOAT16
    tree = restored(tmp_path / "new" / "transformer" / "state")
    assert {leaf.dtype for leaf in tree.values()} == {target}
    assert np.array_equal(tree[f"{KERNEL}.kernel.value"], leaf_of(imported, f"{KERNEL}.kernel", target))
    assert "kernel_dtype" not in json.loads((tmp_path / "new" / "transformer" / "config.json").read_text())


def without_a_scale(tree: Any) -> None:
    del tree["double_blocks"]["1"]["attn"]["img_qkv"]["kernel_scale"]


def with_a_short_scale(tree: Any) -> None:
    tree["double_blocks"]["1"]["attn"]["img_qkv"]["kernel_scale"]["value"] = np.ones(3, np.float32)


def with_a_scale_of_integers(tree: Any) -> None:
    tree["double_blocks"]["1"]["attn"]["img_qkv"]["kernel_scale"]["value"] = np.ones(192, np.int32)


def with_a_scale_of_another(tree: Any) -> None:
    tree["img_in"]["kernel_scale"] = {"value": np.ones(64, np.float32)}


@pytest.mark.parametrize(
    ("edit", "fault"),
    [
        (without_a_scale, rf"1 missing: {KERNEL}\.kernel_scale"),
        (with_a_short_scale, rf"1 misshapen: {KERNEL}\.kernel_scale \(stored \[3\], expected \[192\]\)"),
        (with_a_scale_of_integers, rf"1 not floating-point: {KERNEL}\.kernel_scale"),
        (with_a_scale_of_another, r"1 unused: img_in\.kernel_scale"),
    ],
)
def test_a_scale_that_is_not_as_it_should_be_is_told(copied: Path, edit: Callable[[Any], None], fault: str) -> None:
    rewrite(copied / "transformer" / "state", edit)
    weights = open_checkpoint(copied).parts["transformer"].open()
    with pytest.raises(WeightsMismatch, match=fault):
        load_network(weights, placement=on_device(jax.devices("cpu")[0]), dtype=jnp.dtype(jnp.float32))


def change_config(checkpoint: Path, kernel_dtype: object) -> None:
    file = checkpoint / "transformer" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"kernel_dtype": kernel_dtype}))


@pytest.mark.parametrize("kernel_dtype", ["int4", 8, ["int8"]])
def test_a_config_with_another_type_is_told(copied: Path, kernel_dtype: object) -> None:
    change_config(copied, kernel_dtype)
    with pytest.raises(ConfigError, match=r"kernel_dtype is .*; expected one of float8_e4m3fn, int8"):
        open_checkpoint(copied).parts["transformer"].open()


def test_scales_without_a_word_in_the_config_are_told(copied: Path) -> None:
    change_config(copied, None)
    weights = open_checkpoint(copied).parts["transformer"].open()
    with pytest.raises(WeightsMismatch, match=r"29 unused: .*\.kernel_scale"):
        load_network(weights, placement=on_device(jax.devices("cpu")[0]), dtype=jnp.dtype(jnp.float32))


def test_8_bits_need_a_quarter_of_the_room_of_32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_single_files(tmp_path / "source")
    size = sum(file.stat().st_size for file in source.parent.glob("*.s*"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, 100_000_000 + size * 6 // 10))
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(source, tmp_path / "new")
    assert caught.value.hint.endswith("store it as bfloat16, int8 or fp8.")
    import_checkpoint(source, tmp_path / "new", dtype="int8")
