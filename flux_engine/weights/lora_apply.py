"""What LoRAs change, placed on the device beside a network's weights. Knows no file and no name of another program.

A LoRA's terms for one module are stacked over the blocks as its kernel is: where ranks differ they are filled up with
zeros, and blocks that have no term get zeros. What cannot lie in one stack becomes a term of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from itertools import chain
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from flux_engine.models import terms
from flux_engine.models.apart import is_apart
from flux_engine.models.by_blocks import to_device
from flux_engine.models.terms import Change, InputGain, OutputGain, Term
from flux_engine.weights import deltas
from flux_engine.weights.checkpoint import Network
from flux_engine.weights.deltas import KernelDelta, VectorDelta
from flux_engine.weights.filling import put_block
from flux_engine.weights.names import LeafPath, own_path
from flux_engine.weights.placing import DEVICE, on_host, put

CHANGES: dict[type[deltas.Term], Callable[..., Change]] = {
    deltas.LowRank: terms.LowRank,
    deltas.Kronecker: terms.Kronecker,
    deltas.Dense: terms.Dense,
}
Side = Literal["in", "out", ""]
# What the axes of each one's arrays are: those of the kernel [in, out], or their own.
SIDES: dict[type[deltas.Term], tuple[tuple[Side, ...], ...]] = {
    deltas.LowRank: (("in", ""), ("", "out")),
    deltas.Kronecker: (("", ""), ("", "")),
    deltas.Dense: (("in", "out"),),
}
GAINS: dict[int, Callable[..., OutputGain | InputGain]] = {
    0: OutputGain,
    1: InputGain,
}  # by the kernel's axis along which a length is taken


@dataclass(frozen=True, eq=False)
class Placed:
    """One LoRA for one network, on its device.

    Attributes:
        terms: by the path of the module that they change.
        vectors: float32 differences of whole leaves, by their paths; they stay in the host's memory.
    """

    terms: dict[LeafPath, list[Term]]
    vectors: dict[LeafPath, np.ndarray]

    def set_strength(self, strength: float) -> None:
        for term in chain.from_iterable(self.terms.values()):
            old = term.strength[...]
            term.strength.set_value(put(np.full(old.shape, strength, np.float32), old.sharding))

    def delete(self) -> None:
        """Give the memory back now."""
        for array in jax.tree.leaves([nnx.state(term) for term in chain.from_iterable(self.terms.values())]):
            array.delete()


def place(
    network: Network,
    kernels: Sequence[KernelDelta],
    vectors: Sequence[VectorDelta],
    on_read: Callable[[float], None] = lambda fraction: None,
) -> Placed:
    """Read what one LoRA changes in `network`, and put it on the network's device in the type of its weights.

    DoRA costs one number for each output (or input) more: it is computed from the weights that `network` has, in
    float32, on the device, a block at a time.

    Args:
        kernels, vectors: of this network only.
        on_read: called after every term with the fraction that is read, above 0 to 1; what it raises ends the reading.
    """
    component = network.config.component
    stacks: dict[_Slot, _Stack] = {}
    for done, delta in enumerate(kernels, 1):
        module, block = own_path(component, delta.module)
        kernel = at(network, module).kernel[...]
        term = delta.read()
        slot = _Slot(module, delta.start, delta.stop, type(term), _fixed_shapes(term))
        parts: list[Any] = [part.astype(kernel.dtype) for part in arrays_of(term)]
        if delta.magnitude is not None:
            axis, gain = gain_less_one(kernel, block, delta, term)
            slot, parts = slot._replace(axis=axis), [*parts, gain]
        while block in (stack := stacks.setdefault(slot, _Stack(kernel, slot.sides))).filled:
            slot = slot._replace(repetition=slot.repetition + 1)
        stack.put(block, parts)
        on_read(done / len(kernels))
    placed: dict[LeafPath, list[Term]] = {}
    for slot, stack in stacks.items():
        placed.setdefault(slot.module, []).append(stack.term(slot))
    return Placed(placed, vector_differences(network, vectors))


def attach(network: Network, loras: Sequence[tuple[Placed, float]]) -> None:
    """Add placed LoRAs, each with its strength, to `network`, which has the weights of its checkpoint and no terms."""
    for lora, strength in loras:
        lora.set_strength(strength)
        for module, its in lora.terms.items():
            at(network, module).terms.extend(its)
    add_vectors(network, [(lora.vectors, strength) for lora, strength in loras])


def vector_differences(network: Network, vectors: Iterable[VectorDelta]) -> dict[LeafPath, np.ndarray]:
    """By what `vectors` change the leaves of `network` at strength 1, float32 and of the leaves' shapes."""
    differences: dict[LeafPath, np.ndarray] = {}
    for delta in vectors:
        path, block = own_path(network.config.component, delta.leaf)
        base = on_host(at(network, path)[...]).astype(np.float32)
        whole = differences.setdefault(path, np.zeros_like(base))
        where = (... if block is None else block, slice(delta.start, delta.stop))
        whole[where] += delta.read() - base[where] if delta.replaces else delta.read()
    return differences


