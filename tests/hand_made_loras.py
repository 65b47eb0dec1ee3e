"""Changes of tiny networks, made by hand, and what they do to the weights: sums of whole matrices, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from flux_engine.configs import Component
from flux_engine.weights.checkpoint import stored_shapes
from flux_engine.weights.deltas import Dense, KernelDelta, Kronecker, LowRank, Term, VectorDelta
from flux_engine.weights.names import own_path
from tests.tiny import draw

Changes = tuple[list[KernelDelta], list[VectorDelta]]


def low_rank(name: str, inputs: int, outputs: int, rank: int) -> LowRank:
    return LowRank(draw(f"{name} down", (inputs, rank), -0.2, 0.2), draw(f"{name} up", (rank, outputs), -0.2, 0.2))


def kronecker(name: str, left: tuple[int, int], right: tuple[int, int]) -> Kronecker:
    return Kronecker(draw(f"{name} left", left, -0.3, 0.3), draw(f"{name} right", right, -0.3, 0.3))


def dense(name: str, inputs: int, outputs: int) -> Dense:
    return Dense(draw(f"{name} delta", (inputs, outputs), -0.1, 0.1))


def of_kernel(
    component: Component, module: str, term: Term, start: int = 0, stop: int = 0, magnitude: np.ndarray | None = None
) -> KernelDelta:
    """A change of the outputs from `start` on; `stop` is found from the term."""
    stop = stop or start + term.dense().shape[1]
    read_magnitude = None if magnitude is None else lambda: magnitude
    return KernelDelta(component, tuple(module.split(".")), start, stop, lambda: term, read_magnitude)


def of_vector(
    component: Component, leaf: str, numbers: np.ndarray, start: int = 0, replaces: bool = False
) -> VectorDelta:
    return VectorDelta(
        component, tuple(leaf.split(".")), start, start + len(numbers), lambda: numbers, replaces=replaces
    )


def everywhere(network: Any, name: str, rank: int = 3) -> Changes:
    """A low-rank change of every kernel that the network has."""
    component = network.config.component
    kernels = [
        of_kernel(component, ".".join(path[:-1]), low_rank(f"{name} {path}", *shape, rank))
        for path, shape in stored_shapes(component, network.config).items()
        if path[-1] == "kernel"
    ]
    return kernels, []


def changed_by_hand(network: Any, loras: Sequence[tuple[Changes, float]]) -> Any:
    """A copy of the network with the changes added to its weights, in float64."""
    changed = nnx.merge(*nnx.split(network), copy=True)
    component = network.config.component
    for (kernels, vectors), strength in loras:
        for delta in kernels:
            module, block = own_path(component, delta.module)
            columns = (
                np.s_[..., delta.start : delta.stop] if block is None else np.s_[block, :, delta.start : delta.stop]
            )
            base = _numbers(network, (*module, "kernel"))[columns]
            _add(changed, (*module, "kernel"), columns, strength * (_changed(base, delta) - base))
        for vector in vectors:
            path, block = own_path(component, vector.leaf)
            part = (block or 0, slice(vector.start, vector.stop))[block is None :]
            base = _numbers(network, path)[part]
            _add(changed, path, part, strength * (vector.read() - base if vector.replaces else vector.read()))
    return changed


def _changed(base: np.ndarray, delta: KernelDelta) -> np.ndarray:
    changed = base + delta.read().dense()
    if delta.magnitude is None:
        return changed
    magnitude = delta.magnitude()
    return changed * magnitude / np.linalg.norm(changed, axis=0 if magnitude.shape[0] == 1 else 1, keepdims=True)


def _numbers(network: Any, path: tuple[str, ...]) -> np.ndarray:
    return np.asarray(reduce(getattr, path, network)[...], np.float64)


def _add(network: Any, path: tuple[str, ...], where: Any, numbers: np.ndarray) -> None:
    leaf = reduce(getattr, path, network)
    changed = _numbers(network, path)
    changed[where] += numbers
    leaf.set_value(jnp.asarray(changed, leaf[...].dtype))
