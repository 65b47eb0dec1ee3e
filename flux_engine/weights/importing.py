"""Any checkpoint written anew in this project's own layout, one leaf in memory at a time.

The new folder appears complete or not at all.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from flux_engine.errors import CheckpointError
from flux_engine.weights.checkpoint import Weights, check_leaves, replacing
from flux_engine.weights.names import LeafPath
from flux_engine.weights.orbax_writer import OrbaxWriter
from flux_engine.weights.sources import COMPONENTS, Checkpoint, open_checkpoint

TOKENIZER_FILES = {
    "tokenizer": ("vocab.json", "merges.txt", "tokenizer_config.json"),
    "tokenizer_2": ("spiece.model", "tokenizer_config.json"),
}
SPARE_BYTES = 100_000_000  # for what lies beside the arrays, and so that the disk is not full to the last byte
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
        dtype: name of the type to store, "bfloat16" for example; by default each leaf's own.
        watch: told what is being written and the fraction of all bytes that is, 0 to 1; what it raises ends the import.

    Raises:
        CheckpointError: `source` cannot be used (the errors of `open_checkpoint` and `load_network`), something is at
            `destination`, or the disk has no room.
    """
    if destination.exists():
        raise CheckpointError(f"{destination} exists already.", hint="Name another folder, or remove it first.")
    checkpoint = open_checkpoint(source)
    wanted = None if dtype is None else np.dtype(jnp.dtype(dtype))
    parts = {component: checkpoint.parts[component].open() for component in COMPONENTS}
    kept = {component: check_leaves(weights) for component, weights in parts.items()}
    sizes = {
        component: sum(_nbytes(parts[component], path, wanted) for path in paths) for component, paths in kept.items()
    }
    total = sum(sizes.values())
    _check_room(destination, total)
    done = 0
    try:
        with replacing(destination.absolute()) as folder:
            for component, weights in parts.items():
                writer = OrbaxWriter(folder / component / "state")
                for path in kept[component]:
                    watch(component, done / total)
                    (array,) = weights.read([path], _stored_dtype(weights, path, wanted))
                    writer.write(path, array)
                    done += array.nbytes
                writer.close()
                _write_json(folder / component / "config.json", _config(weights, kept[component], wanted))
            _copy_tokenizers(checkpoint, folder)
            watch("hashes of the source", 1.0)
            _write_json(folder / "metadata.json", _origin(checkpoint, parts.values()))
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointError(
            f"{destination} could not be written: {reason}.", hint="Nothing was left behind. Is the disk full?"
        ) from error


def _stored_dtype(weights: Weights, path: LeafPath, dtype: np.dtype | None) -> np.dtype:
    return np.dtype(dtype or weights.leaves[path].dtype)


def _nbytes(weights: Weights, path: LeafPath, dtype: np.dtype | None) -> int:
    return math.prod(weights.leaves[path].shape) * _stored_dtype(weights, path, dtype).itemsize


def _check_room(destination: Path, needed: int) -> None:
    place = next(parent for parent in destination.absolute().parents if parent.exists())
    free = shutil.disk_usage(place).free
    if free < needed + SPARE_BYTES:
        raise CheckpointError(
            f"The checkpoint takes {needed / 1e9:.1f} GB, and {place} has {free / 1e9:.1f} GB free.",
            hint="Name a folder on another disk, or store it as bfloat16.",
        )


def _config(weights: Weights, paths: Iterable[LeafPath], dtype: np.dtype | None) -> dict[str, object]:
    name = jnp.result_type(*{_stored_dtype(weights, path, dtype) for path in paths}).name
    return weights.config.to_dict() | {"dtype": name, "param_dtype": name}


def _copy_tokenizers(checkpoint: Checkpoint, folder: Path) -> None:
    for name, files in TOKENIZER_FILES.items():
        (folder / name).mkdir()
        for file in files:
            if (checkpoint.folder / name / file).is_file():  # what is missing is told when the model is used
                shutil.copyfile(checkpoint.folder / name / file, folder / name / file)


def _origin(checkpoint: Checkpoint, parts: Iterable[Weights]) -> dict[str, object]:
    files = sorted({file for weights in parts for file in weights.files})
    return {
        "name": checkpoint.name,
        "variant": checkpoint.variant,
        "sources": [{"file": str(file), "bytes": file.stat().st_size, "sha256": _sha256(file)} for file in files],
    }


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
