"""Numbers of one type as those of another, rounded as NumPy rounds them, but a cache's worth at a time.

NumPy takes the types that ml_dtypes adds to it one number at a time, and holds Python's lock meanwhile: 6 ns for one in
fp8, 2 for one in bfloat16. What is done here with the bits themselves takes 1, and several threads can do it at once.
"""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

BFLOAT16, FLOAT32 = np.dtype(ml_dtypes.bfloat16), np.dtype(np.float32)
PIECE = 2**18  # numbers that are cast at once: their 32-bit copies are 1 MB, and stay in a core's cache
ALIGNMENT = 64  # bytes; JAX uses an array that begins at a multiple of it as it is, and copies any other


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A new array, C-contiguous, that JAX puts on a CPU without a copy."""
    size = math.prod(shape) * dtype.itemsize
    room = np.empty(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)


def bits(array: np.ndarray) -> np.ndarray:
    """The same memory as unsigned integers: NumPy moves the types that it does not know one by one."""
    return array.view(f"u{array.itemsize}")


def is_fp8(dtype: np.dtype) -> bool:
    """Whether it is a floating-point type of 8 bits."""
    return dtype.name.startswith("float8")


def cast(array: np.ndarray, dtype: np.dtype, factor: np.ndarray | None = None) -> np.ndarray:
    """`array`, times `factor` in float32 if there is one, as `dtype`.

    Args:
        array: C-contiguous; of floating-point numbers, or of integers with a factor.
        factor: float32, one number or one for each place along the last axis.
    """
    if array.dtype == dtype and factor is None:
        return array
    if is_fp8(array.dtype) and (factor is None or factor.size == 1):
        return _looked_up(array, dtype, factor)
    result = empty(array.shape, dtype)
    if not array.size:
        return result
    width = array.shape[-1] if array.ndim else 1
    source, target = array.reshape(-1, width), bits(result).reshape(-1, width)
    step = max(PIECE // width, 1)
    for start in range(0, len(source), step):
        rows = source[start : start + step]
        rows = rows if factor is None else _as(rows, FLOAT32) * factor.reshape(1, -1)
        target[start : start + step] = bits(_as(rows, dtype))
    return result


def _looked_up(array: np.ndarray, dtype: np.dtype, factor: np.ndarray | None) -> np.ndarray:
    """Numbers of 8 bits: there are only 256."""
    numbers = np.arange(256, dtype=np.uint8).view(array.dtype).astype(np.float32)
    table = bits(_as(numbers if factor is None else numbers * factor.reshape(()), dtype))
    result = empty(array.shape, dtype)
    source, target = bits(array).reshape(-1), bits(result).reshape(-1)
    for start in range(0, source.size, PIECE):
        np.take(table, source[start : start + PIECE], out=target[start : start + PIECE], mode="clip")
    return result


def _as(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if is_fp8(array.dtype):
        return _looked_up(array, dtype, None)
    if (array.dtype, dtype) == (FLOAT32, BFLOAT16):
        return _rounded(array.view(np.uint32)).view(BFLOAT16)
    if (array.dtype, dtype) == (BFLOAT16, FLOAT32):
        return (array.view(np.uint16).astype(np.uint32) << 16).view(FLOAT32)
    return array.astype(dtype, copy=False)


def _rounded(whole: np.ndarray) -> np.ndarray:
    """The upper halves of float32's bits, rounded to the nearest, and to the even one of two."""
    halves = whole >> 16
    halves &= 1
    halves += 0x7FFF
    halves += whole
    halves >>= 16
    upper = halves.astype(np.uint16)
    nan = np.isnan(whole.view(np.float32))
    if nan.any():  # rounding may have carried out of it
        upper[nan] = (whole[nan] >> 16 & 0x8000) | 0x7FC0
    return upper
