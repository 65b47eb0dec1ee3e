"""Kernels in 8 or 4 bits as they stay in memory, and what is multiplied by them. Mathematics only: arrays, no names.

"int8" and "fp8" have a scale for each output, "int4" one for each GROUP inputs of each output. What is "fast" rounds
the inputs of a product to 8 bits, too, with a scale for each token, and multiplies 8 bits by 8 bits: an NVIDIA GPU does
that twice as fast as bfloat16, and it adds an error of its own. All else saves memory only: the weights become numbers
of the inputs' type within the product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from flux_engine.models.apart import is_apart
from flux_engine.models.terms import along_last

# What people call them -> the type that is stored, and the largest number of it.
EIGHT_BITS: dict[str, tuple[np.dtype, int]] = {
    "int8": (np.dtype(np.int8), 127),
    "fp8": (np.dtype(jnp.float8_e4m3fn), 448),
}
GROUP = 64  # inputs that share a scale of int4: 4.25 bits a weight
SMALLEST = 2.0**-126  # of a scale: nothing is divided by zero, nor by a number that a processor takes for zero
PARTS = ("values", "scale", "norms")  # the arrays of a kernel
_NIBBLES = np.array([4, 0], np.int8)  # how far to the left of a byte the first and the second of its two numbers begin


@partial(jax.tree_util.register_dataclass, data_fields=PARTS, meta_fields=["kind", "fast", "dtype"])
@dataclass(frozen=True)
class QuantisedKernel:
    """Stands where a kernel [in, out], or a stack [N, in, out] of them, would; `astype` gives that kernel.

    Attributes:
        values: [..., out, in], the inputs side by side as tensor cores read them; of "int4" an int8 [..., out, in / 2],
            of two inputs the first in the lower half of a byte. A stack of them may be an `Apart`.
        scale: float32 [..., out], or for "int4" bfloat16 [..., out, in / group]. The weights are the product.
        kind: "int8", "fp8" or "int4".
        fast: whether inputs are rounded to 8 bits as well; never of "int4".
        dtype: of the weights that these stand for.
        norms: Euclidean, float32 [..., out], of each output's weights; of "fp8" that is fast alone.
    """

    values: Any
    scale: jax.Array
    kind: str
    fast: bool = False
    dtype: Any = field(default=jnp.dtype(jnp.float32))
    norms: jax.Array | None = None

    @property
    def parts(self) -> dict[str, Any]:
        """Its arrays by name."""
        return {part: getattr(self, part) for part in PARTS if getattr(self, part) is not None}

    @property
    def shape(self) -> tuple[int, ...]:
        """The kernel's: [..., in, out]."""
        *stack, outputs, width = self.values.shape
        return (*stack, width * (1 + (self.kind == "int4")), outputs)

    @property
    def sharding(self) -> jax.sharding.Sharding:
        """Where the kernel would lie that this stands for."""
        place: jax.sharding.Sharding = self.values.sharding
        if not isinstance(place, NamedSharding):
            return place
        spec = [*place.spec, *[None] * (len(self.values.shape) - len(place.spec))]
        return place.update(spec=P(*spec[:-2], spec[-1], spec[-2]))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, place: Any) -> QuantisedKernel:
        """The kernel of one block, as it is; `...` is all of them."""
        return self if place is ... else jax.tree.map(lambda leaf: leaf[place], self, is_leaf=is_apart)

    def astype(self, dtype: Any) -> jax.Array:
        """The weights [..., in, out] as numbers of a floating-point type, multiplied in float32."""
        if self.kind != "int4":
            return (self.values.astype(jnp.float32) * self.scale[..., None]).astype(dtype).mT
        numbers = (self.values[..., None] << _along(_NIBBLES, self.values.ndim + 1)) >> np.int8(4)
        groups = numbers.reshape(*self.scale.shape, -1).astype(jnp.float32)
        weights = groups * self.scale[..., None].astype(jnp.float32)
        return weights.astype(dtype).reshape(*self.values.shape[:-1], -1).mT


