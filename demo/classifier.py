"""Reads time, terrain, weather and object off a picture: the judge of what the demo model paints.

A small convolutional network on pictures reduced to 64 px on their shorter side. It is trained on procedural training
pictures only, blurred and brightened at random, because painted ones are softer than drawn ones. It has seen no
painted picture, and knows neither prompts nor the networks that it judges.

`python -m demo.classifier --data DIR` trains it anew and writes the weights beside this file.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from demo.data import ATTRIBUTES, TRAIN_SHAPES, VALIDATION, draw_all, labels_of, pictures_of
from demo.storage import load_state, save_state

WEIGHTS = Path(__file__).with_suffix(".npz")
SHORT_SIDE_PX = 64
WIDTHS = (24, 48, 96, 96)
CHOICES = tuple(len(names) for names in ATTRIBUTES.values())
CHUNK = 32  # pictures judged at a time

SEED = 0
EPOCHS, BATCH_SIZE, LEARNING_RATE = 4, 64, 2e-3
USED = (6000, 1500, 1500, 1000)  # pictures of each of TRAIN_SHAPES

Group = tuple[np.ndarray, np.ndarray]  # equally sized small pictures [N, h, w, 3] and their labels [N, 4]


class AttributeNetwork(nnx.Module):
    """Scores of every value of the four attributes, [B, 19], of pictures [B, h, w, 3] in [-1, 1]."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        strides = (2, 2, 2, 1)
        self.convs = nnx.List(
            nnx.Conv(inputs, outputs, (3, 3), strides=stride, rngs=rngs)
            for inputs, outputs, stride in zip((3, *WIDTHS), WIDTHS, strides, strict=False)
        )
        self.norms = nnx.List(nnx.GroupNorm(width, num_groups=1, rngs=rngs) for width in WIDTHS)
        self.heads = nnx.Linear(2 * WIDTHS[-1], sum(CHOICES), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = nnx.gelu(norm(conv(x)))
        return self.heads(jnp.concatenate([x.mean((1, 2)), x.max((1, 2))], axis=-1))


class Classifier:
    """The trained network."""

    def __init__(self, graphdef: nnx.GraphDef, params: nnx.State) -> None:
        self._graphdef, self._params = graphdef, params

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> Classifier:
        """Read the weights that `save` wrote."""
        graphdef, params = nnx.split(AttributeNetwork(rngs=nnx.Rngs(0)))
        return cls(graphdef, jax.tree.map(lambda leaf: leaf.astype(jnp.float32), load_state(path, params)))

    def save(self, path: Path = WEIGHTS) -> None:
        save_state(path, jax.tree.map(lambda leaf: leaf.astype(jnp.float16), self._params))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """What the pictures show.

        Args:
            images: uint8 [N, H, W, 3], the shorter side a multiple of 64.

        Returns:
            int [N, 4]: index of each attribute's value, in the order of `demo.data.ATTRIBUTES`.

        Raises:
            ValueError: a size that cannot be reduced to 64 px.
        """
        small = reduced(images)
        scores = [self._scores(small[i : i + CHUNK]) for i in range(0, len(small), CHUNK)]
        return np.stack([part.argmax(-1) for part in _per_attribute(np.concatenate(scores))], axis=1)

    def _scores(self, small: np.ndarray) -> np.ndarray:
        filled = np.resize(small, (CHUNK, *small.shape[1:]))  # always as many, so that it compiles once
        return np.asarray(_scores(self._graphdef, self._params, filled))[: len(small)]


def reduced(images: np.ndarray) -> np.ndarray:
    """uint8 [N, H, W, 3] to uint8 pictures of 64 px on the shorter side, by averaging square cells."""
    count, height, width, channels = images.shape
    factor, rest = divmod(min(height, width), SHORT_SIDE_PX)
    if rest or height % factor or width % factor:
        raise ValueError(f"size: got {width}x{height}, expected a shorter side of 64, 128 or 192 px")
    cells = images.reshape(count, height // factor, factor, width // factor, factor, channels)
    return np.round(cells.mean((2, 4), dtype=np.float32)).astype(np.uint8)


def _per_attribute(scores: jax.Array) -> list[jax.Array]:
    return jnp.split(scores, list(itertools.accumulate(CHOICES))[:-1], axis=-1)


@partial(jax.jit, static_argnums=0)
def _scores(graphdef: nnx.GraphDef, params: nnx.State, small: jax.Array) -> jax.Array:
    return nnx.merge(graphdef, params)(small.astype(jnp.float32) / 127.5 - 1.0)


# Training


def train(groups: Sequence[Group], *, epochs: int = EPOCHS, seed: int = SEED) -> Classifier:
    """Fit a new network to groups of small pictures and their labels."""
    graphdef, params = nnx.split(AttributeNetwork(rngs=nnx.Rngs(seed)))
    steps = epochs * sum(len(labels) // BATCH_SIZE for _, labels in groups)
    optimizer = _optimizer(steps)
    state = optimizer.init(params)
    started = time.monotonic()
    for index, (small, labels) in enumerate(_batches(groups, epochs, seed)):
        key = jax.random.fold_in(jax.random.key(seed), index)
        params, state, loss = _step(graphdef, optimizer, params, state, small, labels, key)
        if index % 100 == 99:
            print(
                f"classifier {index + 1}/{steps} {time.monotonic() - started:.0f}s loss={float(loss):.4f}", flush=True
            )
    return Classifier(graphdef, params)


@cache  # the compiled step knows its optimiser by identity
def _optimizer(steps: int) -> optax.GradientTransformation:
    schedule = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, max(steps // 10, 1), max(steps, 2))
    return optax.adamw(schedule, b2=0.98, weight_decay=1e-3)


def _batches(groups: Sequence[Group], epochs: int, seed: int) -> Iterator[Group]:
    """Every epoch each picture once, in batches of one size and random order."""
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        batches = []
        for group, (_, labels) in enumerate(groups):
            order = rng.permutation(len(labels))
            full = len(order) // BATCH_SIZE * BATCH_SIZE
            batches += [(group, rows) for rows in order[:full].reshape(-1, BATCH_SIZE)]
        for index in rng.permutation(len(batches)):
            group, rows = batches[index]
            yield groups[group][0][rows], groups[group][1][rows]


@partial(jax.jit, static_argnums=(0, 1))
def _step(graphdef, optimizer, params, state, small, labels, key):
    def loss(params):
        scores = nnx.merge(graphdef, params)(_roughened(small.astype(jnp.float32) / 127.5 - 1.0, key))
        losses = optax.softmax_cross_entropy_with_integer_labels
        return sum(losses(part, labels[:, i]).mean() for i, part in enumerate(_per_attribute(scores)))

    value, grads = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(grads, state, params)
    return optax.apply_updates(params, updates), state, value


def _roughened(x: jax.Array, key: jax.Array) -> jax.Array:
    """Mirror, blur (up to about 1 px), brighten or darken, and add a little noise, each picture by its own amount."""
    keys = jax.random.split(key, 5)
    each = (x.shape[0], 1, 1, 1)
    x = jnp.where(jax.random.bernoulli(keys[0], 0.5, each), x[:, :, ::-1], x)
    share = jax.random.uniform(keys[1], each, maxval=0.25) * jax.random.bernoulli(keys[2], 0.7, each)
    x = _blurred(_blurred(x, share), share)
    x = x * (1.0 + 0.08 * jax.random.normal(keys[3], each))
    return x + 0.04 * jax.random.normal(keys[4], x.shape)


def _blurred(x: jax.Array, share: jax.Array) -> jax.Array:
    """[share, 1 - 2 share, share] along both axes."""
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="edge")
    x = (1 - 2 * share) * x + share * (padded[:, :-2] + padded[:, 2:])
    padded = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (0, 0)), mode="edge")
    return (1 - 2 * share) * x + share * (padded[:, :, :-2] + padded[:, :, 2:])


def training_groups(data: Path) -> list[Group]:
    """The first pictures of every training shape, reduced, with their labels."""
    groups = []
    for shape, count in zip(TRAIN_SHAPES, USED, strict=True):
        draw_all(data, shape)
        pictures = pictures_of(data, shape)
        small = np.concatenate([reduced(pictures[i : min(i + 250, count)]) for i in range(0, count, 250)])
        groups.append((small, labels_of(shape)[:count]))
    return groups


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.classifier", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("demo_work/pictures"), help="folder of the drawn pictures")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the weights go")
    args = parser.parse_args()
    classifier = train(training_groups(args.data))
    classifier.save(args.out)
    draw_all(args.data, VALIDATION)
    right = Classifier.load(args.out).predict(pictures_of(args.data, VALIDATION)) == labels_of(VALIDATION)
    shares = zip(ATTRIBUTES, right.mean(0), strict=True)
    print("validation " + " ".join(f"{name}={share:.3f}" for name, share in shares), f"all={right.all(1).mean():.3f}")


if __name__ == "__main__":
    main()
