"""Stages 2 and 3: the transformer with both text encoders, then guidance.

Stage 2 is rectified flow (Liu et al. 2022, arXiv:2209.03003): x_t = (1 - t) x_0 + t noise, the network predicts
noise - x_0, and t is drawn logit-normal around the schedule's own shift (Esser et al. 2024, arXiv:2403.03206). A tenth
of the captions is empty, which makes classifier-free guidance possible. Stage 3 distils that guidance into the
guidance embedding (Meng et al. 2022, arXiv:2210.03142), so that one pass does the work of two.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from demo.data import TRAIN_SHAPES, VALIDATION, Shape, captions_of, pictures_of
from demo.networks import Painter, Tokens, demo_rope
from demo.optimizer import Training, muon_and_adam, warm_flat_decay
from demo.storage import load_state, save_state
from demo.train_vae import DEMO_VAE, as_floats
from flux_engine.models.vae import FluxVAE
from flux_engine.sampling.latents import pack
from flux_engine.sampling.timers import FluxTimer

LEARNING_RATE = 1.5e-3
DISTILLATION_RATE = 2.5e-4
EMPTY_SHARE = 0.1
TIME_SHIFT = FluxTimer(1, use_dynamic_shift=True, image_seq_len=64).mu
# Share of the steps and pictures a step for each of TRAIN_SHAPES: a step costs about the same for all.
SHAPE_SHARES = (0.66, 0.10, 0.13, 0.11)
BATCH_SIZES = (32, 24, 24, 16)


def encode_latents(data: Path, work: Path) -> None:
    """Latents of all training and validation pictures; reads `vae.npz`, writes `latents.npz`.

    Stored packed, float16, shifted and scaled to mean 0 and standard deviation 1 over all elements.
    """
    graphdef, template = nnx.split(FluxVAE(DEMO_VAE, rngs=nnx.Rngs(0)))
    params = load_state(work / "vae.npz", template)
    encode = jax.jit(lambda params, images: nnx.merge(graphdef, params).moments(images)[0])
    raw = {}
    for shape in (VALIDATION, *TRAIN_SHAPES):
        pictures = pictures_of(data, shape)
        rows = [np.asarray(encode(params, as_floats(pictures[i : i + 50]))) for i in range(0, len(pictures), 50)]
        raw[shape.name] = np.concatenate(rows)
        print(f"encode {shape.name} {raw[shape.name].shape}", flush=True)
    shift, scale = float(raw["square"].mean()), 1 / float(raw["square"].std())
    packed = {name: pack((latents - shift) * scale).astype(np.float16) for name, latents in raw.items()}
    np.savez(work / "latents.npz", shift=shift, scale=scale, **packed)


@dataclass(frozen=True)
class Group:
    """Latents [N, rows, columns, C] of one shape, and the ids [N, captions, 2, T] of their captions."""

    latents: np.ndarray
    ids: np.ndarray

    @property
    def rope(self) -> tuple[np.ndarray, np.ndarray]:
        return demo_rope(*self.latents.shape[1:3])


def load_group(work: Path, tokens: Tokens, shape: Shape) -> Group:
    captions = captions_of(shape)
    ids = tokens([text for each in captions for text in each])
    return Group(np.load(work / "latents.npz")[shape.name], ids.reshape(len(captions), -1, *ids.shape[1:]))


def train_flow(work: Path, tokens: Tokens, *, steps: int, seed: int) -> None:
    """Train transformer and text encoders; reads `latents.npz`, writes `flow.npz`."""
    graphdef, params = nnx.split(Painter(tokens, rngs=nnx.Rngs(seed)))
    optimizer = muon_and_adam(warm_flat_decay(LEARNING_RATE, steps, warmup=150))
    step = jax.jit(partial(_flow_step, graphdef, optimizer), donate_argnums=0)
    validate = _validation(graphdef, work, tokens)
    batches = _batches(work, tokens, steps, seed)
    training = Training.start(params, optimizer)
    training = _run("flow", training, step, batches, steps, seed, lambda ema: _save(work / "flow.npz", ema, validate))


def distil_guidance(work: Path, tokens: Tokens, *, steps: int, seed: int) -> None:
    """Teach the guidance embedding what two passes do; reads `flow.npz`, writes `guided.npz`."""
    graphdef, params = nnx.split(Painter(tokens, rngs=nnx.Rngs(seed)))
    teacher = load_state(work / "flow.npz", params)
    optimizer = muon_and_adam(warm_flat_decay(DISTILLATION_RATE, steps, warmup=50, flat_share=0.4), weight_decay=0.0)
    step = jax.jit(partial(_distillation_step, graphdef, optimizer), donate_argnums=0)
    empty = tokens([""])
    training = Training.start(jax.tree.map(jnp.copy, teacher), optimizer)
    run_step = lambda training, *batch: step(training, teacher, empty, *batch)  # noqa: E731
    batches = _batches(work, tokens, steps, seed + 1)
    _run("distil", training, run_step, batches, steps, seed, lambda ema: _save(work / "guided.npz", ema, None))


def _run(
    name: str, training: Training, step: Callable, batches: Iterator, steps: int, seed: int, keep: Callable
) -> Training:
    started, recent = time.monotonic(), []
    for index, batch in enumerate(batches):
        training, loss = step(training, *batch, jax.random.fold_in(jax.random.key(seed), index))
        recent.append(float(loss))
        if index % 100 == 99 or index == steps - 1:
            seconds = time.monotonic() - started
            print(f"{name} {index + 1}/{steps} {seconds:.0f}s loss={np.mean(recent):.4f}", flush=True)
            recent = []
        if index % 500 == 499 or index == steps - 1:
            print(f"{name} {index + 1}/{steps} kept {keep(training.ema)}", flush=True)
    return training


def _save(path: Path, params, validate: Callable | None) -> str:
    save_state(path, params)
    return "" if validate is None else f"validation={validate(params):.4f}"


def _batches(work: Path, tokens: Tokens, steps: int, seed: int) -> Iterator[tuple]:
    rng = np.random.default_rng(seed)
    groups = [load_group(work, tokens, shape) for shape in TRAIN_SHAPES]
    empty = tokens([""])[0]
    for _ in range(steps):
        choice = rng.choice(len(groups), p=SHAPE_SHARES)
        group, size = groups[choice], BATCH_SIZES[choice]
        rows = rng.integers(len(group.latents), size=size)
        ids = group.ids[rows, rng.integers(group.ids.shape[1], size=size)]
        ids[rng.random(size) < EMPTY_SHARE] = empty
        yield group.latents[rows].astype(np.float32), ids, group.rope


def _noised(latents: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Noisy latents, the times [B] they are at, and their velocities."""
    time_key, noise_key = jax.random.split(key)
    t = jax.nn.sigmoid(TIME_SHIFT + jax.random.normal(time_key, latents.shape[:1]))
    noise = jax.random.normal(noise_key, latents.shape)
    at = t[:, None, None, None]
    return (1 - at) * latents + at * noise, t, noise - latents