def quantise(kernel: jax.Array, kind: str, *, fast: bool = False, dtype: Any = None) -> QuantisedKernel:
    """A kernel [in, out] in 8 or 4 bits.

    Of int8 no weight is further off than half a scale, which is a 127th of the output's largest; of fp8 (e4m3) no more
    than a sixteenth of itself, or 2^-10 of a scale if it is below 2^-6 of one, where a scale is a power of two that
    brings the output's largest to above 224; of int4 no more than half a scale, or a whole one near the opposite of its
    group's largest, where a scale is an eighth of that. An output (of int4, a group) with a NaN or an infinity becomes
    NaN.

    Args:
        kernel: of an even number of inputs, for "int4".
        kind: "int8", "fp8" or "int4".
        fast: whether products with it round their inputs, too.
        dtype: what the result stands for; by default the kernel's type.
    """
    dtype = jnp.dtype(dtype or kernel.dtype)
    rows = kernel.astype(jnp.float32).T
    if kind in EIGHT_BITS:
        values, scale = in_eight_bits(rows, kind, axis=-1)
        norms = scale * jnp.linalg.norm(values.astype(jnp.float32), axis=-1) if kind == "fp8" and fast else None
        return QuantisedKernel(values, scale, kind, fast, dtype, norms)
    return QuantisedKernel(*_in_four_bits(rows), kind, False, dtype)


def in_eight_bits(numbers: jax.Array, kind: str, *, axis: int) -> tuple[jax.Array, jax.Array]:
    """Numbers float32 as one of EIGHT_BITS, and their scales float32, of which one serves all along that axis."""
    stored, largest = EIGHT_BITS[kind]
    scale = jnp.abs(numbers).max(axis=axis) / largest
    if kind == "fp8":  # so that what was in fp8 already, with whatever scales of that sort, is not rounded again
        scale = _power_of_two_above(scale)
    scale = jnp.where(jnp.isfinite(scale), jnp.maximum(scale, SMALLEST), jnp.nan)
    return _rounded(numbers / jnp.expand_dims(scale, axis), stored), scale


def _power_of_two_above(x: jax.Array) -> jax.Array:
    """The smallest one that is not below x."""
    fraction, exponent = jnp.frexp(x)
    return jnp.where(jnp.isfinite(x), jnp.ldexp(jnp.float32(1), exponent - (fraction == 0.5)), x)