def add_vectors(network: Network, differences: Sequence[tuple[dict[LeafPath, np.ndarray], float]]) -> None:
    """Add the differences of each LoRA, times its strength, to the leaves of `network`."""
    for path in dict.fromkeys(path for of_one, _ in differences for path in of_one):
        leaf = at(network, path)
        base = leaf[...]
        changed: np.ndarray = on_host(base).astype(np.float32)
        for of_one, strength in differences:
            if path in of_one:
                changed = changed + np.float32(strength) * of_one[path]
        leaf.set_value(put(changed.astype(base.dtype), base.sharding))


def at(network: Network, path: LeafPath) -> Any:
    """The module or leaf at a path of the network's own."""
    return reduce(getattr, path, network)


def device_of(leaf: jax.Array) -> jax.sharding.Sharding:
    """Where it is computed with, also if it waits in the host's memory."""
    return leaf.sharding.with_memory_kind(DEVICE)


def beside(kernel: jax.Array, sides: Sequence[Side], shape: Sequence[int]) -> jax.sharding.Sharding:
    """Where an array of a term lies: split as the kernel is, where that comes out even, or whole on every device.

    Args:
        sides: what its last axes are; those before are the blocks of a stack, if there are any.
    """
    place = device_of(kernel)
    if not isinstance(place, NamedSharding):
        return place
    spec = (*place.spec, *[None] * (len(kernel.shape) - is_apart(kernel) - len(place.spec)))
    axes = {"in": spec[-2], "out": spec[-1], "": None}
    named = (*[""] * (len(shape) - len(sides)), *sides)
    split = (axes[side] for side in named)
    return NamedSharding(
        place.mesh,
        P(
            *(
                axis if axis and size % place.mesh.shape[axis] == 0 else None
                for axis, size in zip(split, shape, strict=True)
            )
        ),
    )


def arrays_of(term: deltas.Term) -> tuple[np.ndarray, ...]:
    """Its arrays, in the order in which the modules of `flux_engine.models.terms` take them."""
    return tuple(vars(term).values())


