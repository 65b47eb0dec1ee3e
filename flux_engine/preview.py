"""A picture of latents without the autoencoder: one linear map from 16 channels to red, green and blue.

The map is a least-squares fit. Checkpoints may carry one (`vae/latent_rgb.json`, 17 rows of 3: one per channel and
the offset); for others it is fitted to colour fields that the autoencoder encodes once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from flux_engine.errors import CheckpointCorrupt

FILE = "latent_rgb.json"
FIT_IMAGES, FIT_SIZE_PX = 6, 64


def latent_rgb(latents: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Colours uint8 [h, w, 3] of latents float [h, w, C] under `factors` [C + 1, 3]."""
    with np.errstate(all="ignore"):  # what is no number has any colour; of the finished picture the engine says so
        rgb = latents.astype(np.float32) @ factors[:-1] + factors[-1]
        return np.round(np.clip(rgb, 0.0, 1.0) * 255).astype(np.uint8)


def fit(latents: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The factors [C + 1, 3] that best turn latents [N, h, w, C] into the cell means of [N, H, W, 3] in [0, 1]."""
    N, h, w, C = latents.shape
    cells = images.reshape(N, h, images.shape[1] // h, w, images.shape[2] // w, 3).mean((2, 4))
    known = np.concatenate([latents.reshape(-1, C), np.ones((N * h * w, 1))], axis=1)
    return np.linalg.lstsq(known, cells.reshape(-1, 3), rcond=None)[0].astype(np.float32)


def fit_to_colour_fields(encode: Callable[[jax.Array], jax.Array | np.ndarray]) -> np.ndarray:
    """Factors for an autoencoder whose `encode` takes images [B, H, W, 3] in [-1, 1] to latents [B, h, w, C]."""
    rng = np.random.default_rng(0)
    corners = jnp.asarray(rng.random((FIT_IMAGES, 4, 4, 3)), jnp.float32)
    images = jax.image.resize(corners, (FIT_IMAGES, FIT_SIZE_PX, FIT_SIZE_PX, 3), "linear")
    return fit(np.asarray(encode(images * 2 - 1), np.float32), np.asarray(images))


def save_factors(vae_folder: Path, factors: np.ndarray) -> None:
    (vae_folder / FILE).write_text(json.dumps(np.round(factors, 5).tolist()) + "\n", encoding="utf-8")


def load_factors(vae_folder: Path, channels: int) -> np.ndarray | None:
    """The checkpoint's own factors, or None if it has none.

    Raises:
        CheckpointCorrupt: the file is there but holds no map of that many channels.
    """
    file = vae_folder / FILE
    if not file.exists():
        return None
    try:
        factors = np.asarray(json.loads(file.read_text(encoding="utf-8")), np.float32)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointCorrupt(f"vae: {file} cannot be read ({error}).", hint="Delete it; it is optional.") from error
    if factors.shape != (channels + 1, 3):
        raise CheckpointCorrupt(
            f"vae: {file} holds {factors.shape}; expected {(channels + 1, 3)}.", hint="Delete it; it is optional."
        )
    return factors
