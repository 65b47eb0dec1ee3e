"""Files of tensors as mappings from names to tensors that are read when asked for: safetensors and GGUF.

Knows bytes, types and what a damaged file looks like. Knows no network. Files are read, not mapped: the pages of a
mapped file would count as this process's memory, and an error of the disk would end it.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from flux_engine.errors import CheckpointCorrupt, CheckpointNotFound
from flux_engine.weights.casting import BFLOAT16, FLOAT32, bits, cast, empty
from flux_engine.weights.opening import opened

DAMAGED_HINT = "Copy or download it again."

# safetensors' names of types, https://github.com/huggingface/safetensors (format in its README).
DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    **{
        f"{sign}{bits}": np.dtype(f"{name}{bits}")
        for sign, name in (("I", "int"), ("U", "uint"))
        for bits in (8, 16, 32, 64)
    },
    "BOOL": np.dtype(bool),
}


PIECE_BYTES = 2**20  # read at once, so that what becomes of them finds them in a core's cache


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor in a file.

    Attributes:
        shape: of the array that `read` gives.
        dtype: of the numbers, where none is asked for; bfloat16 for what has fewer bits and a factor.
        kind: what is stored, for people: "bfloat16", "Q8_0".
        file: where it is, for messages.
        rows: reads a stretch (start, stop) of its first axis as a type, into memory of its own.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    kind: str
    file: Path
    rows: Callable[[int, int, np.dtype], np.ndarray]

    def read(self, dtype: np.dtype | None = None) -> np.ndarray:
        """All of it, by default in its own type.

        Raises:
            CheckpointCorrupt: the file cannot be read any more.
        """
        whole = empty(self.shape, dtype or self.dtype)
        self.read_into(whole)
        return whole

    def read_into(self, target: np.ndarray) -> None:
        """The same into an array of its shape and any type, C-contiguous."""
        length = self.shape[0] if self.shape else 1
        step = max(PIECE_BYTES // max(target.nbytes // max(length, 1), 1), 1)
        places = bits(target).reshape(length, *self.shape[1:])
        for start in range(0, length, step):
            stop = min(start + step, length)
            places[start:stop] = bits(self.rows(start, stop, target.dtype))


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .gguf file, by name; which of both it is, its first bytes say.

    Raises:
        CheckpointNotFound: there is no such file, or it may not be read.
        CheckpointCorrupt: it is neither, or its header contradicts itself or the file's size.
    """
    try:
        with opened(file) as its:
            magic = its.read(4)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointNotFound(
            f"{file} cannot be read: {reason}.", hint="Check the name and its permissions."
        ) from error
    return _gguf(file) if magic == b"GGUF" else _safetensors(file)


def _safetensors(file: Path) -> dict[str, Tensor]:
    """The library checks the header: names, types, offsets without a gap, and the file's size."""
    import safetensors

    try:
        with safetensors.safe_open(file, framework="np"):
            pass
        header, start = _header(file)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointCorrupt(f"{file} is no whole safetensors file ({error}).", hint=DAMAGED_HINT) from error
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in DTYPES:
            raise CheckpointCorrupt(
                f"{file}: {name} has the type {entry['dtype']}, which no FLUX checkpoint known here has.",
                hint="Take the bf16, fp8 or GGUF file of this model.",
            )
        dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
        tensors[name] = _plain(file, dtype, shape, start + entry["data_offsets"][0])
    return tensors


def _header(file: Path) -> tuple[Mapping[str, dict[str, Any]], int]:
    """The header of a file that has been checked, and where the data begin."""
    with opened(file) as its:
        (size,) = struct.unpack("<Q", its.read(8))
        return json.loads(its.read(size)), 8 + size


def _plain(file: Path, dtype: np.dtype, shape: tuple[int, ...], offset: int) -> Tensor:
    """A tensor whose numbers are stored one after the other."""

    def rows(start: int, stop: int, as_dtype: np.dtype) -> np.ndarray:
        return cast(_stretch(file, dtype, shape, offset, start, stop), as_dtype)

    return Tensor(shape, dtype, dtype.name, file, rows)


