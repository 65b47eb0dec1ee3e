"""dev and schnell from every format that people have: the same picture as from this project's own layout.

Krea-dev has dev's shapes, names and schedule, so that what is shown of dev is shown of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gguf
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from flux_engine import FluxModelLoader
from flux_engine.configs import TransformerConfig
from flux_engine.generation import denoising_states
from flux_engine.weights.importing import import_checkpoint
from tests.foreign_files import (
    CLIP,
    TRANSFORMER,
    VAE,
    as_scaled_fp8,
    bfl_tensors,
    diffusers_tensors,
    save_file,
    write_diffusers_folder,
    write_gguf,
    write_single_files,
)
from tests.tiny_checkpoint import T5, Picture, greatest_difference, paint, write_tiny_checkpoint

PICTURE = Picture(height=32, width=48, num_steps=2)
VARIANTS = {"dev": TRANSFORMER, "schnell": replace(TRANSFORMER, guidance_embeds=False)}
T5_LENGTHS = {"dev": 512, "schnell": 256}
TOKENS = 2 * 3  # of PICTURE
Write = Callable[[Path, TransformerConfig], Path]


def own(folder: Path, config: TransformerConfig) -> Path:
    write_tiny_checkpoint(folder, config, VAE, CLIP)
    return folder


def diffusers(folder: Path, config: TransformerConfig) -> Path:
    write_diffusers_folder(folder)
    (folder / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    save_file(diffusers_tensors(config), folder / "transformer" / "diffusion_pytorch_model.safetensors")
    sizes = folder / "transformer" / "config.json"
    sizes.write_text(json.dumps(json.loads(sizes.read_text()) | {"guidance_embeds": config.guidance_embeds}))
    return folder


def single_files(folder: Path, config: TransformerConfig) -> Path:
    file = write_single_files(folder)
    save_file(bfl_tensors(config), file)
    return file


def all_in_one(folder: Path, config: TransformerConfig) -> Path:
    for file in (single_files(folder, config), *folder.glob("*.s*f*")):
        file.unlink(missing_ok=True)
    prefixed = {
        "model.diffusion_model.": bfl_tensors(config),
        "vae.": bfl_tensors(VAE),
        "text_encoders.clip_l.transformer.text_model.": diffusers_tensors(CLIP),
        "text_encoders.t5xxl.transformer.": diffusers_tensors(T5),
    }
    tensors = {prefix + name: array for prefix, part in prefixed.items() for name, array in part.items()}
    save_file(tensors, folder / "all.safetensors")
    return folder / "all.safetensors"


def fp8(folder: Path, config: TransformerConfig) -> Path:
    file = write_single_files(folder)
    save_file({name: array.astype(ml_dtypes.float8_e4m3fn) for name, array in bfl_tensors(config).items()}, file)
    return file


def scaled_fp8(folder: Path, config: TransformerConfig) -> Path:
    file = write_single_files(folder)
    save_file(as_scaled_fp8(bfl_tensors(config)), file)
    return file


def quantised(folder: Path, config: TransformerConfig) -> Path:
    write_single_files(folder).unlink()
    write_gguf(folder / "model.gguf", bfl_tensors(config), gguf.GGMLQuantizationType.Q8_0)
    return folder / "model.gguf"


EXACT: dict[str, Write] = {"diffusers": diffusers, "single files": single_files, "all in one": all_in_one}
ROUNDED: dict[str, Write] = {"fp8": fp8, "fp8_scaled": scaled_fp8, "GGUF": quantised}


def with_full_length(place: Path) -> Path:
    """Tokenizers as FLUX's are: the tests' own stop at 64 words to be fast."""
    folder = place if place.is_dir() else place.parent
    config = folder / "tokenizer_2" / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_max_length": 512}))
    return place


def check_variant(loader: FluxModelLoader, variant: str) -> None:
    """How many words T5 reads, and whether times are shifted, follow the variant and nothing else."""
    assert loader.t5_tokenizer.max_length == T5_LENGTHS[variant]
    network = loader.prepare_conditioned_network("a boat", height=32, width=48)
    still = replace(network, network_fn=lambda latents, sigma: jnp.zeros_like(latents))
    states = denoising_states(conditioned_network=still, height=32, width=48, num_steps=4, seed=0)
    shift = np.exp(0.5 + (TOKENS - 256) * (1.15 - 0.5) / (4096 - 256)) if variant == "dev" else 1.0
    even = np.array([0.75, 0.5, 0.25, 0])
    assert np.allclose([float(state.sigma) for state in states], shift * even / (1 + (shift - 1) * even), atol=1e-6)
    (encoded,) = loader.encode_prompts(["a boat"])
    assert encoded.text_embeddings.shape == (1, T5_LENGTHS[variant], T5.d_model)


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def expected(variant: str, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The picture from this project's own layout."""
    folder = with_full_length(own(tmp_path_factory.mktemp(variant) / "own", VARIANTS[variant]))
    loader = FluxModelLoader(checkpoint_dir=folder, dtype="float32")
    check_variant(loader, variant)
    picture = paint(loader, PICTURE)
    assert len(np.unique(picture)) > 10
    return picture


@pytest.mark.parametrize("form", EXACT)
def test_the_picture_is_the_same_from_every_format(
    tmp_path: Path, variant: str, expected: np.ndarray, form: str
) -> None:
    place = with_full_length(EXACT[form](tmp_path / "model", VARIANTS[variant]))
    loader = FluxModelLoader(checkpoint_dir=place, dtype="float32")
    check_variant(loader, variant)
    assert greatest_difference(paint(loader, PICTURE), expected) == 0


@pytest.mark.parametrize("form", ROUNDED)
def test_weights_in_fewer_bits_paint_what_the_same_numbers_paint(
    tmp_path: Path, variant: str, expected: np.ndarray, form: str
) -> None:
    place = with_full_length(ROUNDED[form](tmp_path / "model", VARIANTS[variant]))
    loader = FluxModelLoader(checkpoint_dir=place, dtype="float32")
    check_variant(loader, variant)
    picture = paint(loader, PICTURE)
    import_checkpoint(place, tmp_path / "own", dtype="float32")
    written_out = FluxModelLoader(checkpoint_dir=tmp_path / "own", dtype="float32")
    check_variant(written_out, variant)
    assert greatest_difference(picture, paint(written_out, PICTURE)) == 0
    # They are the same model, if not the same numbers: of 8 bits, pictures keep more than half.
    assert np.abs(picture.astype(int) - expected.astype(int)).mean() < 8
