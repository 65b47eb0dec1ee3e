"""The optimiser of every stage: Muon on the matrices, AdamW on the rest, and an average of the weights.

Muon: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon, with the polynomials of Amsel et al. 2025,
arXiv:2505.16932. optax has a Muon too; this one walks stacked matrices one by one, because XLA on a CPU runs the
batched products of a vmap many times slower than plain ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

Params = Any
# Parts of leaf paths that are matrices by shape but not by role; they stay with AdamW.
NOT_MATRICES = frozenset({"img_in", "final_layer", "time_in", "guidance_in", "vector_in", "modulation"})
MIN_MUON_WIDTH = 16
MOMENTUM = 0.95
POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
)


def muon_and_adam(learning_rate: optax.Schedule, *, weight_decay: float = 0.02) -> optax.GradientTransformation:
    """Gradient clipping at norm 1, then Muon with AdamW-sized updates for kernels and AdamW for everything else."""
    muon = optax.chain(
        _muon_direction(),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
    adam = optax.adamw(learning_rate, b1=0.9, b2=0.98, weight_decay=0.0)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.partition({"muon": muon, "adam": adam}, _labels))


def _labels(params: Params) -> Params:
    return jax.tree_util.tree_map_with_path(lambda path, leaf: "muon" if _is_matrix(path, leaf) else "adam", params)


def _is_matrix(path: tuple[Any, ...], leaf: jax.Array) -> bool:
    names = {str(getattr(key, "key", getattr(key, "name", key))) for key in path}
    if "kernel" not in names or names & NOT_MATRICES or any(name.endswith("_mod") for name in names):
        return False
    return min(leaf.shape[-2:]) >= MIN_MUON_WIDTH


def _muon_direction() -> optax.GradientTransformation:
    """Nesterov momentum, made orthogonal, scaled so that its root mean square is AdamW's."""

    def update(grads: Params, momentum: Params, params: Params | None = None) -> tuple[Params, Params]:
        momentum = jax.tree.map(lambda m, g: MOMENTUM * m + g, momentum, grads)
        return jax.tree.map(lambda m, g: _orthogonal_leaf(g + MOMENTUM * m), momentum, grads), momentum

    return optax.GradientTransformation(lambda params: jax.tree.map(jnp.zeros_like, params), update)


def _orthogonal_leaf(leaf: jax.Array) -> jax.Array:
    if leaf.ndim == 4:  # a convolution [kh, kw, in, out] is one matrix
        return orthogonal(leaf.reshape(-1, leaf.shape[-1])).reshape(leaf.shape)
    if leaf.ndim == 3:  # a stack of layers
        return jax.lax.map(orthogonal, leaf)
    return orthogonal(leaf)


def orthogonal(matrix: jax.Array) -> jax.Array:
    """The nearest (semi-)orthogonal matrix, roughly, times 0.2 sqrt(its longer side)."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (1.01 * jnp.linalg.norm(x) + 1e-7)
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return 0.2 * max(matrix.shape) ** 0.5 * (x.T if tall else x)


def warm_flat_decay(peak: float, steps: int, *, warmup: int = 100, flat_share: float = 0.5) -> optax.Schedule:
    """Linear warm-up, flat until `flat_share` of the steps, then linear to 3 % of the peak."""
    flat_until = max(int(steps * flat_share), warmup + 1)
    return optax.join_schedules(
        [
            optax.linear_schedule(0.0, peak, warmup),
            optax.constant_schedule(peak),
            optax.linear_schedule(peak, 0.03 * peak, max(steps - flat_until, 1)),
        ],
        [warmup, flat_until],
    )


@jax.tree_util.register_dataclass
@dataclass
class Training:
    """What a training step changes."""

    params: Params
    ema: Params
    optimizer: optax.OptState
    step: jax.Array

    @classmethod
    def start(cls, params: Params, optimizer: optax.GradientTransformation) -> Training:
        ema = jax.tree.map(jnp.copy, params)
        return cls(params, ema, optimizer.init(params), jnp.zeros((), jnp.int32))

    def apply(self, grads: Params, optimizer: optax.GradientTransformation, ema_decay: float = 0.999) -> Training:
        updates, state = optimizer.update(grads, self.optimizer, self.params)
        params = optax.apply_updates(self.params, updates)
        # Early on a long average would still be the initialisation.
        decay = jnp.minimum(ema_decay, (1.0 + self.step) / (10.0 + self.step))
        ema = jax.tree.map(lambda average, new: decay * average + (1 - decay) * new, self.ema, params)
        return Training(params, ema, state, self.step + 1)
