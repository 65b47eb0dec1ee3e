"""Checkpoints that diffusers and transformers wrote, and Black Forest Labs' names as diffusers converts them."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_flux_transformer_checkpoint_to_diffusers,
    convert_ldm_vae_checkpoint,
)
from flax import nnx

from flux_engine.configs import CONFIGS, Component
from flux_engine.weights.checkpoint import load_network
from flux_engine.weights.foreign import leaves_and_unknown, networks_in
from flux_engine.weights.placing import on_device
from flux_engine.weights.sources import DIFFUSERS_FOLDERS, open_checkpoint
from flux_engine.weights.tensor_files import read_tensors
from tests.foreign_files import CLIP, TRANSFORMER, VAE, add_tokenizers, bfl_tensors, save_file
from tests.reference_models import tiny_reference
from tests.tiny import tiny_leaves
from tests.tiny_checkpoint import T5

NETWORKS = {"transformer": TRANSFORMER, "vae": VAE, "clip_text": CLIP, "t5_text": T5}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as their own `save_pretrained` leaves it, in shards."""
    folder = tmp_path_factory.mktemp("diffusers")
    for component, config in NETWORKS.items():
        tiny_reference(config).save_pretrained(folder / DIFFUSERS_FOLDERS[component], max_shard_size="200KB")
    add_tokenizers(folder)
    return folder


@pytest.mark.parametrize("component", CONFIGS)
def test_what_save_pretrained_writes_is_read_to_the_last_number(written: Path, component: Component) -> None:
    part = open_checkpoint(written).parts[component]
    assert part.config == NETWORKS[component]
    network = load_network(part.open(), placement=on_device(jax.devices("cpu")[0]), dtype=jnp.float32)
    expected = tiny_leaves(NETWORKS[component])
    for path, leaf in nnx.to_flat_state(nnx.state(network)):
        assert np.array_equal(leaf.get_value(), expected[".".join(map(str, path))]), path
    if component == "transformer":
        assert len(list((written / "transformer").glob("*.safetensors"))) > 1


def test_black_forest_labs_autoencoder_is_what_diffusers_makes_of_it(tmp_path: Path) -> None:
    tensors = bfl_tensors(VAE)
    config = {"down_block_types": [0] * 4, "up_block_types": [0] * 4, "layers_per_block": VAE.layers_per_block}
    theirs = convert_ldm_vae_checkpoint({k: torch.from_numpy(v) for k, v in tensors.items()}, config)
    assert_same_leaves(tmp_path, tensors, {k: v.numpy() for k, v in theirs.items()})


def test_black_forest_labs_transformer_is_what_diffusers_makes_of_it(tmp_path: Path) -> None:
    # Its converter splits outputs at FLUX.1's own widths, so only the inputs are narrow here.
    width, mlp = 3072, 12288
    tensors = {
        name: np.random.RandomState(len(name))
        .rand(*([_full_width(name, width, mlp)] + [3] * (array.ndim - 1)))
        .astype(np.float32)
        for name, array in bfl_tensors(TRANSFORMER).items()
        if not name.startswith(("double_blocks.1", "single_blocks.1", "single_blocks.2"))
    }
    theirs = convert_flux_transformer_checkpoint_to_diffusers({k: torch.from_numpy(v) for k, v in tensors.items()})
    assert_same_leaves(tmp_path, tensors, {k: v.numpy() for k, v in theirs.items()})


def _full_width(name: str, width: int, mlp: int) -> int:
    widths = {
        "qkv.weight": 3 * width,
        "qkv.bias": 3 * width,
        "linear1.weight": 3 * width + mlp,
        "linear1.bias": 3 * width + mlp,
        "adaLN_modulation.1.weight": 2 * width,
        "adaLN_modulation.1.bias": 2 * width,
        "norm.scale": 128,
    }
    return next((size for end, size in widths.items() if name.endswith(end)), width)


def leaves(file: Path, tensors: dict[str, np.ndarray]) -> dict[tuple[str, ...], np.ndarray]:
    """All leaves of a file, whatever their shapes mean."""
    save_file(tensors, file)
    ((form, mine),) = networks_in(read_tensors(file), file.name).values()
    found, unknown = leaves_and_unknown(form, mine)
    assert not unknown
    arrays = {path: np.empty(leaf.shape, np.float32) for path, leaf in found.items()}
    for path, leaf in found.items():
        leaf.read_into(arrays[path])
    return arrays


def assert_same_leaves(folder: Path, one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    first, second = leaves(folder / "one.safetensors", one), leaves(folder / "other.safetensors", other)
    assert first.keys() == second.keys() and len(first) > 50
    for path, leaf in first.items():
        assert np.array_equal(leaf, second[path]), path