def _flow_loss(graphdef, params, latents, ids, rope, key) -> jax.Array:
    x, t, wanted = _noised(latents, key)
    painter = nnx.merge(graphdef, params)
    got = painter.velocity(x, painter.text(ids), t, jnp.ones_like(t), rope)
    return jnp.mean(jnp.square(got - wanted))


def _flow_step(graphdef, optimizer, training: Training, latents, ids, rope, key):
    loss, grads = jax.value_and_grad(partial(_flow_loss, graphdef))(training.params, latents, ids, rope, key)
    return training.apply(_without_guidance(grads), optimizer), loss


def _without_guidance(grads):
    """Stage 2 leaves the guidance embedding at zero effect, so that stage 3 starts from the teacher itself."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.zeros_like(leaf) if "guidance_in" in jax.tree_util.keystr(path) else leaf, grads
    )


def _distillation_step(graphdef, optimizer, training: Training, teacher, empty, latents, ids, rope, key):
    noise_key, guidance_key, low_key, scale_key = jax.random.split(key, 4)
    x, t, _ = _noised(latents, noise_key)
    # Half of the draws in [1, 2.5]: the low end is the hardest to learn.
    low = jax.random.uniform(low_key, t.shape, minval=1.0, maxval=2.5)
    wide = jax.random.uniform(scale_key, t.shape, minval=1.0, maxval=8.0)
    guidance = jnp.where(jax.random.bernoulli(guidance_key, 0.5, t.shape), low, wide)
    scale = guidance[:, None, None, None]

    painter = nnx.merge(graphdef, teacher)
    off = jnp.ones_like(t)
    conditional = painter.velocity(x, painter.text(ids), t, off, rope)
    unconditional = painter.velocity(x, painter.text(jnp.broadcast_to(empty, ids.shape)), t, off, rope)
    wanted = unconditional + scale * (conditional - unconditional)

    def loss(params):
        student = nnx.merge(graphdef, params)
        got = student.velocity(x, student.text(ids), t, guidance, rope)
        return jnp.mean(jnp.square(got - wanted) / (1 + 0.25 * (scale - 1)))

    value, grads = jax.value_and_grad(loss)(training.params)
    return training.apply(grads, optimizer, ema_decay=0.995), value


def _validation(graphdef, work: Path, tokens: Tokens) -> Callable:
    """Flow loss on 256 validation pictures with fixed noise."""
    group = load_group(work, tokens, VALIDATION)
    batch = (group.latents[:256].astype(np.float32), group.ids[:256, 0], group.rope)
    loss = jax.jit(partial(_flow_loss, graphdef))

    def validate(params) -> float:
        values = []
        for i in range(0, 256, 32):
            latents, ids, rope = batch[0][i : i + 32], batch[1][i : i + 32], batch[2]
            values.append(float(loss(params, latents, ids, rope, jax.random.key(i))))
        return float(np.mean(values))

    return validate
