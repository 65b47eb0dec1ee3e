"""Checkpoints as other programs write them: found, renamed, and read to the last number."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flux_engine import FluxModelLoader
from flux_engine.configs import Component, NetworkConfig
from flux_engine.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointNotFound,
    FluxError,
    UnsupportedVariant,
    WeightsMismatch,
)
from flux_engine.weights.checkpoint import load_network
from flux_engine.weights.placing import on_device
from flux_engine.weights.sources import open_checkpoint
from flux_engine.weights.tensor_files import read_tensors
from tests.foreign_files import (
    CLIP,
    TRANSFORMER,
    VAE,
    add_tokenizers,
    as_scaled_fp8,
    bfl_tensors,
    diffusers_tensors,
    save_file,
    write_diffusers_folder,
    write_gguf,
    write_single_files,
)
from tests.tiny import tiny_leaves
from tests.tiny_checkpoint import PICTURES, T5, greatest_difference, paint, write_tiny_checkpoint

CONFIGS: dict[Component, NetworkConfig] = {"transformer": TRANSFORMER, "vae": VAE, "clip_text": CLIP, "t5_text": T5}
CPU = jax.devices("cpu")[0]


def leaves_of(checkpoint: Path, component: Component, dtype: Any = jnp.float32) -> dict[str, np.ndarray]:
    network = load_network(open_checkpoint(checkpoint).parts[component].open(), placement=on_device(CPU), dtype=dtype)
    return {
        ".".join(map(str, path)): np.asarray(leaf.get_value()) for path, leaf in nnx.to_flat_state(nnx.state(network))
    }


def assert_same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for path, leaf in expected.items():
        assert np.array_equal(found[path], leaf), path


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("component", CONFIGS)
def test_every_leaf_of_a_diffusers_folder_is_read(tmp_path: Path, component: Component, shards: int) -> None:
    write_diffusers_folder(tmp_path, shards)
    assert open_checkpoint(tmp_path).parts[component].config == CONFIGS[component]
    assert_same(leaves_of(tmp_path, component), tiny_leaves(CONFIGS[component]))


@pytest.mark.parametrize("component", CONFIGS)
def test_every_leaf_of_single_files_is_read(tmp_path: Path, component: Component) -> None:
    file = write_single_files(tmp_path)
    for place in (file, tmp_path):
        assert open_checkpoint(place).parts[component].config == CONFIGS[component]
        assert_same(leaves_of(place, component), tiny_leaves(CONFIGS[component]))


def test_a_model_paints_the_same_picture_whatever_its_format(tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path / "own", TRANSFORMER, VAE, CLIP)
    write_diffusers_folder(tmp_path / "diffusers", shards=2)
    single = write_single_files(tmp_path / "files")
    places = (tmp_path / "own", tmp_path / "diffusers", single)
    loaders = [FluxModelLoader(checkpoint_dir=place, dtype="float32") for place in places]
    own, *others = [paint(loader, PICTURES["square"]) for loader in loaders]
    assert len(np.unique(own)) > 10
    assert [greatest_difference(own, other) for other in others] == [0, 0]
    assert [loader.model_name for loader in loaders] == ["own", "diffusers", "model.safetensors"]


def test_one_file_may_hold_all_four(tmp_path: Path) -> None:
    prefixed = {
        **{f"model.diffusion_model.{k}": v for k, v in bfl_tensors(TRANSFORMER).items()},
        **{f"vae.{k}": v for k, v in bfl_tensors(VAE).items()},
        **{f"text_encoders.clip_l.transformer.text_model.{k}": v for k, v in diffusers_tensors(CLIP).items()},
        "text_encoders.clip_l.logit_scale": np.zeros((), np.float32),
        **{f"text_encoders.t5xxl.transformer.{k}": v for k, v in diffusers_tensors(T5).items()},
    }
    save_file(prefixed, tmp_path / "all.safetensors")
    for component, config in CONFIGS.items():
        assert_same(leaves_of(tmp_path / "all.safetensors", component), tiny_leaves(config))


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, ml_dtypes.bfloat16, np.float16])
def test_weights_in_fewer_bits_are_read_as_they_are(tmp_path: Path, dtype: Any) -> None:
    file = write_single_files(tmp_path)
    save_file({name: array.astype(dtype) for name, array in bfl_tensors(TRANSFORMER).items()}, file)
    expected = {path: leaf.astype(dtype).astype(np.float32) for path, leaf in tiny_leaves(TRANSFORMER).items()}
    assert_same(leaves_of(file, "transformer"), expected)


def test_scaled_fp8_is_multiplied_by_its_factors(tmp_path: Path) -> None:
    file = write_single_files(tmp_path)
    save_file(as_scaled_fp8(bfl_tensors(TRANSFORMER)), file)
    found = leaves_of(file, "transformer")
    for path, leaf in tiny_leaves(TRANSFORMER).items():
        # e4m3 keeps 3 bits of fraction, so half a step is 1/16; below 2**-6 of 448 steps are absolute
        assert np.allclose(found[path], leaf, rtol=1 / 16, atol=np.abs(leaf).max() * 2**-10 / 448 * 2), path


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q4_0"])
def test_gguf_is_dequantised_as_its_own_package_does(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "model.gguf"
    expected = write_gguf(file, bfl_tensors(TRANSFORMER), gguf.GGMLQuantizationType[kind])
    read = read_tensors(file)
    assert read.keys() == expected.keys()
    for name, array in expected.items():
        assert read[name].shape == array.shape
        assert np.isfinite(array).all() and np.array_equal(read[name].read(np.dtype(np.float32)), array), name


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists what is mapped")
def test_a_gguf_file_is_not_mapped_once_its_header_is_read(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    write_gguf(file, bfl_tensors(TRANSFORMER), gguf.GGMLQuantizationType.Q8_0)
    tensors = read_tensors(file)
    gc.collect()
    assert str(file) not in Path("/proc/self/maps").read_text()
    assert tensors


def test_a_gguf_file_is_a_transformer_like_any_other(tmp_path: Path) -> None:
    write_single_files(tmp_path).unlink()
    write_gguf(tmp_path / "model.gguf", bfl_tensors(TRANSFORMER), gguf.GGMLQuantizationType.F32)
    assert_same(leaves_of(tmp_path / "model.gguf", "transformer"), tiny_leaves(TRANSFORMER))


@pytest.mark.parametrize("arch", [gguf.MODEL_ARCH.T5ENCODER, gguf.MODEL_ARCH.T5])
def test_t5_may_come_under_the_names_of_llama_cpp(tmp_path: Path, arch: gguf.MODEL_ARCH) -> None:
    file = write_single_files(tmp_path)
    (tmp_path / "t5.safetensors").unlink()
    names = gguf.get_tensor_name_map(arch, T5.num_layers)
    tensors = {names.get_name(k, try_suffixes=[".weight"]): v for k, v in diffusers_tensors(T5).items()}
    write_gguf(tmp_path / "t5.gguf", tensors, gguf.GGMLQuantizationType.F32, gguf.MODEL_ARCH_NAMES[arch])
    assert_same(leaves_of(file, "t5_text"), tiny_leaves(T5))


# What is no checkpoint


def damage(file: Path, change: Callable[[bytearray], bytearray | None]) -> None:
    data = bytearray(file.read_bytes())
    file.write_bytes(change(data) or data)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    file = write_single_files(tmp_path)
    whole = file.read_bytes()
    for length in (0, 7, 8, 100, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointCorrupt, match=r"model\.safetensors is no whole safetensors file"):
            open_checkpoint(file)


def test_a_header_that_lies_about_offsets_is_refused(tmp_path: Path) -> None:
    file = write_single_files(tmp_path)
    whole = file.read_bytes()
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    for lie in ([0, 2**40], [8, 4], [-4, 0]):
        told = json.dumps(header | {"img_in.bias": header["img_in.bias"] | {"data_offsets": lie}}).encode()
        file.write_bytes(len(told).to_bytes(8, "little") + told + whole[8 + size :])
        with pytest.raises(CheckpointCorrupt, match="no whole safetensors file"):
            open_checkpoint(file)


def test_a_truncated_gguf_file_is_named(tmp_path: Path) -> None:
    write_single_files(tmp_path).unlink()
    file = tmp_path / "model.gguf"
    write_gguf(file, bfl_tensors(TRANSFORMER), gguf.GGMLQuantizationType.Q8_0)
    whole = file.read_bytes()
    for length in (4, 30, 2000, len(whole) - 40):
        file.write_bytes(whole[:length])
        with pytest.raises(CheckpointCorrupt, match=r"model\.gguf is no whole GGUF file"):
            open_checkpoint(file)


def test_a_file_that_shrinks_while_it_is_used_is_told(tmp_path: Path) -> None:
    file = write_single_files(tmp_path)
    weights = open_checkpoint(file).parts["transformer"].open()
    damage(file, lambda data: data[:-1000])
    with pytest.raises(CheckpointCorrupt, match="ends too early"):
        load_network(weights, placement=on_device(CPU), dtype=jnp.float32)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path, shards=3)
    next((tmp_path / "transformer").glob("*00002-of*")).unlink()
    with pytest.raises(CheckpointNotFound, match=r"00002-of-00003\.safetensors is missing; .*index\.json names it"):
        open_checkpoint(tmp_path)


def test_an_index_that_names_no_files_is_told(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path, shards=3)
    next((tmp_path / "transformer").glob("*.index.json")).write_text('{"weight_map": {}}')
    with pytest.raises(CheckpointCorrupt, match=r"index\.json names no files"):
        open_checkpoint(tmp_path)


def test_a_tensor_in_two_shards_is_no_guess(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path, shards=3)
    shards = sorted((tmp_path / "transformer").glob("*.safetensors"))
    first, second = (safetensors.numpy.load_file(shard) for shard in shards[:2])
    name = min(first)
    save_file(second | {name: first[name] + 1}, shards[1])
    with pytest.raises(CheckpointCorrupt, match=f"{shards[1].name} has {name}, which {shards[0].name} has as well"):
        open_checkpoint(tmp_path)


def test_two_files_without_an_index_are_no_guess(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path)
    save_file({"a": np.zeros(1, np.float32)}, tmp_path / "vae" / "other.safetensors")
    with pytest.raises(CheckpointError, match="2 files of weights and no index"):
        open_checkpoint(tmp_path)


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda tensors: tensors.pop(name)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (without("img_in.weight"), r"has no img_in\.kernel"),
        (without("single_blocks.1.linear1.bias"), r"1 missing: single_blocks\.1\.linear1\.bias"),
        (lambda tensors: tensors.update(extra=np.zeros(3, np.float32)), r"1 unused: extra"),
        (
            lambda tensors: tensors.update({"double_blocks.0.img_mlp.2.bias": np.zeros(3, np.float32)}),
            r"1 misshapen: double_blocks\.0\.img_mlp\.fc2\.bias \(stored \[3\], expected \[64\]\)",
        ),
        (lambda tensors: tensors.update({"img_in.weight": np.zeros((64, 64, 2), np.float32)}), "are not those of"),
    ],
)
def test_leaves_that_are_missing_unused_or_misshapen_are_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], fault: str
) -> None:
    file = write_single_files(tmp_path)
    tensors = bfl_tensors(TRANSFORMER)
    change(tensors)
    save_file(tensors, file)
    with pytest.raises(WeightsMismatch, match=fault):
        load_network(open_checkpoint(file).parts["transformer"].open(), placement=on_device(CPU), dtype=jnp.float32)


@pytest.mark.parametrize(("in_channels", "name"), [(384, "Fill"), (128, "Canny or Depth"), (96, "none of")])
def test_relatives_of_flux_are_recognised_and_refused(tmp_path: Path, in_channels: int, name: str) -> None:
    file = write_single_files(tmp_path)
    save_file(bfl_tensors(TRANSFORMER) | {"img_in.weight": np.zeros((64, in_channels), np.float32)}, file)
    with pytest.raises(UnsupportedVariant, match=name):
        open_checkpoint(file)


def test_a_config_that_contradicts_the_weights_is_told(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path)
    config = tmp_path / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"num_layers": 19}))
    with pytest.raises(WeightsMismatch, match=r"config\.json says num_double_layers 19, but the weights in .* have 2"):
        open_checkpoint(tmp_path)


def test_a_config_of_clip_that_is_none_is_told(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path)
    (tmp_path / "text_encoder" / "config.json").write_text('{"text_config": [1]}')
    with pytest.raises(CheckpointCorrupt, match=r"config\.json: its text_config is not an object") as caught:
        open_checkpoint(tmp_path)
    assert caught.value.hint


def test_a_file_of_something_else_is_told(tmp_path: Path) -> None:
    add_tokenizers(tmp_path)
    file = tmp_path / "lora.safetensors"
    save_file({"lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": np.zeros((2, 2), np.float32)}, file)
    with pytest.raises(CheckpointError, match="holds no network of FLUX"):
        open_checkpoint(file)
    with pytest.raises(CheckpointNotFound, match="transformer"):
        open_checkpoint(tmp_path)


def test_what_is_not_beside_a_file_is_named(tmp_path: Path) -> None:
    file = write_single_files(tmp_path)
    (tmp_path / "t5.safetensors").unlink()
    with pytest.raises(CheckpointNotFound, match=r"t5_text is neither in .* nor beside it"):
        open_checkpoint(file)


def test_a_loop_of_links_is_told(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path)
    file = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    file.unlink()
    os.symlink(file, file)
    with pytest.raises(CheckpointNotFound, match="cannot be read: Too many levels of symbolic links"):
        open_checkpoint(tmp_path)


def test_a_loop_of_links_in_a_folders_place_is_told(tmp_path: Path) -> None:
    os.symlink(tmp_path / "loop", tmp_path / "loop")
    with pytest.raises(CheckpointNotFound, match="loop cannot be read: Too many levels of symbolic links"):
        open_checkpoint(tmp_path / "loop")


def test_a_folder_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(folder: Path) -> list[Path]:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", closed)  # the tests may run as root, for whom nothing is closed
    with pytest.raises(CheckpointNotFound, match="cannot be read: Permission denied"):
        open_checkpoint(tmp_path)


@settings(max_examples=400, deadline=None)
@example(changes=[(0.21875, 0)], cut=1.0)  # a GGUF tensor without numbers
@given(changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8), cut=st.floats(0, 1))
@pytest.mark.parametrize("suffix", ["safetensors", "gguf"])
def test_no_damage_to_a_file_ends_in_anything_but_a_fault_that_is_told(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, changes: list[tuple[float, int]], cut: float
) -> None:
    file = _whole_file(tmp_path_factory, suffix)
    data = bytearray(file.read_bytes())
    begin = min(len(data), 3000)  # the header
    for place, value in changes:
        data[int(place * (begin - 1))] = value
    damaged = file.with_name(f"damaged.{suffix}")
    damaged.write_bytes(data[: int(len(data) * max(cut, 0.3))] if cut < 0.5 else data)
    try:
        for tensor in read_tensors(damaged).values():
            tensor.read()
    except FluxError as error:
        assert error.hint


def _whole_file(factory: pytest.TempPathFactory, suffix: str) -> Path:
    file = factory.getbasetemp() / f"whole.{suffix}"
    if not file.exists():
        tensors = {f"layer.{i}.weight": np.ones((2, 64), np.float32) for i in range(12)}
        if suffix == "gguf":
            write_gguf(file, tensors, gguf.GGMLQuantizationType.Q8_0)
        else:
            save_file(tensors, file)
    return file