def _in_four_bits(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The largest of a group becomes -8, whatever its sign: of 16 numbers all are used, as in llama.cpp's Q4_0."""
    outputs, inputs = rows.shape
    groups = rows.reshape(outputs, -1, math.gcd(inputs, GROUP))
    largest = jnp.take_along_axis(groups, jnp.abs(groups).argmax(axis=-1, keepdims=True), axis=-1)
    scale = jnp.where(largest == 0, 1, largest / -8).astype(jnp.bfloat16)
    scale = jnp.where(jnp.isfinite(groups).all(axis=-1, keepdims=True), scale, jnp.nan)
    numbers = jnp.clip(jnp.rint(groups / scale.astype(jnp.float32)), -8, 7).astype(jnp.int8).reshape(outputs, -1, 2)
    return (numbers[..., 0] & 15) | (numbers[..., 1] << 4), scale[..., 0]


def product(x: jax.Array, kernel: QuantisedKernel) -> jax.Array:
    """x [..., in] times the kernel [in, out], in x's type."""
    if kernel.kind == "int4":
        return x @ kernel.astype(x.dtype)
    if kernel.fast:
        return _fast_product(x, _reach(x, kernel.kind), kernel, x.dtype)
    # Scaled afterwards: a number of 8 bits is one of bfloat16 as it is, a weight would be rounded once more.
    plain = _dot(x, kernel.values.astype(x.dtype), x.dtype)
    return (plain.astype(jnp.float32) * along_last(kernel.scale, x.ndim)).astype(x.dtype)


def at_most(x: jax.Array, kernel: QuantisedKernel, bias: jax.Array, start: int = 0) -> jax.Array | None:
    """What x [..., in] times the kernel [in, out] and the bias [out] gives is no larger, from output `start` on.

    No sum is larger than the norms of what is multiplied (Cauchy-Schwarz). An eighth is added for what is rounded: fp8
    inputs, by a sixteenth at most, the accumulator, and the result.

    Returns:
        Magnitudes float32 [..., 1], known without the product; None where the kernel has no norms.
    """
    if kernel.norms is None:
        return None
    # In one array, so that a GPU looks for both in one kernel.
    norm, offset = jnp.stack([kernel.norms, jnp.abs(bias.astype(jnp.float32))])[:, start:].max(axis=-1)
    return 1.125 * (_reach(x, kernel.kind) * norm + offset)


def product_after_gelu(
    x: jax.Array, kernel: QuantisedKernel, before: jax.Array | None = None, most: jax.Array | None = None
) -> jax.Array:
    """gelu(x), or `before` and gelu(x) side by side [..., in], times a fast kernel [in, out], in x's type.

    GELU is in float32, which an NVIDIA GPU takes fewer instructions for.

    Args:
        most: what no magnitude of x is above, float32 [..., 1], and so none of gelu(x), if `at_most` knew it. Else x is
            read once for that alone: as GELU grows from its least value on, which is -0.17, the largest x says it.
    """
    if most is None:
        most = jnp.maximum(_gelu(x.max(axis=-1, keepdims=True)), 0.1701)
    inputs = _gelu(x)
    if before is not None:
        most = jnp.maximum(most, jnp.abs(before).max(axis=-1, keepdims=True).astype(jnp.float32))
        inputs = jnp.concatenate([before.astype(jnp.float32), inputs], axis=-1)
    return _fast_product(inputs, most, kernel, x.dtype)


def _reach(x: jax.Array, kind: str) -> jax.Array:
    """What no magnitude of x along its last axis is above, float32 [..., 1].

    Of fp8 that is x's norm, from which more follows (`at_most`). It may be far above them: numbers of fp8 are as exact
    down to a 28,000th of the largest. Norms below 2^-60 are taken for that, since float32 has no squares of them; those
    above 2^64 become infinite, and the token's outputs NaN.
    """
    if kind == "int8":
        return jnp.abs(x).max(axis=-1, keepdims=True).astype(jnp.float32)
    return jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(x.astype(jnp.float32)), axis=-1, keepdims=True), 2.0**-120))


def _gelu(x: jax.Array) -> jax.Array:
    """GELU's approximation by tanh (Hendrycks & Gimpel 2016, arXiv:1606.08415) in float32; (1 + tanh u) / 2 is
    sigmoid(2 u)."""
    x = x.astype(jnp.float32)
    return x * jax.nn.sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def _fast_product(x: jax.Array, most: jax.Array, kernel: QuantisedKernel, dtype: Any) -> jax.Array:
    """The product in a type; no magnitude of x is above `most`, float32 [..., 1], but for rounding."""
    stored, largest = EIGHT_BITS[kernel.kind]
    # The accumulator of integers is exact; that of fp8 is wide, and is rounded to that type as it is written.
    summed = jnp.int32 if kernel.kind == "int8" else dtype
    scale = jnp.maximum(most / largest, SMALLEST)
    inverse = jax.lax.optimization_barrier(1 / scale)  # else each number is divided, which takes ten times as long
    rounded = _rounded(x.astype(jnp.float32) * inverse, stored)
    # Asked for more, cuBLAS would leave out the quick accumulation of fp8.
    plain = _dot(rounded, kernel.values, summed, jax.lax.Precision.DEFAULT)
    return (plain.astype(jnp.float32) * scale * along_last(kernel.scale, x.ndim)).astype(dtype)


def _dot(x: jax.Array, rows: jax.Array, dtype: Any, precision: jax.lax.Precision | None = None) -> jax.Array:
    """[..., in] and [out, in] to [..., out]: both read along their last axis, as cuBLAS needs its 8 bits."""
    sides = (((x.ndim - 1,), (1,)), ((), ()))
    return jax.lax.dot_general(x, rows, sides, precision, preferred_element_type=dtype)


def _rounded(x: jax.Array, dtype: np.dtype) -> jax.Array:
    return (jnp.rint(x) if dtype == jnp.int8 else x).astype(dtype)


def _along(vector: np.ndarray, ndim: int) -> jax.Array:
    return along_last(jnp.asarray(vector), ndim)
