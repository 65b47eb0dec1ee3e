"""Kernels in 8 and 4 bits: how far off they are; products with them are those of the numbers that they stand for."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

from flux_engine.models.layers import Linear, scan_blocks, stack_blocks
from flux_engine.models.quantised import GROUP, QuantisedKernel, at_most, product, product_after_gelu, quantise
from flux_engine.models.terms import InputGain, LowRank, Term
from flux_engine.models.transformer import MLP
from tests.tiny import draw, relative_error

pytestmark = pytest.mark.usefixtures("quick_compilation")

KINDS = ["int8", "fp8", "int4"]
IN, OUT = 2 * GROUP, 12


def kernel() -> np.ndarray:
    """[in, out] with outputs of very different sizes, the last one of zeros."""
    sizes = np.append(np.geomspace(1e-20, 1e20, OUT - 1), 0)
    return (np.random.default_rng(0).normal(size=(IN, OUT)) * sizes).astype(np.float32)


def dense(quantised: QuantisedKernel) -> np.ndarray:
    """What it stands for, by NumPy alone."""
    values, scale = np.asarray(quantised.values), np.asarray(quantised.scale).astype(np.float64)
    if quantised.kind == "int4":
        pairs = values.view(np.uint8)
        numbers = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(*values.shape[:-1], -1).astype(int)
        numbers = np.where(numbers > 7, numbers - 16, numbers)
        return np.swapaxes(numbers * scale.repeat(numbers.shape[-1] // scale.shape[-1], axis=-1), -1, -2)
    return np.swapaxes(values.astype(np.float64) * scale[..., None], -1, -2)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_as_near_as_it_says(kind: str) -> None:
    found = jax.jit(partial(quantise, kind=kind))(kernel())
    off = np.abs(dense(found) - kernel())
    scale = np.asarray(found.scale).astype(np.float64)
    bound = {
        "int8": lambda: scale / 2,
        "fp8": lambda: np.maximum(np.abs(kernel().astype(float)) / 16, scale * 2.0**-10),
        "int4": lambda: np.abs(scale.repeat(GROUP, axis=-1).T),
    }[kind]()
    assert (off <= bound * (1 + 1e-5)).all()
    assert (off[:, -1] == 0).all()
    assert found.shape == kernel().shape and relative_error(found.astype(jnp.float32), dense(found)) < 1e-6


def test_a_group_of_4_bits_uses_all_sixteen_numbers() -> None:
    found = quantise(jnp.float32(np.linspace(-1, 0.875, GROUP))[:, None], "int4")
    assert sorted(set(np.rint(dense(found)[:, 0] * 8).astype(int))) == list(range(-8, 8))


@pytest.mark.parametrize("kind", KINDS)
def test_bits_a_weight_are_few(kind: str) -> None:
    found = jax.eval_shape(partial(quantise, kind=kind), jax.ShapeDtypeStruct((3072, 1024), jnp.bfloat16))
    bits = 8 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(found)) / (3072 * 1024)
    assert bits == pytest.approx(4.25 if kind == "int4" else 8, rel=0.002)
    assert found.dtype == jnp.bfloat16


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_in_few_bits_already_is_not_rounded_again(kind: str) -> None:
    if kind == "fp8":  # as a file without scales has it
        before = np.random.default_rng(1).normal(size=(IN, OUT)).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    else:
        before = np.asarray(quantise(jnp.asarray(kernel()), kind).astype(jnp.float32))
    assert np.array_equal(quantise(jnp.asarray(before), kind).astype(jnp.float32), before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", [np.nan, np.inf])
def test_what_is_no_number_stays_none(kind: str, fault: float) -> None:
    faulty = kernel()
    faulty[3, 5] = fault
    off = np.isnan(dense(quantise(jnp.asarray(faulty), kind)))
    assert off[:GROUP, 5].all() and not np.delete(off, 5, axis=1).any()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_a_product_is_that_of_the_numbers_it_stands_for(kind: str, dtype: Any) -> None:
    x = jnp.asarray(draw("x", (2, 3, IN), -1, 1), dtype)
    found = quantise(jnp.asarray(draw("kernel", (IN, OUT), -1, 1)), kind)
    result = jax.jit(product)(x, found)
    assert result.dtype == dtype and result.shape == (2, 3, OUT)
    assert relative_error(result, np.asarray(x, np.float64) @ dense(found)) < (2e-6 if dtype == jnp.float32 else 6e-3)


def largest_of(x: np.ndarray) -> np.ndarray:
    return np.abs(x).max(axis=-1, keepdims=True)


def norm_of(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x, axis=-1, keepdims=True)


def in_8_bits_by_token(x: np.ndarray, kind: str, most: np.ndarray) -> np.ndarray:
    scale = most / np.float32({"int8": 127, "fp8": 448}[kind])
    ratio = np.rint(x / scale) if kind == "int8" else (x / scale).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    return ratio * scale.astype(np.float64)


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_a_fast_product_rounds_each_token_to_8_bits(kind: str) -> None:
    x = draw("x", (2, 3, IN), -1, 1) * np.float32([[[1e-3]], [[1e3]]])
    found = quantise(jnp.asarray(draw("kernel", (IN, OUT), -1, 1)), kind, fast=True)
    result = jax.jit(product)(jnp.asarray(x), found)
    rounded = in_8_bits_by_token(x, kind, {"int8": largest_of, "fp8": norm_of}[kind](x))
    assert relative_error(result[0], rounded[0] @ dense(found)) < 2e-6
    assert relative_error(result[1], rounded[1] @ dense(found)) < 2e-6
    assert relative_error(result, x @ dense(found)) > 1e-4


@pytest.mark.parametrize("kind", ["int8", "fp8"])
@pytest.mark.parametrize("is_alone", [True, False])
def test_after_gelu_each_token_is_rounded_by_what_is_largest_in_it(kind: str, is_alone: bool) -> None:
    x = draw("x", (4, 3, IN), -1, 1) * np.float32([[[4]], [[1]], [[1e-2]], [[50]]])
    x[3] = -np.abs(x[3])  # of which GELU leaves nearly nothing
    before = None if is_alone else draw("before", (4, 3, 8), -1, 1) * np.float32([[[4]], [[0]], [[9]], [[1e-3]]])
    rows = IN if is_alone else IN + 8
    found = quantise(jnp.asarray(draw("kernel", (rows, OUT), -1, 1)), kind, fast=True)
    result = jax.jit(product_after_gelu)(jnp.asarray(x), found, None if is_alone else jnp.asarray(before))
    bent = x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x.astype(np.float64) ** 3))) / 2
    inputs = bent if is_alone else np.concatenate([before, bent], axis=-1)
    sure = np.abs(inputs).max(axis=-1) > 0.18  # of smaller ones the scale is that of 0.17
    expected = in_8_bits_by_token(np.float32(inputs), kind, np.float32(largest_of(inputs))) @ dense(found)
    assert sure.sum() == (6 if is_alone else 9)
    assert relative_error(result[sure], expected[sure]) < 5e-3  # one number rounded to the other side is a hundredth
    off = np.abs(result - inputs @ dense(found)).max(axis=-1)
    assert (off < 0.04 * np.maximum(np.abs(inputs).max(axis=-1), 0.17) * np.sqrt(rows)).all()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("start", [0, 5])
def test_what_an_output_is_at_most_is_known_without_it(start: int, dtype: Any) -> None:
    found = quantise(jnp.asarray(draw("kernel", (IN, OUT), -1, 1)), "fp8", fast=True)
    bias = draw("bias", (OUT,), -20, 20)
    longest = dense(found)[:, start:][:, np.linalg.norm(dense(found)[:, start:], axis=0).argmax()]
    x = jnp.asarray(np.stack([size * sign * longest for size in (0, 1e-4, 1, 1e4) for sign in (1, -1)]), dtype)
    most = jax.jit(partial(at_most, start=start))(x, found, jnp.asarray(bias))
    reached = np.abs(np.asarray(jax.jit(product)(x, found), np.float32) + bias)[:, start:].max(axis=-1)
    assert most is not None and most.dtype == jnp.float32 and most.shape == (8, 1)
    assert (reached < most[:, 0]).all() and (reached[[0, 1, 2, 3, 6, 7]] > most[[0, 1, 2, 3, 6, 7], 0] / 1.2).all()


@pytest.mark.parametrize("above", [1, 8, 64])
def test_in_fp8_a_token_may_be_far_below_what_it_is_at_most(above: float) -> None:
    x = draw("x", (6, IN), -1, 1) * np.geomspace(1e-4, 1e4, 6, dtype=np.float32)[:, None]
    found = quantise(jnp.asarray(draw("kernel", (IN, OUT), -1, 1)), "fp8", fast=True)
    result = jax.jit(product_after_gelu)(jnp.asarray(x), found, None, jnp.asarray(above * largest_of(x)))
    expected = np.asarray(jax.nn.gelu(jnp.asarray(x))) @ dense(found)
    for token in range(6):
        assert 1e-3 < relative_error(result[token], expected[token]) < 0.06


@pytest.mark.parametrize("size", [0, 1e-38, 1e-25, 1e15])
def test_inputs_of_any_size_stay_numbers_in_fp8(size: float) -> None:
    x = draw("x", (2, IN), -1, 1) * np.float32(size)
    found = quantise(jnp.asarray(draw("kernel", (IN, OUT), -1, 1)), "fp8", fast=True)
    assert np.isfinite(jax.jit(product)(jnp.asarray(x), found)).all()


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_only_fast_fp8_has_norms(kind: str, fast: bool) -> None:
    found = quantise(jnp.asarray(kernel()), kind, fast=fast)
    if kind == "fp8" and fast:
        assert found.norms is not None and relative_error(found.norms, np.linalg.norm(dense(found), axis=0)) < 1e-6
    else:
        assert found.norms is None and set(found.parts) == {"values", "scale"}


@pytest.mark.parametrize(("kind", "reads"), [("fp8", 0), ("int8", 1)])
def test_what_goes_into_gelu_is_read_once_for_its_largest_at_most(kind: str, reads: int) -> None:
    mlp, wide = MLP(IN, 4 * IN, nnx.Rngs(0), {"dtype": jnp.float32, "param_dtype": jnp.float32}), 4 * IN
    for linear in (mlp.fc1, mlp.fc2):
        linear.kernel.set_value(quantise(linear.kernel[...], kind, fast=True))
    graphdef, state = nnx.split(mlp)
    jaxpr = jax.make_jaxpr(lambda state, x: nnx.merge(graphdef, state)(x))(state, jnp.zeros((1, 3, IN))).jaxpr
    largest = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "reduce_max"]
    assert sum(eqn.invars[0].aval.shape == (1, 3, wide) for eqn in largest) == reads


@pytest.mark.parametrize("fault", [np.nan, np.inf])
def test_a_token_that_is_no_number_makes_no_number_and_spoils_no_other(fault: float) -> None:
    x = draw("x", (2, IN), -1, 1)
    x[1, 7] = fault
    found = quantise(jnp.asarray(draw("kernel", (IN, OUT), -1, 1)), "int8", fast=True)
    for function in (product, product_after_gelu):
        result = function(jnp.asarray(x), found)
        assert np.isfinite(result[0]).all() and np.isnan(result[1]).all()


def chained(blocks: Linear, x: jax.Array) -> jax.Array:
    return scan_blocks(blocks, lambda block, x: block(x), x)


@pytest.mark.parametrize(("kind", "fast"), [("int8", False), ("fp8", True), ("int4", False)])
def test_stacked_maps_are_walked_with_their_terms(kind: str, fast: bool) -> None:
    size, count = GROUP, 2
    blocks = stack_blocks(lambda rngs: Linear(size, size, rngs=rngs), count, nnx.Rngs(0))
    whole = blocks.kernel[...]
    stack = jax.vmap(partial(quantise, kind=kind, fast=fast))(whole)
    shapes = {"down": (count, size, 4), "up": (count, 4, 32)}
    low_rank = LowRank(*(jnp.asarray(draw(name, shape, -0.3, 0.3)) for name, shape in shapes.items()))
    gain = InputGain(low_rank, jnp.asarray(draw("gain", (count, size), -0.5, 0.5)))
    blocks.terms.append(Term(gain, 8, 40, jnp.full(count, 0.5)))
    x = jnp.asarray(draw("x", (3, size), -1, 1))
    blocks.kernel.set_value(jnp.asarray(dense(stack), jnp.float32))
    graphdef, state = nnx.split(blocks)
    run = jax.jit(lambda state: chained(nnx.merge(graphdef, state), x))
    expected = run(state)
    blocks.kernel.set_value(stack)
    result = run(nnx.state(blocks))
    assert relative_error(result, expected) < (0.05 if fast else 2e-6)
