"""Step caching: a pass takes most of its work from an earlier one while little has changed. Mathematics only.

The first block always runs, and what it adds to the image tokens is a sign of what the others would add: as long as it
has changed by less than a budget since they last ran, what they added then is added again. Such a sign is compared in
ParaAttention's first-block cache; that changes add up until the budget is spent is TeaCache's idea (Liu et al. 2024,
arXiv:2411.19108). Knows no block, no schedule and no prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from flux_engine.models.by_blocks import by_itself


class StepCache(NamedTuple):
    """What is kept of the last pass in which all blocks ran; passed in and out of a compiled program.

    Attributes:
        sign: [B, L, D], what the first block added to the image tokens.
        added: [B, L, D], what the others added.
        spent: float32 scalar, the changes of the sign since then, added up; infinite while nothing is kept.
        reused: int32 scalar, passes so far that took `added`.
    """

    sign: jax.Array
    added: jax.Array
    spent: jax.Array
    reused: jax.Array


def empty_cache(shape: tuple[int, int, int], dtype: jnp.dtype) -> StepCache:
    """The cache before the first pass of a run; `shape` is [B, L, D]."""
    nothing = jnp.zeros(shape, dtype)
    return StepCache(nothing, jnp.zeros(shape, dtype), jnp.float32(jnp.inf), jnp.int32(0))


def others(
    cache: StepCache, sign: jax.Array, x: jax.Array, run: Callable[[], jax.Array], budget: jax.Array
) -> tuple[jax.Array, StepCache]:
    """What the other blocks make of `x`, or nearly so, and the cache for the next pass.

    Args:
        sign: [B, L, D], what the first block added.
        x: [B, L, D], the image tokens after it.
        run: runs the others: their image tokens [B, L, D].
        budget: float32 scalar; what has changed by less is not computed. 0 computes always.
    """
    spent = by_itself(_spent, cache.spent, sign, cache.sign)

    def again() -> tuple[jax.Array, StepCache]:
        return by_itself(_again, cache, x, spent)

    def anew() -> tuple[jax.Array, StepCache]:
        y = run()
        return y, by_itself(_kept, cache, sign, x, y)

    if isinstance(spent, jax.core.Tracer):
        return jax.lax.cond(spent < budget, again, anew)
    return again() if float(spent) < float(budget) else anew()  # no block's program is run in vain


def _spent(before: jax.Array, sign: jax.Array, kept: jax.Array) -> jax.Array:
    return before + change(sign, kept)


def _again(cache: StepCache, x: jax.Array, spent: jax.Array) -> tuple[jax.Array, StepCache]:
    return x + cache.added, cache._replace(spent=spent, reused=cache.reused + 1)


def _kept(cache: StepCache, sign: jax.Array, x: jax.Array, y: jax.Array) -> StepCache:
    return StepCache(sign, y - x, jnp.zeros_like(cache.spent), cache.reused)


def change(sign: jax.Array, before: jax.Array) -> jax.Array:
    """mean |sign - before| / mean |before|, float32; of a batch, that of the picture that changed most.

    All pictures are computed or none is, so each keeps to the budget.
    """
    sign, before = sign.astype(jnp.float32), before.astype(jnp.float32)
    tokens = (1, 2)
    return jnp.max(jnp.mean(jnp.abs(sign - before), tokens) / jnp.mean(jnp.abs(before), tokens))
