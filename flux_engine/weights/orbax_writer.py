"""Writes an Orbax tree leaf by leaf, so that a network larger than the memory can be written.

Orbax's own writer takes the whole tree at once. What it leaves on the disk is an OCDBT database of zarr arrays and two
files of JSON; tensorstore, on which it stands, writes the same. Knows nothing of networks.
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from flux_engine.weights.names import LeafPath

HANDLER = "orbax.checkpoint._src.handlers.pytree_checkpoint_handler.PyTreeCheckpointHandler"
DICT_KEY = 2  # how Orbax says that a step of a path is a key of a dictionary
CHUNK_BYTES = 16 * 2**20  # of an array; several are read at once
WAITING_BYTES = 64 * 2**20  # of leaves that are being written


class OrbaxWriter:
    """A `state/` folder in the making; it is one when the block has ended well.

    Args:
        folder: is made; nothing may be there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._leaves: dict[str, Any] = {}
        self._writing: list[ts.WriteFutures] = []
        self._writing_bytes = 0
        self._started_ns = time.time_ns()

    def write(self, path: LeafPath, array: np.ndarray) -> None:
        """Store one leaf, which is not to be changed any more; it is on the disk when the block has ended.

        Raises:
            OSError: the disk is full, or may not be written: by this leaf, or by one before.
        """
        keys = (*path, "value")
        spec = self._spec(".".join(keys), array)
        opening = ts.open(spec, create=True, dtype=array.dtype, shape=array.shape)
        _raise_first([fault] if (fault := opening.exception()) is not None else [])
        self._writing.append(opening.result().write(array))
        self._writing_bytes += array.nbytes
        if self._writing_bytes > WAITING_BYTES:
            _raise_first(self._waited_for())
        self._leaves[str(keys)] = {
            "key_metadata": [{"key": key, "key_type": DICT_KEY} for key in keys],
            "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
        }

    def __enter__(self) -> OrbaxWriter:
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        """Write what tells Orbax that the tree is complete, if it is; nothing writes into the folder after this."""
        faults = self._waited_for()
        if kind is not None:
            return
        _raise_first(faults)
        tree = {
            "tree_metadata": self._leaves,
            "use_ocdbt": True,
            "use_zarr3": False,
            "store_array_data_equal_to_fill_value": True,
            "custom_metadata": None,
        }
        checkpoint = {
            "item_handlers": HANDLER,
            "metrics": {},
            "performance_metrics": {},
            "init_timestamp_nsecs": self._started_ns,
            "commit_timestamp_nsecs": time.time_ns(),
            "custom_metadata": {},
        }
        for name, content in (("_METADATA", tree), ("_CHECKPOINT_METADATA", checkpoint)):
            (self._folder / name).write_text(json.dumps(content), encoding="utf-8")
        for file in [*self._folder.rglob("*"), self._folder]:
            _sync(file)

    def _waited_for(self) -> list[BaseException]:
        """What went wrong with the leaves that were being written."""
        faults = [fault for writing in self._writing if (fault := writing.exception()) is not None]
        self._writing, self._writing_bytes = [], 0
        return faults

    def _spec(self, name: str, array: np.ndarray) -> dict[str, Any]:
        base = {"driver": "file", "path": f"{self._folder.absolute()}/", "file_io_sync": False}
        # Left alone, tensorstore takes squares of 1024, and a matrix 1536 wide takes up nearly twice its size.
        pieces = max(math.ceil(array.nbytes / CHUNK_BYTES), 1)
        chunks = [math.ceil(size / pieces) if axis == 0 else size for axis, size in enumerate(array.shape)]
        return {
            "driver": "zarr",
            "kvstore": {"driver": "ocdbt", "base": base, "path": f"{name}/"},
            # Weights in bfloat16 shrink by a fifth at a third of a disk's speed; FLUX.1's are read again and again.
            "metadata": {"compressor": None, "chunks": chunks},
            "store_data_equal_to_fill_value": True,
        }


def _sync(place: Path) -> None:
    """Until it is on the disk. tensorstore would wait so for every leaf, and take three times as long."""
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise_first(faults: list[BaseException]) -> None:
    if faults:  # ValueError is tensorstore's word for what the operating system refuses
        raise OSError(str(faults[0])) from faults[0]
