"""Pieces that several networks share. Mathematics only: no file, no device, no prompt.

Dimensions, here and in every network: B batch, L image tokens, T text tokens, S = T + L, D width, H heads,
K head size, M mlp width, h w latent grid, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from flux_engine.models.apart import is_apart
from flux_engine.models.by_blocks import Stack, block_at, fold_apart, to_device, waits_on_the_host
from flux_engine.models.quantised import QuantisedKernel, at_most, product, product_after_gelu
from flux_engine.models.terms import along_last

Block = TypeVar("Block", bound=nnx.Module)
ROWS = 32  # as many as a picture's steps are computed at once; with 8, a single row takes 5 ms less, of a step of 0.6 s
MANY_TOKENS, SOME_TOKENS, SOME_FLOAT32_TOKENS = 2048, 640, 1280  # see `by_tokens`, and `Linear`


def stack_blocks(make: Callable[[nnx.Rngs], Block], count: int, rngs: nnx.Rngs) -> Block:
    """`count` blocks as one module whose every leaf has a leading axis of that length, each with its own weights."""

    @nnx.split_rngs(splits=count)
    @nnx.vmap(in_axes=0, out_axes=0)
    def build(rngs: nnx.Rngs) -> Block:
        return make(rngs)

    return build(rngs)


def scan_blocks(
    blocks: Block,
    step: Callable[..., Any],
    carry: Any,
    *beside: Any,
    shared: tuple[Any, ...] = (),
    last: Callable[..., Any] | None = None,
    idle: Collection[str] = (),
    start: int = 0,
    stop: int | None = None,
) -> Any:
    """Fold `carry` through stacked blocks, compiling `step(block, carry, *beside, *shared)` once for all of them.

    Weights may lie in the host's memory: a block's own come to the device while the block before it is computed, so
    that two blocks' are there. Where they are arrays of their own (`Apart`), `flux_engine.models.by_blocks` does it.

    Args:
        beside: trees of arrays [N, ...], of which each step gets its block's own.
        shared: what all of them get.
        last: takes the last step instead; its result may have another shape.
        idle: the block's modules that no step uses: their weights need not come.
        start, stop: the numbers of the first block and of the one after the last; by default all are walked through.
    """
    graphdef, state = nnx.split(blocks)
    named, tree = jax.tree_util.tree_flatten_with_path(state, is_leaf=is_apart)
    leaves = [leaf for _, leaf in named]
    waiting = [path[0].key not in idle and waits_on_the_host(leaf) for path, leaf in named]
    stack = Stack(graphdef, tree, leaves, waiting)
    stop = len(leaves[0]) if stop is None else stop
    walked = stop - (last is not None)
    if any(map(is_apart, leaves)):
        steps = [step] * (walked - start) + ([] if last is None else [last])
        return fold_apart(stack, steps, carry, beside, shared, start)

    def fetched(place: Any) -> list[jax.Array]:
        return [to_device(block_at(leaf, place)) for leaf, waits in zip(leaves, waiting, strict=True) if waits]

    def taken(by: Callable[..., Any], carry: Any, place: Any, ready: list[jax.Array]) -> Any:
        there = iter(ready)
        own = [next(there) if waits else block_at(leaf, place) for leaf, waits in zip(leaves, waiting, strict=True)]
        others = jax.tree.map(lambda array: block_at(array, place), beside)
        return by(stack.block(own), carry, *others, *shared)

    def taken_while_the_next_comes(place: Any, both: tuple[Any, list[jax.Array]]) -> tuple[Any, list[jax.Array]]:
        carry, ready = both
        coming = fetched(jnp.minimum(place + 1, stop - 1))
        return taken(step, carry, place, ready), coming

    # By number, not by slices: of all blocks but the last, XLA would make a copy.
    carry, ready = jax.lax.fori_loop(start, walked, taken_while_the_next_comes, (carry, fetched(start)))
    return carry if last is None else taken(last, carry, walked, ready)


def map_blocks(blocks: Linear, x: jax.Array) -> jax.Array:
    """What each of N stacked maps makes of x [B, in]: [N, B, out], as `map_rows` has it; see `scan_blocks`.

    In float32 a CPU takes a product of the whole stack, of which it then need not copy each map's weights.
    """
    graphdef, state = nnx.split(blocks)
    leaves = jax.tree.leaves(state)

    def one(weights: nnx.State, x: jax.Array) -> jax.Array:
        y: jax.Array = nnx.merge(graphdef, weights)(x)
        return y

    def of_all(x: jax.Array) -> jax.Array:
        each = jnp.broadcast_to(x, (len(leaves[0]), *x.shape))  # else XLA would turn the stack
        return jnp.swapaxes(jax.vmap(one)(state, each), 0, 1)

    in_float32 = all(leaf.dtype == jnp.float32 for leaf in (x, *leaves))
    if is_on_a_cpu(x) and in_float32 and not any(map(waits_on_the_host, leaves)):
        return jnp.swapaxes(map_rows(of_all, x), 0, 1)
    return jax.lax.map(lambda weights: map_rows(partial(one, to_device(weights)), x), state)


def map_rows(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """`function` of arrays [B, ...], ROWS rows at a time: a row's result is the same, to the last bit, in any company.

    Products of another number of rows add up in another order.
    """
    rows = len(arrays[0])
    chunks = -(-rows // ROWS)

    def chunked(array: jax.Array) -> jax.Array:
        padded = jnp.pad(array, [(0, chunks * ROWS - rows), *[(0, 0)] * (array.ndim - 1)])
        return padded.reshape(chunks, ROWS, *array.shape[1:])

    results = jax.lax.map(lambda some: function(*some), tuple(map(chunked, arrays)))
    return results.reshape(chunks * ROWS, *results.shape[2:])[:rows]


def by_tokens(function: Callable[..., Any], *arrays: jax.Array) -> Any:
    """A tree of arrays [B, S, ...], what `function` makes of such, in which no token knows of another.

    On a CPU it takes some of many tokens at a time, so that what it has in between is never there for all of them. At
    4,352 tokens a step in bfloat16 took 10 % less time and memory for it with JAX 0.12; one in float32 takes as long as
    with all at once, 4 to 5 % less than with 544, and 2 to 13 % less memory.
    """
    S = arrays[0].shape[1]
    if not is_on_a_cpu(arrays[0]) or S <= MANY_TOKENS:
        return function(*arrays)
    least = -(-S // (SOME_FLOAT32_TOKENS if arrays[0].dtype == jnp.float32 else SOME_TOKENS))
    chunks = next((count for count in range(least, 2 * least) if S % count == 0), least)
    size = -(-S // chunks)

    def chunked(array: jax.Array) -> jax.Array:
        padded = jnp.pad(array, [(0, 0), (0, chunks * size - S), *[(0, 0)] * (array.ndim - 2)])
        return rearrange(padded, "B (chunks size) ... -> chunks B size ...", chunks=chunks)

    def whole(array: jax.Array) -> jax.Array:
        return rearrange(array, "chunks B size ... -> B (chunks size) ...")[:, :S]

    return jax.tree.map(whole, jax.lax.map(lambda some: function(*some), tuple(map(chunked, arrays))))


def by_rows(function: Callable[..., jax.Array], *arrays: jax.Array) -> jax.Array:
    """`function` of arrays [..., n], which on a CPU it gets as the matrices that XLA makes of them for a product.

    Of a reshaped array, XLA does not see that a sum or a GELU could take its place in the memory.
    """
    if not is_on_a_cpu(arrays[0]):
        return function(*arrays)
    result = function(*(array.reshape(-1, array.shape[-1]) for array in arrays))
    return result.reshape(*arrays[0].shape[:-1], result.shape[-1])


def is_on_a_cpu(array: jax.Array) -> bool:
    """Whether a single CPU computes with it."""
    return jax.default_backend() == "cpu" and jax.typeof(array).sharding.mesh.size <= 1


def layer_norm(x: jax.Array, eps: float = 1e-6) -> jax.Array:
    """LayerNorm without affine over the last axis; statistics in float32, result in x's dtype."""
    x32 = x.astype(jnp.float32)
    mean = jnp.mean(x32, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(x32 - mean), axis=-1, keepdims=True)
    return ((x32 - mean) * jax.lax.rsqrt(variance + eps)).astype(x.dtype)


