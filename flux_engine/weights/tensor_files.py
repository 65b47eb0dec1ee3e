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


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor in a file.

    Attributes:
        shape, dtype: of the array that `read` gives.
        file: where it is, for messages.
        read: reads it, into memory of its own.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    file: Path
    read: Callable[[], np.ndarray]


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .gguf file, by name; which of both it is, its first bytes say.

    Raises:
        CheckpointNotFound: there is no such file, or it may not be read.
        CheckpointCorrupt: it is neither, or its header contradicts itself or the file's size.
    """
    try:
        with open(file, "rb") as opened:
            magic = opened.read(4)
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
        tensors[name] = Tensor(shape, dtype, file, _reader(file, dtype, shape, start + entry["data_offsets"][0]))
    return tensors


def _header(file: Path) -> tuple[Mapping[str, dict[str, Any]], int]:
    """The header of a file that has been checked, and where the data begin."""
    with open(file, "rb") as opened:
        (size,) = struct.unpack("<Q", opened.read(8))
        return json.loads(opened.read(size)), 8 + size


def _reader(file: Path, dtype: np.dtype, shape: tuple[int, ...], offset: int) -> Callable[[], np.ndarray]:
    count = math.prod(shape)

    def read() -> np.ndarray:
        try:
            array = np.fromfile(file, dtype, count, offset=offset)
        except OSError as error:
            raise CheckpointCorrupt(f"{file} cannot be read any more: {error}.", hint=DAMAGED_HINT) from error
        if array.size != count:  # it has become shorter since
            raise CheckpointCorrupt(f"{file} ends too early.", hint=DAMAGED_HINT)
        return array.reshape(shape)

    return read


def _gguf(file: Path) -> dict[str, Tensor]:
    """Tensors of a GGUF file, dequantised to float32 when they are read; the `gguf` package knows the block formats."""
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
    stored_shape, kind = tensor.data.shape, tensor.tensor_type
    read_stored = _reader(file, tensor.data.dtype, stored_shape, int(tensor.data_offset))
    if tensor.data.dtype != np.uint8:
        return Tensor(shape, tensor.data.dtype, file, lambda: read_stored().reshape(shape))

    def read() -> np.ndarray:
        try:
            return gguf.quants.dequantize(read_stored(), kind).reshape(shape)
        except (ValueError, NotImplementedError) as error:
            raise CheckpointCorrupt(f"{file}: {tensor.name} is no {kind.name} ({error}).", hint=DAMAGED_HINT) from error

    return Tensor(shape, np.dtype(np.float32), file, read)