def gain_less_one(kernel: jax.Array, block: int | None, delta: KernelDelta, term: deltas.Term) -> tuple[int, jax.Array]:
    """DoRA's gains for one kernel less 1, float32, and the axis along which the lengths are taken."""
    assert delta.magnitude is not None
    magnitude = delta.magnitude()
    axis = 0 if magnitude.shape[0] == 1 else 1
    if is_apart(getattr(kernel, "values", kernel)):  # of a kernel in few bits the values are
        kernel, block = kernel[block], None
    with jax.default_matmul_precision("highest"):
        gain = _gain_less_one(
            CHANGES[type(term)], delta.start, delta.stop, axis, kernel, block, arrays_of(term), magnitude
        )
    return axis, gain


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _gain_less_one(
    kind: Callable[..., Change],
    start: int,
    stop: int,
    axis: int,
    kernel: jax.Array,
    block: int | None,
    parts: tuple[jax.Array, ...],
    magnitude: jax.Array,
) -> jax.Array:
    base = to_device(kernel if block is None else kernel[block]).astype(jnp.float32)[:, start:stop]
    length = jnp.linalg.norm(base + kind(*parts).dense(base), axis=axis)
    return jnp.where(length > 0, magnitude.reshape(-1) / length, 1.0) - 1.0


class _Slot(NamedTuple):
    """What the terms of one stack have in common."""

    module: LeafPath
    start: int
    stop: int
    kind: type[deltas.Term]
    shapes: tuple[tuple[int, ...], ...]
    axis: int | None = None
    repetition: int = 0

    @property
    def sides(self) -> tuple[tuple[Side, ...], ...]:
        """What the axes of its arrays are; a gain is for the outputs where lengths are taken along the inputs."""
        gain: dict[int | None, tuple[tuple[Side, ...], ...]] = {None: (), 0: (("out",),), 1: (("in",),)}
        return SIDES[self.kind] + gain[self.axis]


def _fixed_shapes(term: deltas.Term) -> tuple[tuple[int, ...], ...]:
    """The shapes that must be the same in all blocks: a rank need not, for zeros fill it up."""
    return (term.left.shape, term.right.shape) if isinstance(term, deltas.Kronecker) else ()


@dataclass
class _Stack:
    """Arrays on the device for the blocks of `kernel`, filled one block after another; or for one that is no stack."""

    kernel: jax.Array
    sides: tuple[tuple[Side, ...], ...]
    arrays: list[jax.Array] = field(default_factory=list)
    filled: set[int | None] = field(default_factory=set)

    def put(self, block: int | None, parts: list[Any]) -> None:
        self.filled.add(block)
        if block is None:
            self.arrays = self._placed(parts)
            return
        count = len(self.kernel)
        wanted = [(count, *part.shape) for part in parts]
        old = self.arrays or [
            jnp.zeros(shape, part.dtype, device=place)
            for part, shape, place in zip(parts, wanted, self._places(wanted), strict=True)
        ]
        shapes = [tuple(map(max, array.shape[1:], part.shape)) for array, part in zip(old, parts, strict=True)]
        buffers = [_padded(array, (count, *shape)) for array, shape in zip(old, shapes, strict=True)]
        parts = [_padded(part, shape) for part, shape in zip(parts, shapes, strict=True)]
        self.arrays = jax.block_until_ready(put_block(buffers, self._placed(parts), block))

    def _places(self, shapes: Iterable[Sequence[int]]) -> list[jax.sharding.Sharding]:
        return [beside(self.kernel, own, shape) for own, shape in zip(self.sides, shapes, strict=True)]

    def _placed(self, arrays: list[Any]) -> list[jax.Array]:
        return list(map(put, arrays, self._places(array.shape for array in arrays)))

    def term(self, slot: _Slot) -> Term:
        stacked = self.kernel.shape[:-2]
        strength = put(np.zeros(stacked, np.float32), beside(self.kernel, (), stacked))
        if slot.axis is None:
            return Term(CHANGES[slot.kind](*self.arrays), slot.start, slot.stop, strength)
        *parts, gain = self.arrays
        return Term(GAINS[slot.axis](CHANGES[slot.kind](*parts), gain), slot.start, slot.stop, strength)


def _padded(array: Any, shape: tuple[int, ...]) -> Any:
    """Zeros after the end of each axis."""
    if array.shape == shape:
        return array
    pad = jnp.pad if isinstance(array, jax.Array) else np.pad
    return pad(array, [(0, want - has) for has, want in zip(array.shape, shape, strict=True)])
