"""What LoRAs change, added to a network's weights themselves. Knows no file.

Nothing is computed beside the weights then, and no memory is taken; to have them as they were is to read them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from flux_engine.models.apart import Apart, is_apart
from flux_engine.models.terms import Term
from flux_engine.weights.checkpoint import Network
from flux_engine.weights.deltas import KernelDelta, VectorDelta
from flux_engine.weights.lora_apply import (
    CHANGES,
    GAINS,
    add_vectors,
    arrays_of,
    at,
    device_of,
    gain_less_one,
    vector_differences,
)
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
    changes: dict[LeafPath, dict[int | None, list[tuple[KernelDelta, float]]]] = {}
    for kernels, _, strength in loras:
        for delta in kernels:
            module, block = own_path(network.config.component, delta.module)
            changes.setdefault(module, {}).setdefault(block, []).append((delta, strength))
    done, total = 0, sum(map(len, changes.values()))
    for module, by_block in changes.items():
        leaf = at(network, module).kernel
        home = leaf[...].sharding
        leaf.set_value(jax.device_put(leaf[...], device_of(leaf[...])))  # from the host's memory, if it waits there
        for block, its in by_block.items():
            kernel = leaf[...]
            graphdef, state = nnx.split(nnx.List(_term(kernel, block, delta, strength) for delta, strength in its))
            with jax.default_matmul_precision("highest"):
                if is_apart(kernel) and block is not None:
                    changed = _added(graphdef, kernel[block], state, None)
                    leaf.set_value(Apart([*kernel.blocks[:block], changed, *kernel.blocks[block + 1 :]]))
                else:
                    leaf.set_value(_added(graphdef, kernel, state, block))
            done += 1
            on_read(done / total)
        leaf.set_value(jax.device_put(leaf[...], home))
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