def _stretch(file: Path, dtype: np.dtype, shape: tuple[int, ...], offset: int, start: int, stop: int) -> np.ndarray:
    """The numbers from `start` to `stop` of the first axis of an array that begins at `offset`."""
    width = math.prod(shape[1:])
    count = (stop - start) * width
    try:
        array = np.fromfile(file, dtype, count, offset=offset + start * width * dtype.itemsize)
    except OSError as error:
        raise CheckpointCorrupt(f"{file} cannot be read any more: {error}.", hint=DAMAGED_HINT) from error
    if array.size != count:  # it has become shorter since
        raise CheckpointCorrupt(f"{file} ends too early.", hint=DAMAGED_HINT)
    return array.reshape(stop - start, *shape[1:])


def _gguf(file: Path) -> dict[str, Tensor]:
    """Tensors of a GGUF file, dequantised in float32 when they are read; the `gguf` package knows the block formats.

    What is stored in blocks counts as bfloat16: of its 8 bits or fewer, few are lost in it.
    """
    import gguf

    try:
        reader = gguf.GGUFReader(file)
        if reader.byte_order == "S":
            raise ValueError("its byte order is not this machine's")
        return {tensor.name: _gguf_tensor(file, reader, tensor) for tensor in reader.tensors}
    except (ValueError, IndexError, KeyError, OverflowError, OSError, UnicodeDecodeError, MemoryError) as error:
        raise CheckpointCorrupt(f"{file} is no whole GGUF file ({error}).", hint=DAMAGED_HINT) from error


def _gguf_tensor(file: Path, reader: Any, tensor: Any) -> Tensor:
    import gguf

    shape = tuple(int(size) for size in reversed(tensor.shape.tolist()))
    before = reader.get_field(f"comfy.gguf.orig_shape.{tensor.name}")  # what had more axes than a block format takes
    if before is not None:
        shape = tuple(int(before.parts[index][0]) for index in before.data)
    if not tensor.n_elements:
        raise ValueError(f"{tensor.name} has no numbers")
    if math.prod(shape) != tensor.n_elements:
        raise ValueError(f"{tensor.name} has {tensor.n_elements} numbers for the shape {shape}")
    name, offset, kind = tensor.name, int(tensor.data_offset), tensor.tensor_type  # `tensor` itself holds the map
    if kind == gguf.GGMLQuantizationType.BF16:  # to the package, bytes
        return _plain(file, BFLOAT16, shape, offset)
    if tensor.data.dtype != np.uint8:
        return _plain(file, tensor.data.dtype, shape, offset)
    stored_shape = tensor.data.shape if tensor.data.ndim > 1 else (1, *tensor.data.shape)
    width, stored_width = math.prod(shape[1:]), tensor.n_elements // stored_shape[0]

    def rows(start: int, stop: int, dtype: np.dtype) -> np.ndarray:
        first, last = start * width // stored_width, -(-stop * width // stored_width)  # what was reshaped has others
        try:
            stored = _stretch(file, np.dtype(np.uint8), stored_shape, offset, first, last)
            numbers = _dequantised(stored, kind)
        except (ValueError, NotImplementedError) as error:
            raise CheckpointCorrupt(f"{file}: {name} is no {kind.name} ({error}).", hint=DAMAGED_HINT) from error
        before = first * stored_width
        numbers = numbers[start * width - before : stop * width - before]
        return cast(numbers.reshape(stop - start, *shape[1:]).astype(FLOAT32, copy=False), dtype)

    return Tensor(shape, BFLOAT16, kind.name, file, rows)


def _dequantised(stored: np.ndarray, kind: Any) -> np.ndarray:
    """As `gguf.quants.dequantize`, which takes 16 rows at a time and a third longer, twice as long in two threads."""
    import gguf

    form = getattr(gguf.quants, kind.name, None)
    if form is None:
        raise NotImplementedError("the package gguf cannot read it")
    form.init_grid()
    with np.errstate(all="ignore"):  # of a damaged file; NaN are counted by those who look for them
        return form.dequantize_blocks(stored.reshape(-1, form.type_size)).reshape(-1)