class Linear(nnx.Linear):
    """x W + b, and what `terms`, each a `flux_engine.models.terms.Term`, add to it; without any it is nnx.Linear.

    In the place of a kernel there may be a QuantisedKernel.
    """

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.terms = nnx.List()

    def __call__(self, x: jax.Array) -> jax.Array:
        stored = self.kernel[...]
        is_quantised = isinstance(stored, QuantisedKernel)
        if not self.terms and not is_quantised:
            return super().__call__(x)
        x, kernel = x.astype(self.dtype), stored.astype(self.dtype)  # a kernel that no term asks for is not computed
        y = plain = product(x, stored) if is_quantised else x @ kernel
        if self.bias is not None:
            y = y + along_last(self.bias[...].astype(self.dtype), x.ndim)
        for term in self.terms:
            y = y + term(x, plain, kernel)
        return y

    def part(self, start: int, stop: int | None = None) -> Callable[[jax.Array], jax.Array]:
        """The map to the outputs from `start` on up to `stop`, where it `takes_parts`: [B, S, in] to them."""
        kernel, bias = (array[..., start:stop].astype(self.dtype) for array in (self.kernel[...], self.bias[...]))

        def mapped(x: jax.Array) -> jax.Array:
            return x.astype(self.dtype) @ kernel + along_last(bias, x.ndim)

        return lambda x: by_rows(mapped, x)

    def at_most(self, x: jax.Array, start: int = 0) -> jax.Array | None:
        """What no magnitude of x's outputs from `start` on is above, float32 [B, S, 1]; None if only they can say."""
        stored = self.kernel[...]
        if self.terms or not isinstance(stored, QuantisedKernel):
            return None
        return at_most(x.astype(self.dtype), stored, self.bias[...], start)

    def after_gelu(self, x: jax.Array, before: jax.Array | None = None, most: jax.Array | None = None) -> jax.Array:
        """The outputs [B, S, out] of gelu(x), or of `before` and gelu(x) side by side [B, S, in].

        Args:
            most: what no magnitude of x is above, if `at_most` knew it.
        """
        stored = self.kernel[...]
        if isinstance(stored, QuantisedKernel) and stored.fast and not self.terms:
            y = product_after_gelu(x.astype(self.dtype), stored, before, most)
            return y + along_last(self.bias[...].astype(self.dtype), x.ndim)
        inputs = by_rows(nnx.gelu, x)
        if before is None:
            return self(inputs)
        if not self.takes_parts(x):
            return self(jnp.concatenate([before, inputs], axis=-1))
        kernel, bias, first = stored.astype(self.dtype), self.bias[...].astype(self.dtype), before.shape[-1]

        def added(before: jax.Array, inputs: jax.Array) -> jax.Array:
            of_first, of_others = before.astype(self.dtype) @ kernel[:first], inputs.astype(self.dtype) @ kernel[first:]
            return of_first + of_others + along_last(bias, before.ndim)

        return by_rows(added, before, inputs)

    def takes_parts(self, x: jax.Array) -> bool:
        """Whether products of parts are better than one of all: on a CPU, where there are some tokens.

        What they are made of need not be copied to one place, and of what they give, nothing waits for the rest. At
        1,280 tokens a step takes 3 to 5 % less time for it, and up to 6 % less memory. In bfloat16 each product is
        rounded before they are added: on random weights a velocity was off by 0.756 % then, and by 0.754 % without.
        """
        is_plain = not self.terms and not isinstance(self.kernel[...], QuantisedKernel)
        return is_plain and is_on_a_cpu(x) and x.shape[1] >= SOME_TOKENS


class RMSNorm(nnx.Module):
    """Root-mean-square norm with a learned scale, computed in float32 (Zhang & Sennrich 2019, arXiv:1910.07467)."""

    def __init__(self, dim: int, *, eps: float = 1e-6, param_dtype: jnp.dtype = jnp.float32) -> None:
        self.scale = nnx.Param(jnp.ones((dim,), param_dtype))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        x32 = x.astype(jnp.float32)
        inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + self.eps)
        # A GPU would write the norms to memory and read them again: now what follows takes them from x and this.
        inverse = jax.lax.optimization_barrier(inverse)
        return (x32 * inverse * along_last(self.scale[...].astype(jnp.float32), x.ndim)).astype(x.dtype)
