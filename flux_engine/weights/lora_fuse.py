"""What LoRAs change, added to a network's weights themselves. Knows no file.

Nothing is computed beside the weights then, and no memory is taken; to have them as they were is to read them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from flux_engine.models.terms import Term
from flux_engine.weights.checkpoint import Network
from flux_engine.weights.deltas import KernelDelta, VectorDelta
from flux_engine.weights.lora_apply import CHANGES, GAINS, add_vectors, arrays_of, at, gain_less_one, vector_differences
from flux_engine.weights.names import LeafPath, own_path


def fuse(
    network: Network,
    loras: Sequence[tuple[Iterable[KernelDelta], Iterable[VectorDelta], float]],
    on_read: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Add LoRAs, each with its strength, to the weights of `network`: in float32, rounded once, in place.

    Args:
        loras: what each changes in this network.
        on_read: called after every kernel with the fraction that is done, above 0 to 1; what it raises leaves the
            network half changed.
    """
    changes: dict[tuple[LeafPath, int | None], list[tuple[KernelDelta, float]]] = {}
    for kernels, _, strength in loras:
        for delta in kernels:
            changes.setdefault(own_path(network.config.component, delta.module), []).append((delta, strength))
    for done, ((module, block), its) in enumerate(changes.items(), 1):
        kernel = at(network, module).kernel
        graphdef, state = nnx.split(nnx.List(_term(kernel[...], block, delta, strength) for delta, strength in its))
        with jax.default_matmul_precision("highest"):
            kernel.set_value(_added(graphdef, kernel[...], state, block))
        on_read(done / len(changes))
    add_vectors(network, [(vector_differences(network, vectors), strength) for _, vectors, strength in loras])


def _term(kernel: jax.Array, block: int | None, delta: KernelDelta, strength: float) -> Term:
    read = delta.read()
    change = CHANGES[type(read)](*arrays_of(read))
    if delta.magnitude is None:
        return Term(change, delta.start, delta.stop, jnp.float32(strength))
    axis, gain = gain_less_one(kernel, block, delta, read)
    return Term(GAINS[axis](change, gain), delta.start, delta.stop, jnp.float32(strength))


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def _added(graphdef: nnx.GraphDef, kernel: jax.Array, state: nnx.State, block: int | None) -> jax.Array:
    """The kernel, or the stack of them, with the sum of the terms added to one block."""
    base = (kernel if block is None else kernel[block]).astype(jnp.float32)
    changed = sum((term.dense(base) for term in nnx.merge(graphdef, state)), base).astype(kernel.dtype)
    return changed if block is None else jax.lax.dynamic_update_index_in_dim(kernel, changed, block, 0)
