"""Networks with random weights, full or in few bits. Knows no file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from flux_engine.configs import NetworkConfig
from flux_engine.models.apart import Apart
from flux_engine.models.quantised import QuantisedKernel
from flux_engine.request import WeightKind
from flux_engine.weights.checkpoint import abstract_network, named_leaves
from flux_engine.weights.names import LeafPath, is_stacked
from flux_engine.weights.placing import HOST, Placement, block_place, lies_apart
from flux_engine.weights.quantised import Form, form_in_memory


def random_network(
    config: NetworkConfig, dtype: jnp.dtype, placement: Placement, weights: WeightKind = "full"
) -> tuple[nnx.GraphDef, nnx.State]:
    """A network with normal weights, as small as its widths ask for; norms' scales are 1, biases 0.

    The numbers are the same for all kinds of `weights`. What waits on the host is made first, so that the device never
    holds it beside the rest.
    """
    component = config.component
    graphdef, plain = nnx.split(abstract_network(component, config, dtype))
    shapes = {path: leaf.shape for path, leaf in named_leaves(plain).items()}
    keys = dict(zip(shapes, jax.random.split(jax.random.key(0, impl="rbg"), len(shapes)), strict=True))
    places = {path: placement(path, shape) for path, shape in shapes.items()}
    leaves: dict[LeafPath, Any] = {}
    for path in sorted(shapes, key=lambda path: places[path].memory_kind != HOST):
        shape, place, form = shapes[path], places[path], form_in_memory(component, path, weights)
        if path[-1] not in ("kernel", "embedding"):
            leaves[path] = jax.device_put(jnp.full(shape, path[-1] == "scale", dtype), place)
        elif not is_stacked(component, path):
            leaves[path] = _placed(path, _made(keys[path], shape, dtype, form), placement)
        elif lies_apart(component, path, place):
            blocks = jax.random.split(keys[path], shape[0])
            sent = [_sent(_made(key, shape[1:], dtype, form), block_place(place)) for key in blocks]
            leaves[path] = _apart(path, sent, placement)
        else:
            stack = _stack(jax.random.split(keys[path], shape[0]), shape[1:], dtype, form)
            leaves[path] = _placed(path, stack, placement)
        jax.block_until_ready(leaves[path])
    return graphdef, jax.tree.unflatten(jax.tree.structure(plain), [leaves[path] for path in shapes])


def _placed(path: LeafPath, leaf: Any, placement: Placement) -> Any:
    """Put where it belongs; of a kernel in few bits, each of its parts."""
    if not isinstance(leaf, QuantisedKernel):
        return jax.device_put(leaf, placement(path, leaf.shape))
    return replace(leaf, **{part: _placed((*path, part), array, placement) for part, array in leaf.parts.items()})


def _sent(block: Any, place: jax.sharding.Sharding) -> Any:
    """Put there, of a kernel in few bits the values, before the next one is made."""
    if not isinstance(block, QuantisedKernel):
        return jax.block_until_ready(jax.device_put(block, place))
    return replace(block, values=jax.block_until_ready(jax.device_put(block.values, place)))


def _apart(path: LeafPath, blocks: Sequence[Any], placement: Placement) -> Any:
    """Kernels side by side; of those in few bits, the values."""
    if not isinstance(blocks[0], QuantisedKernel):
        return Apart(blocks)
    stacked = {part: jnp.stack([block.parts[part] for block in blocks]) for part in blocks[0].parts if part != "values"}
    placed = {part: _placed((*path, part), stack, placement) for part, stack in stacked.items()}
    return replace(blocks[0], values=Apart(block.values for block in blocks), **placed)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _made(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype, form: Form | None) -> Any:
    kernel = (jax.random.normal(key, shape) * shape[-2] ** -0.5).astype(dtype)
    return kernel if form is None else form.of(kernel, dtype)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _stack(keys: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype, form: Form | None) -> Any:
    """A block at a time, so that no more than one is there in float32 beside the result."""
    return jax.lax.map(lambda key: _made(key, shape, dtype, form), keys)
