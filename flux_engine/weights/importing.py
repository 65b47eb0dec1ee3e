"""Any checkpoint written anew in this project's own layout, a few leaves in memory at a time.

The new folder appears complete or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from flux_engine.configs import Component
from flux_engine.errors import CheckpointError
from flux_engine.models.quantised import EIGHT_BITS
from flux_engine.weights.casting import BFLOAT16, FLOAT32
from flux_engine.weights.checkpoint import check_leaves, replacing
from flux_engine.weights.names import LeafPath
from flux_engine.weights.orbax_files import check_utf8
from flux_engine.weights.orbax_writer import OrbaxWriter
from flux_engine.weights.quantised import is_quantised, quantised, scale_path
from flux_engine.weights.reading import Wanted, reading
from flux_engine.weights.sources import COMPONENTS, Checkpoint, open_checkpoint
from flux_engine.weights.stored import Weights

TOKENIZER_FILES = {
    "tokenizer": ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"),
    "tokenizer_2": ("spiece.model", "tokenizer.json", "tokenizer_config.json"),
}
SPARE_BYTES = 100_000_000  # for what lies beside the arrays, and so that the disk is not full to the last byte
WRITING_HINTS = {
    errno.EEXIST: "A part of this path is a file: name another folder.",
    errno.ENOTDIR: "A part of this path is a file: name another folder.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EACCES: "Name a folder that is yours to write in.",
    errno.EROFS: "The disk is read-only: name a folder on another one.",
}
Watch = Callable[[str, float], None]


def import_checkpoint(
    source: Path,
    destination: Path,
    *,
    dtype: str | None = None,
    watch: Watch = lambda what, fraction: None,
) -> None:
    """Write the checkpoint at `source` to the folder `destination`, with a metadata.json that says where it came from.

    Args:
        source: anything that `open_checkpoint` takes.
        destination: the new folder; nothing may be there yet.
        dtype: name of the type to store, "bfloat16" for example; by default each leaf's own. "int8" and "fp8" are for
            the kernels that `quantised` names; the other leaves are bfloat16 then.
        watch: told what is being written and the fraction of all bytes that is, 0 to 1; what it raises ends the import.

    Raises:
        CheckpointError: `source` cannot be used (the errors of `open_checkpoint` and `load_network`), something is at
            `destination`, it cannot be written, or the disk has no room.
    """
    check_utf8(destination)
    if os.path.lexists(destination):
        raise CheckpointError(f"{destination} exists already.", hint="Name another folder, or remove it first.")
    checkpoint = open_checkpoint(source)
    parts = {component: _Part.of(checkpoint.parts[component].open(), dtype) for component in COMPONENTS}
    total = sum(part.nbytes for part in parts.values())
    _check_room(destination, total)
    done = 0
    try:
        with replacing(destination.absolute()) as folder:
            for component, part in parts.items():

                def written(nbytes: int, component: str = component) -> None:
                    nonlocal done
                    done += nbytes
                    watch(component, done / total)

                watch(component, done / total)
                with OrbaxWriter(folder / component / "state") as writer:
                    part.write(writer, written)
                _write_json(folder / component / "config.json", part.weights.config.to_dict() | part.dtypes)
            _copy_tokenizers(checkpoint, folder)
            watch("hashes of the source", 1.0)
            _write_json(folder / "metadata.json", _origin(checkpoint, parts))
    except OSError as error:
        reason = error.strerror or str(error)
        hint = WRITING_HINTS.get(error.errno or 0, "Is the disk full?")
        raise CheckpointError(
            f"{destination} could not be written: {reason}.", hint=f"Nothing was left behind. {hint}"
        ) from error


@dataclass(frozen=True)
class _Part:
    """A network as it is to be stored: the type of each leaf. `kind` is one of EIGHT_BITS, where it has any of them."""

    weights: Weights
    types: dict[LeafPath, np.dtype]
    kind: str | None

    @classmethod
    def of(cls, weights: Weights, dtype: str | None) -> _Part:
        paths = check_leaves(weights)
        if dtype not in EIGHT_BITS:
            wanted = None if dtype is None else np.dtype(jnp.dtype(dtype))
            return cls(weights, {path: wanted or np.dtype(weights.leaves[path].dtype) for path in paths}, None)
        eight = {path for path in paths if is_quantised(weights.component, path)}
        small = EIGHT_BITS[dtype][0]
        return cls(weights, {path: small if path in eight else BFLOAT16 for path in paths}, dtype if eight else None)

    @property
    def nbytes(self) -> int:
        shapes = {path: self.weights.leaves[path].shape for path in self.types}
        scales = sum(shapes[path][-1] * FLOAT32.itemsize for path in self.types if self._has_scale(path))
        return scales + sum(math.prod(shapes[path]) * its.itemsize for path, its in self.types.items())

    @property
    def dtypes(self) -> dict[str, str]:
        """What config.json says of them."""
        name = jnp.result_type(*{its for path, its in self.types.items() if not self._has_scale(path)}).name
        eight = {} if self.kind is None else {"kernel_dtype": EIGHT_BITS[self.kind][0].name}
        return {"dtype": name, "param_dtype": name, **eight}

    def write(self, writer: OrbaxWriter, written: Callable[[int], None]) -> None:
        wanted = [Wanted(path, FLOAT32 if self._has_scale(path) else its) for path, its in self.types.items()]
        with reading(self.weights, wanted) as arrays:
            for path, array in zip(self.types, arrays, strict=True):
                stored = {path: array}
                if self._has_scale(path):
                    stored = dict(zip((path, scale_path(path)), quantised(array, str(self.kind)), strict=True))
                for place, its in stored.items():
                    writer.write(place, its)
                    written(its.nbytes)

    def _has_scale(self, path: LeafPath) -> bool:
        return self.kind is not None and self.types[path] == EIGHT_BITS[self.kind][0]


def _check_room(destination: Path, needed: int) -> None:
    place = next(parent for parent in destination.absolute().parents if os.path.exists(parent))
    free = shutil.disk_usage(place).free
    if free < needed + SPARE_BYTES:
        raise CheckpointError(
            f"The checkpoint takes {needed / 1e9:.1f} GB, and {place} has {free / 1e9:.1f} GB free.",
            hint="Name a folder on another disk, or store it as bfloat16, int8 or fp8.",
        )


def _copy_tokenizers(checkpoint: Checkpoint, folder: Path) -> None:
    for name, files in TOKENIZER_FILES.items():
        (folder / name).mkdir()
        for file in files:
            if (checkpoint.folder / name / file).is_file():  # what is missing is told when the model is used
                shutil.copyfile(checkpoint.folder / name / file, folder / name / file)


def _origin(checkpoint: Checkpoint, parts: Mapping[Component, _Part]) -> dict[str, object]:
    files = sorted({file for part in parts.values() for file in part.weights.files})
    return {
        "name": checkpoint.name,
        "variant": checkpoint.variant,
        "dtypes": {
            component: part.dtypes.get("kernel_dtype", part.dtypes["dtype"]) for component, part in parts.items()
        },
        "sources": [{"file": str(file), "bytes": file.stat().st_size, "sha256": _sha256(file)} for file in files],
    }


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
