"""Stage 1: the autoencoder, on crops and then on whole pictures.

The loss is L1 on pixels, on their gradients and at half size, a little KL, and a term that asks the decoder to
understand shrunken latents, which keeps the latents smooth enough for a small transformer to paint
(EQ-VAE, Kouzelis et al. 2025, arXiv:2502.09509).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from demo.data import TRAIN_SHAPES, VALIDATION, pictures_of
from demo.optimizer import Training, muon_and_adam, warm_flat_decay
from demo.storage import save_state
from flux_engine.configs import VAEConfig
from flux_engine.models.vae import FluxVAE

DEMO_VAE = VAEConfig(
    block_out_channels=(16, 32, 64, 128), layers_per_block=1, norm_num_groups=8, scaling_factor=1.0, shift_factor=0.0
)
CROP_PX = 64
LEARNING_RATE = 1.5e-3
KL_WEIGHT = 1e-3


def train_vae(data: Path, work: Path, *, crop_steps: int, full_steps: int, seed: int) -> None:
    """Train encoder and decoder; writes `vae.npz`."""
    graphdef, params = nnx.split(FluxVAE(DEMO_VAE, rngs=nnx.Rngs(seed)))
    steps = crop_steps + full_steps
    optimizer = muon_and_adam(warm_flat_decay(LEARNING_RATE, steps), weight_decay=0.0)
    training = Training.start(params, optimizer)
    step = jax.jit(partial(_vae_step, graphdef, optimizer), donate_argnums=0)
    batches = _batches(data, crop_steps, full_steps, seed)
    training = _run("vae", training, step, batches, steps, seed, partial(_report, graphdef, data))
    save_state(work / "vae.npz", training.ema)


def _run(name, training, step, batches, steps, seed, report):
    started = time.monotonic()
    for index, images in zip(range(steps), batches, strict=False):
        training, losses = step(training, images, jax.random.fold_in(jax.random.key(seed), index))
        if index % 100 == 0 or index == steps - 1:
            numbers = " ".join(f"{key}={float(value):.4f}" for key, value in losses.items())
            print(f"{name} {index}/{steps} {time.monotonic() - started:.0f}s {numbers}", flush=True)
        if index % 500 == 499 or index == steps - 1:
            print(f"{name} {index}/{steps} validation {report(training.ema)}", flush=True)
    return training


def _vae_step(graphdef, optimizer, training: Training, images: jax.Array, key: jax.Array):
    def loss(params):
        vae = nnx.merge(graphdef, params)
        mean, log_variance = vae.moments(images)
        latents = mean + jnp.exp(0.5 * log_variance) * jax.random.normal(key, mean.shape)
        kl = 0.5 * jnp.mean(jnp.square(mean) + jnp.exp(log_variance) - 1.0 - log_variance)
        some = max(images.shape[0] // 4, 1)
        shrunken = reconstruction_loss(vae.decoder(half_size(latents[:some])), half_size(images[:some]))
        exact = reconstruction_loss(vae.decoder(latents), images)
        return exact + 0.25 * shrunken + KL_WEIGHT * kl, {"reconstruction": exact, "shrunken": shrunken, "kl": kl}

    grads, losses = jax.grad(loss, has_aux=True)(training.params)
    return training.apply(grads, optimizer), losses


def reconstruction_loss(got: jax.Array, wanted: jax.Array) -> jax.Array:
    """L1 + 0.5 L1 of the gradients + 0.5 L1 at half size + squared error, on [B, H, W, 3] in [-1, 1]."""
    difference = got - wanted
    rows, columns = difference[:, 1:] - difference[:, :-1], difference[:, :, 1:] - difference[:, :, :-1]
    edges = jnp.mean(jnp.abs(rows)) + jnp.mean(jnp.abs(columns))
    coarse = jnp.mean(jnp.abs(half_size(difference)))
    return jnp.mean(jnp.abs(difference)) + 0.5 * edges + 0.5 * coarse + jnp.mean(jnp.square(difference))


def half_size(x: jax.Array) -> jax.Array:
    """Average of 2x2 cells of [B, h, w, C]."""
    B, h, w, C = x.shape
    return x.reshape(B, h // 2, 2, w // 2, 2, C).mean((2, 4))


def _batches(data: Path, crop_steps: int, full_steps: int, seed: int) -> Iterator[np.ndarray]:
    """First crops of all shapes, eight a batch; then whole squares, two a batch."""
    rng = np.random.default_rng(seed)
    groups = [pictures_of(data, shape) for shape in TRAIN_SHAPES]
    weights = np.array([len(group) for group in groups]) / sum(len(group) for group in groups)
    for _ in range(crop_steps):
        yield as_floats(np.stack([_crop(groups[rng.choice(len(groups), p=weights)], rng) for _ in range(8)]))
    for _ in range(full_steps):
        yield as_floats(groups[0][np.sort(rng.choice(len(groups[0]), 2, replace=False))])


def _crop(pictures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    count, height, width, _ = pictures.shape
    top, left = rng.integers(height - CROP_PX + 1), rng.integers(width - CROP_PX + 1)
    return pictures[rng.integers(count), top : top + CROP_PX, left : left + CROP_PX]


def as_floats(pictures: np.ndarray) -> np.ndarray:
    """uint8 to float32 in [-1, 1]."""
    return pictures.astype(np.float32) / 127.5 - 1.0


@partial(jax.jit, static_argnums=0)
def reconstruct(graphdef, params, images: jax.Array) -> jax.Array:
    """Pictures [B, H, W, 3] in [-1, 1] after a trip through the posterior mean."""
    vae = nnx.merge(graphdef, params)
    return jnp.clip(vae.decoder(vae.moments(images)[0]), -1.0, 1.0)


def psnr(got: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of each picture of [B, H, W, 3] in [-1, 1]."""
    return 10 * np.log10(4.0 / np.mean(np.square(np.asarray(got) - wanted), axis=(1, 2, 3)))


def _report(graphdef, data: Path, params) -> str:
    pictures = as_floats(pictures_of(data, VALIDATION)[:64])
    got = np.concatenate([np.asarray(reconstruct(graphdef, params, pictures[i : i + 16])) for i in range(0, 64, 16)])
    return f"PSNR {psnr(got, pictures).mean():.2f} dB"
