"""Blocks whose weights are arrays of their own (`Apart`), each run by a program: one serves all of a stack.

Where they are run inside a compiled program, they become part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from flux_engine.models.apart import is_apart
from flux_engine.scalars import near

BLOCKS_THERE = 2  # of those that come from the host's memory: one is computed with, the next is on its way
OPTIONS = {"xla_gpu_enable_triton_gemm": False}
"""XLA's compiler for a block with full weights on a GPU. It would try kernels of its own for each product, and may
choose one for what comes before GELU, which then is a kernel of its own, too; cuBLAS adds a bias and takes GELU within
the product. On an H100 that was 1 % of a step, and the programs took 4 s to compile where it had been 11."""


class Stack(NamedTuple):
    """Stacked blocks in pieces: their structure, and the leaves of their state in its tree's order.

    Of the leaves that are `waiting` a block's own must be sent for.
    """

    graphdef: Any
    tree: Any
    leaves: list[Any]
    waiting: list[bool]

    def block(self, own: list[Any]) -> Any:
        """One block, with leaves of its own."""
        return nnx.merge(self.graphdef, jax.tree.unflatten(self.tree, own))


def fold_apart(
    stack: Stack, steps: Sequence[Callable[..., Any]], carry: Any, beside: Any, shared: tuple[Any, ...], start: int
) -> Any:
    """What `flux_engine.models.layers.scan_blocks` does, with a program for each step.

    A block's weights that wait in the host's memory are sent for before the device is told of the block before it:
    what it shall copy, it copies when all that it was told before is done.

    Args:
        stack: some of its leaves are `Apart`.
        steps: functions of a module, not of a call: their programs are kept.
        carry, beside, shared, start: as there.
    """
    apart = tuple(map(is_apart, stack.leaves))
    first = stack.leaves[apart.index(True)][0]
    is_traced, in_few_bits = isinstance(first, jax.core.Tracer), first.dtype.itemsize == 1

    def sent(number: int) -> list[Any]:
        own = [leaf[start + number] if alone else leaf for leaf, alone in zip(stack.leaves, apart, strict=True)]
        return [to_device(leaf) if waits else leaf for leaf, waits in zip(own, stack.waiting, strict=True)]

    coming = sent(0) if steps else []
    for number, step in enumerate(steps):
        if any(stack.waiting) and not is_traced:
            jax.block_until_ready(carry)  # so that the weights of the block before are not there any more
        own, coming = coming, sent(number + 1) if number + 1 < len(steps) else []
        program = _of_a_block(step, stack.graphdef, stack.tree, apart, in_few_bits)
        carry = _run(program, own, carry, beside, shared, near(first, np.int32(start + number)))
    return carry


def by_itself(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` as a program of its own, unless it is traced as a part of one.

    Between blocks that have programs, all else is better one as well than an operation at a time.

    Args:
        function: a module, or a function of a module of Python's.
    """
    if _noting.get() is None and _is_traced(arguments):
        return function(*arguments)
    if not isinstance(function, nnx.Module):
        return _run(_of_a_function(function), *arguments)
    graphdef, state = nnx.split(function)
    return _run(_of_a_module(graphdef), state, *arguments)


_noting: ContextVar[tuple[dict[Any, Any], Any] | None] = ContextVar("_noting", default=None)


@contextmanager
def noting_programs(place: jax.sharding.Sharding) -> Iterator[dict[Any, Any]]:
    """The programs that are traced here until it ends.

    With each come the shapes of its arguments, which will lie at `place`: JAX's key to compiled programs says it.
    """
    noted: dict[Any, Any] = {}
    token = _noting.set((noted, place))
    try:
        yield noted
    finally:
        _noting.reset(token)


def _run(program: Any, *arguments: Any) -> Any:
    if (noting := _noting.get()) is not None:
        noted, place = noting
        shape = partial(jax.ShapeDtypeStruct, sharding=place)
        noted[program] = jax.tree.map(lambda array: shape(array.shape, array.dtype), arguments)
    if _is_traced(arguments):  # JAX takes options for no program inside another
        return program.__wrapped__(*arguments)
    return program(*arguments)


def _is_traced(arguments: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arguments))


@lru_cache(maxsize=32)
def _of_a_function(function: Callable[..., Any]) -> Any:
    return jax.jit(function)


@lru_cache(maxsize=32)
def _of_a_module(graphdef: Any) -> Any:
    def called(state: Any, *arguments: Any) -> Any:
        return nnx.merge(graphdef, state)(*arguments)

    return jax.jit(called)


@lru_cache(maxsize=32)
def _of_a_block(step: Callable[..., Any], graphdef: Any, tree: Any, apart: tuple[bool, ...], in_few_bits: bool) -> Any:
    def block(leaves: list[Any], carry: Any, beside: Any, shared: tuple[Any, ...], place: jax.Array) -> Any:
        own = [leaf if alone else block_at(leaf, place) for leaf, alone in zip(leaves, apart, strict=True)]
        module = nnx.merge(graphdef, jax.tree.unflatten(tree, own))
        return step(module, carry, *jax.tree.map(lambda stack: block_at(stack, place), beside), *shared)

    return jax.jit(block, compiler_options=None if in_few_bits or jax.default_backend() != "gpu" else OPTIONS)


def waits_on_the_host(leaf: Any) -> bool:
    """Whether an array, or an `Apart`, lies in the host's memory."""
    return jax.typeof(leaf[0] if is_apart(leaf) else leaf).memory_space == jax.memory.Space.Host


def to_device(weights: Any) -> Any:
    """A tree of arrays, wherever they are; what is on the device is not copied."""
    return jax.tree.map(lambda leaf: jax.device_put(leaf, jax.memory.Space.Device), weights)


def block_at(stack: jax.Array, place: Any) -> jax.Array:
    """One block of a stack [N, ...]."""
    return jax.lax.dynamic_index_in_dim(stack, place, keepdims=False)
