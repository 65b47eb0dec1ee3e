"""A network's leaves from wherever they are stored to where they belong, a block at a time while the next are read.

A model may fill the memory: beside what is kept there is never more than one block on the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from flux_engine.configs import Component
from flux_engine.models.apart import Apart
from flux_engine.models.quantised import QuantisedKernel
from flux_engine.request import WeightKind
from flux_engine.weights.casting import bits, empty
from flux_engine.weights.names import STACKS, LeafPath, is_stacked, stored_path
from flux_engine.weights.placing import DEVICE, Placement, block_place, is_in_memory, lies_apart, put
from flux_engine.weights.quantised import Form, form_in_memory
from flux_engine.weights.reading import Wanted, reading
from flux_engine.weights.stored import StoredLeaf, Weights

Shapes = Mapping[LeafPath, tuple[int, ...]]
Kept = Mapping[LeafPath, jax.ShapeDtypeStruct]
Places = Mapping[LeafPath, Sharding]
Parts = Mapping[LeafPath, np.ndarray | jax.Array]


def fill(
    stored: Weights,
    shapes: Shapes,
    kept: Kept,
    dtype: jnp.dtype,
    weights: WeightKind,
    placement: Placement,
    on_read: Callable[[float], None],
) -> dict[LeafPath, jax.Array | Apart]:
    """All leaves where they belong.

    Args:
        stored: where they come from.
        shapes: of the leaves as they are stored, stacked.
        kept: the leaves as they stay in memory.
        dtype: of all that is not in few bits.
        weights, placement, on_read: see `flux_engine.weights.checkpoint.load_network`.
    """
    component = stored.component
    places = {path: placement(path, leaf.shape) for path, leaf in kept.items()}
    forms = {
        path: (form, block_place(placement(path, shapes[path])).with_memory_kind(DEVICE))
        for path in shapes
        if (form := form_in_memory(component, path, weights)) is not None
    }
    single = [path for path in shapes if not is_stacked(component, path)]
    stacks = [[path for path in shapes if path[0] == stack] for stack in STACKS[component]]
    targets = [_targets(component, stack, kept, places) for stack in STACKS[component]]
    wanted = [Wanted(stored_path(component, path), dtype) for path in single]
    for paths, (memory, *_) in zip(stacks, targets, strict=True):
        for path, block in ((path, block) for block in range(shapes[paths[0]][0]) for path in paths):
            source = stored_path(component, path, block)
            kind = _exact(stored.leaves[source]) if path in forms else dtype
            wanted.append(Wanted(source, kind, memory.room(path, block)))
    arrays: dict[LeafPath, jax.Array | Apart] = {}
    total, done = sum(map(math.prod, shapes.values())), 0
    with reading(stored, wanted) as read:
        for path in single:
            arrays[path] = put(next(read), places[path])
            done += math.prod(shapes[path])
            on_read(done / total)
        for paths, of_stack in zip(stacks, targets, strict=True):
            blocks = shapes[paths[0]][0]
            for block in range(blocks):
                parts = _in_their_forms({path: next(read) for path in paths}, forms, dtype)
                for target in of_stack:
                    target.take(block, parts)
                del parts
                done += sum(math.prod(shapes[path]) // blocks for path in paths)
                on_read(done / total)
            for target in of_stack:
                arrays |= target.leaves()
    return arrays


def _targets(
    component: Component, stack: str, kept: Kept, places: Places
) -> tuple[_InMemory, _BlockByBlock, _OnDevice]:
    """What the leaves of one stack go into, each into one of them."""
    leaves = {path: leaf for path, leaf in kept.items() if path[0] == stack and is_stacked(component, path)}
    apart = {path for path in leaves if lies_apart(component, path, places[path])}
    memory = {path for path in leaves if path not in apart and is_in_memory(places[path])}

    def some(paths: Collection[LeafPath]) -> tuple[Kept, Places]:
        return {path: leaves[path] for path in leaves if path in paths}, places

    return _InMemory(*some(memory)), _BlockByBlock(*some(apart)), _OnDevice(*some(leaves.keys() - apart - memory))


class _InMemory:
    """Stacks in the machine's memory, there from the beginning, so that blocks are read into them."""

    def __init__(self, kept: Kept, places: Places) -> None:
        self._places = places
        self._stacks = {path: empty(leaf.shape, leaf.dtype) for path, leaf in kept.items()}

    def room(self, path: LeafPath, block: int) -> np.ndarray | None:
        """For one block of a leaf that is kept as it is read."""
        return self._stacks[path][block] if path in self._stacks else None

    def take(self, block: int, parts: Parts) -> None:
        for path, stack in self._stacks.items():
            if isinstance(parts[path], jax.Array):  # the others were read into it
                bits(stack[block])[...] = bits(np.asarray(parts[path]))

    def leaves(self) -> dict[LeafPath, jax.Array]:
        # One after the other: where it is not used as it is, it is there twice.
        paths = list(self._stacks)
        return {path: jax.block_until_ready(put(self._stacks.pop(path), self._places[path])) for path in paths}


