"""Encoded prompts on the disk, so that one that was painted before needs no text encoder, however long ago it was.

Knows arrays and files. What makes two encodings the same, its caller says by a key; no prompt's words are stored. The
folder is bounded: what was not used for longest goes first. Losing it loses nothing but time.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from flux_engine.errors import OutputError
from flux_engine.png import write_file

MAX_BYTES = 2**30  # 250 prompts of FLUX.1 in bfloat16, 4 MB each
SUFFIX = ".npz"


class PromptCache:
    """Arrays by key.

    Args:
        folder: where; it is made when something is kept.
        max_bytes: of all entries together.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder, self._max_bytes = folder, max_bytes

    def get(self, key: str) -> dict[str, np.ndarray] | None:
        """What is kept under a key; None if nothing is, or if it is damaged."""
        file = self._file(key)
        try:
            with np.load(io.BytesIO(file.read_bytes())) as stored:
                names = [name for name in stored.files if not name.endswith(".dtype")]
                arrays = {name: stored[name].view(jnp.dtype(str(stored[f"{name}.dtype"]))) for name in names}
            with contextlib.suppress(OSError):
                os.utime(file)
            return arrays
        except Exception:  # a file that was cut off may raise anything
            return None

    def put(self, key: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep arrays under a key, in the place of older ones; where nothing can be written, nothing is kept."""
        buffer = io.BytesIO()
        raw = {name: np.ascontiguousarray(array).view(f"u{array.itemsize}") for name, array in arrays.items()}
        kinds = {f"{name}.dtype": np.array(array.dtype.name) for name, array in arrays.items()}
        np.savez(buffer, **raw, **kinds)  # type: ignore[arg-type]
        with contextlib.suppress(OutputError, OSError):
            write_file(self._file(key), buffer.getvalue(), replace=True)
            self._shrink()

    def _file(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}{SUFFIX}"

    def _shrink(self) -> None:
        files = [(file.stat(), file) for file in self._folder.glob(f"*{SUFFIX}")]
        total = sum(status.st_size for status, _ in files)
        for status, file in sorted(files, key=lambda entry: entry[0].st_mtime_ns):
            if total <= self._max_bytes:
                return
            file.unlink(missing_ok=True)
            total -= status.st_size


def fingerprint(places: Iterable[Path]) -> str:
    """What tells the files at some places, and in folders below, from others: names, sizes and times of writing."""
    found = hashlib.sha256()
    for place in places:
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file():
                status = file.stat()
                found.update(os.fsencode(f"{file.resolve()}\0{status.st_size}\0{status.st_mtime_ns}\n"))
    return found.hexdigest()
