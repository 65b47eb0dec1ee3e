"""What is cast by its bits is what NumPy and ml_dtypes make of it, bit for bit."""

from __future__ import annotations

import jax
import ml_dtypes
import numpy as np
import pytest

from flux_engine.weights.casting import BFLOAT16, FLOAT32, PIECE, bits, cast, empty

FLOAT16 = np.dtype(np.float16)
FP8 = (np.dtype(ml_dtypes.float8_e4m3fn), np.dtype(ml_dtypes.float8_e5m2))


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.dtype == expected.dtype and np.array_equal(bits(found), bits(expected))


def every_upper_half() -> np.ndarray:
    """float32 with each of the 2^16 upper halves, and lower halves at and around the middle between two bfloat16."""
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    return ((np.arange(2**16, dtype=np.uint32) << 16)[:, None] | lower[None, :]).view(np.float32)


def test_float32_becomes_the_nearest_bfloat16() -> None:
    numbers = every_upper_half()
    assert numbers.size > PIECE
    found = cast(numbers, BFLOAT16)
    with np.errstate(all="ignore"):  # NumPy warns of NaN
        assert same(found, numbers.astype(BFLOAT16))


def test_every_bfloat16_becomes_itself_in_float32() -> None:
    numbers = np.arange(2**16, dtype=np.uint16).view(BFLOAT16)
    assert same(cast(numbers, FLOAT32), numbers.astype(FLOAT32))


@pytest.mark.parametrize("target", [FLOAT32, BFLOAT16, FLOAT16], ids=str)
@pytest.mark.parametrize("stored", FP8, ids=str)
def test_every_fp8_becomes_itself_and_its_product_with_a_factor(stored: np.dtype, target: np.dtype) -> None:
    numbers = np.tile(np.arange(256, dtype=np.uint8), PIECE // 128).view(stored).reshape(-1, 512)
    factor = np.float32(0.0123)
    assert same(cast(numbers, target), numbers.astype(FLOAT32).astype(target))
    assert same(cast(numbers, target, np.asarray(factor)), (numbers.astype(FLOAT32) * factor).astype(target))


@pytest.mark.parametrize("stored", [np.dtype(np.int8), FP8[0]], ids=str)
def test_a_factor_for_each_output_is_multiplied_in_float32(stored: np.dtype) -> None:
    random = np.random.default_rng(0)
    numbers = random.integers(-100, 100, (2 * PIECE // 96, 96)).astype(np.float32).astype(stored)
    factors = random.random(96, np.float32)
    product = numbers.astype(FLOAT32) * factors
    assert same(cast(numbers, FLOAT32, factors), product)
    assert same(cast(numbers, BFLOAT16, factors), product.astype(BFLOAT16))


def test_arrays_without_axes_or_numbers_are_cast_too() -> None:
    assert cast(np.array(1.5, np.float32), BFLOAT16).shape == ()
    assert cast(np.zeros((3, 0), np.float32), BFLOAT16).shape == (3, 0)
    assert cast(np.zeros((0, 3), np.int8), FLOAT32, np.ones(3, np.float32)).shape == (0, 3)


def test_a_type_that_it_has_already_costs_nothing() -> None:
    numbers = np.zeros(3, BFLOAT16)
    assert cast(numbers, BFLOAT16) is numbers


@pytest.mark.parametrize("shape", [(), (7,), (33, 65)])
def test_jax_takes_a_new_array_as_it_is(shape: tuple[int, ...]) -> None:
    array = empty(shape, BFLOAT16)
    assert array.shape == shape and array.flags.c_contiguous
    assert jax.device_put(array, jax.devices("cpu")[0]).unsafe_buffer_pointer() == array.ctypes.data