class _BlockByBlock:
    """Stacks of which each block is an array of its own, sent to the device as it is read."""

    def __init__(self, kept: Kept, places: Places) -> None:
        self._places = places
        self._blocks: dict[LeafPath, list[jax.Array]] = {path: [] for path in kept}

    def take(self, block: int, parts: Parts) -> None:
        sent = {path: put(parts[path], block_place(self._places[path])) for path in self._blocks}
        for path, array in jax.block_until_ready(sent).items():
            self._blocks[path].append(array)

    def leaves(self) -> dict[LeafPath, Apart]:
        return {path: Apart(blocks) for path, blocks in self._blocks.items()}


class _OnDevice:
    """Stacks on the device, into which blocks are written there."""

    def __init__(self, kept: Kept, places: Places) -> None:
        self._kept, self._places = kept, {path: places[path] for path in kept}
        self._stacks: list[jax.Array] = []

    def take(self, block: int, parts: Parts) -> None:
        if not self._kept:
            return
        if not self._stacks:
            self._stacks = _zeros(tuple((leaf, self._places[path]) for path, leaf in self._kept.items()))()
        sent = [put(parts[path], block_place(place)) for path, place in self._places.items()]
        self._stacks = jax.block_until_ready(put_block(self._stacks, jax.block_until_ready(sent), block))

    def leaves(self) -> dict[LeafPath, jax.Array]:
        return dict(zip(self._kept, self._stacks, strict=True))


def _exact(leaf: StoredLeaf) -> np.dtype:
    """The type that a leaf is read as, to be rounded once: a product with a scale is not rounded before."""
    as_it_is = leaf.kind == leaf.dtype.name and leaf.dtype.itemsize > 1
    return leaf.dtype if as_it_is else np.dtype(np.float32)


def _in_their_forms(
    parts: Mapping[LeafPath, np.ndarray],
    forms: Mapping[LeafPath, tuple[Form, Sharding]],
    dtype: jnp.dtype,
) -> dict[LeafPath, np.ndarray | jax.Array]:
    """One block's leaves as they are kept: of kernels in few bits each of their parts, made on their device."""
    made: dict[LeafPath, np.ndarray | jax.Array] = {}
    for path, part in parts.items():
        if path not in forms:
            made[path] = part
            continue
        form, home = forms[path]
        kernel = _quantised(put(part, home), form, dtype)
        made |= {(*path, part): array for part, array in kernel.parts.items()}
    return made


@partial(jax.jit, static_argnums=(1, 2))
def _quantised(kernel: jax.Array, form: Form, dtype: jnp.dtype) -> QuantisedKernel:
    return form.of(kernel, dtype)


@cache
def _zeros(
    leaves: tuple[tuple[jax.ShapeDtypeStruct, jax.sharding.Sharding], ...],
) -> Callable[[], list[jax.Array]]:
    """Compiled once for a stack: one by one, they took half of the time that a small network takes to load."""
    homes = [place for _, place in leaves]
    return jax.jit(lambda: [jnp.zeros(leaf.shape, leaf.dtype) for leaf, _ in leaves], out_shardings=homes)


@partial(jax.jit, donate_argnums=0)
def put_block(buffers: list[jax.Array], parts: list[jax.Array], block: int) -> list[jax.Array]:
    """Write one block's leaves into the stacks, in place."""
    put = jax.lax.dynamic_update_index_in_dim
    return [put(buffer, part, block, 0) for buffer, part in zip(buffers, parts, strict=True)]
