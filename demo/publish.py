"""The trained stages, written as a checkpoint of the engine's own layout in bfloat16."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from demo.data import TRAIN_SHAPES, pictures_of
from demo.networks import Painter, Tokens
from demo.storage import load_state
from demo.train_vae import DEMO_VAE
from flux_engine import preview
from flux_engine.models.vae import FluxVAE
from flux_engine.sampling.latents import unpack
from flux_engine.weights.checkpoint import save_component

PREVIEW_PICTURES = 256


def publish(work: Path, out: Path) -> None:
    """Read `guided.npz`, `vae.npz`, `latents.npz`, pictures and tokenizers; write the checkpoint folder."""
    latents = np.load(work / "latents.npz")
    config = dataclasses.replace(DEMO_VAE, shift_factor=float(latents["shift"]), scaling_factor=float(latents["scale"]))
    vae = FluxVAE(config, rngs=nnx.Rngs(0))
    nnx.update(vae, load_state(work / "vae.npz", nnx.state(vae)))
    painter = Painter(Tokens(work), rngs=nnx.Rngs(0))
    nnx.update(painter, load_state(work / "guided.npz", nnx.state(painter)))
    networks = {
        "transformer": painter.transformer,
        "clip_text": painter.clip_text,
        "t5_text": painter.t5_text,
        "vae": vae,
    }
    for name, network in networks.items():
        save_component(out / name, network, dtype=jnp.bfloat16)
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(work / name, out / name, dirs_exist_ok=True)
    preview.save_factors(out / "vae", _preview_factors(work, latents))


def _preview_factors(work: Path, latents: Mapping[str, np.ndarray]) -> np.ndarray:
    """The linear map from latents to colours that fits the first training pictures best."""
    square = TRAIN_SHAPES[0]
    pictures = pictures_of(work / "pictures", square)[:PREVIEW_PICTURES] / 255.0
    return preview.fit(unpack(latents[square.name][:PREVIEW_PICTURES].astype(np.float32)), pictures)
