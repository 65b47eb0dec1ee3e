"""What is computed beside a linear map x W that is to be a little different: x W + strength * x term. Mathematics only.

A change is one of `LowRank`, `Kronecker` and `Dense`, as it is or inside `OutputGain` or `InputGain`; a `Term` says how
much of it and to which outputs. W itself is never touched. In stacked blocks every array has a leading axis [N].
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx


class LowRank(nnx.Module):
    """down up, of [in, rank] and [rank, out]."""

    def __init__(self, down: jax.Array, up: jax.Array) -> None:
        self.down, self.up = nnx.Param(down), nnx.Param(up)

    def __call__(self, x: jax.Array, product: jax.Array, kernel: jax.Array) -> jax.Array:
        return x @ self.down[...] @ self.up[...]

    def dense(self, kernel: jax.Array) -> jax.Array:
        return self.down[...] @ self.up[...]


class Kronecker(nnx.Module):
    """kron(left, right) of [a, c] and [b, d], never built: two small products take x apart into [a, b]."""

    def __init__(self, left: jax.Array, right: jax.Array) -> None:
        self.left, self.right = nnx.Param(left), nnx.Param(right)

    def __call__(self, x: jax.Array, product: jax.Array, kernel: jax.Array) -> jax.Array:
        left, right = self.left[...], self.right[...]
        parts = x.reshape(*x.shape[:-1], left.shape[0], right.shape[0])
        return jnp.einsum("...ab,ac,bd->...cd", parts, left, right).reshape(product.shape)

    def dense(self, kernel: jax.Array) -> jax.Array:
        return jnp.kron(self.left[...], self.right[...])


class Dense(nnx.Module):
    """A whole difference [in, out]."""

    def __init__(self, delta: jax.Array) -> None:
        self.delta = nnx.Param(delta)

    def __call__(self, x: jax.Array, product: jax.Array, kernel: jax.Array) -> jax.Array:
        return x @ self.delta[...]

    def dense(self, kernel: jax.Array) -> jax.Array:
        return self.delta[...]


Change = LowRank | Kronecker | Dense


class OutputGain(nnx.Module):
    """(W + change) with each output times its gain, less W: DoRA with a length for every output.

    Args:
        more: float32 [out], the gain less 1, so that zeros change nothing. The gain is the length that an output's
            weights shall have, by the one that they have in W + change.
    """

    def __init__(self, change: Change, more: jax.Array) -> None:
        self.change, self.more = change, nnx.Param(more)

    def __call__(self, x: jax.Array, product: jax.Array, kernel: jax.Array) -> jax.Array:
        more = along_last(self.more[...], product.ndim)
        return more * product + (1 + more) * self.change(x, product, kernel)

    def dense(self, kernel: jax.Array) -> jax.Array:
        more = along_last(self.more[...], kernel.ndim)
        return more * kernel + (1 + more) * self.change.dense(kernel)


class InputGain(nnx.Module):
    """(W + change) with each input times its gain, less W: DoRA with a length for every input. Costs a second x W.

    Args:
        more: float32 [in], the gain less 1.
    """

    def __init__(self, change: Change, more: jax.Array) -> None:
        self.change, self.more = change, nnx.Param(more)

    def __call__(self, x: jax.Array, product: jax.Array, kernel: jax.Array) -> jax.Array:
        more = along_last(self.more[...], x.ndim)
        added, scaled = ((x * factor).astype(x.dtype) for factor in (more, 1 + more))
        return added @ kernel + self.change(scaled, product, kernel)

    def dense(self, kernel: jax.Array) -> jax.Array:
        more = self.more[...][:, None]
        return more * kernel + (1 + more) * self.change.dense(kernel)


class Term(nnx.Module):
    """How much of a change, and to which outputs of a linear map.

    Args:
        change: for inputs `in` and outputs `stop - start`.
        start, stop: which outputs.
        strength: float32 [], or [N] in stacked blocks. To write another one compiles nothing.
    """

    def __init__(self, change: Change | OutputGain | InputGain, start: int, stop: int, strength: jax.Array) -> None:
        self.change, self.start, self.stop = change, start, stop
        self.strength = nnx.Variable(strength)

    def __call__(self, x: jax.Array, product: jax.Array, kernel: jax.Array) -> jax.Array:
        """What is added to the outputs [..., out] of x [..., in], whose product with the kernel [in, out] is given."""
        stretch = product[..., self.start : self.stop]
        change = self.change(x, stretch, kernel[:, self.start : self.stop])
        return self._padded((self.strength[...] * change).astype(product.dtype), product.shape[-1])

    def dense(self, kernel: jax.Array) -> jax.Array:
        """The same as numbers to add to the kernel: float32 [in, out] for a kernel float32 [in, out]."""
        change = self.change.dense(kernel[:, self.start : self.stop])
        return self._padded(self.strength[...] * change, kernel.shape[-1])

    def _padded(self, stretch: jax.Array, out: int) -> jax.Array:
        """Zeros around a stretch of the outputs: a sum with it is one pass, where an update in place would scatter."""
        sides = [(0, 0)] * (stretch.ndim - 1) + [(self.start, out - self.stop)]
        return jnp.pad(stretch, sides)


def along_last(vector: jax.Array, ndim: int) -> jax.Array:
    """[n] as [1, ..., 1, n]."""
    return vector.reshape((1,) * (ndim - 1) + (-1,))
