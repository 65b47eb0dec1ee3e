"""Writes an Orbax tree leaf by leaf, so that a network larger than the memory can be written.

Orbax's own writer takes the whole tree at once. What it leaves on the disk is an OCDBT database of zarr arrays and two
files of JSON; tensorstore, on which it stands, writes the same. Knows nothing of networks.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts

from flux_engine.weights.names import LeafPath

HANDLER = "orbax.checkpoint._src.handlers.pytree_checkpoint_handler.PyTreeCheckpointHandler"
DICT_KEY = 2  # how Orbax says that a step of a path is a key of a dictionary


class OrbaxWriter:
    """A `state/` folder in the making; it is one when `close` has returned.

    Args:
        folder: is made; nothing may be there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._leaves: dict[str, Any] = {}
        self._started_ns = time.time_ns()

    def write(self, path: LeafPath, array: np.ndarray) -> None:
        """Store one leaf; it is on the disk when this returns.

        Raises:
            OSError: the disk is full, or may not be written.
        """
        keys = (*path, "value")
        try:
            store = ts.open(self._spec(".".join(keys)), create=True, dtype=array.dtype, shape=array.shape).result()
            store.write(array).result()
        except ValueError as error:  # tensorstore's word for what the operating system refuses
            raise OSError(str(error)) from error
        self._leaves[str(keys)] = {
            "key_metadata": [{"key": key, "key_type": DICT_KEY} for key in keys],
            "value_metadata": {"value_type": "np.ndarray", "skip_deserialize": False},
        }

    def close(self) -> None:
        """Write what tells Orbax that the tree is complete."""
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

    def _spec(self, name: str) -> dict[str, Any]:
        base = {"driver": "file", "path": f"{self._folder.absolute()}/"}
        return {
            "driver": "zarr",
            "kvstore": {"driver": "ocdbt", "base": base, "path": f"{name}/"},
            # Weights in bfloat16 shrink by a fifth at a third of a disk's speed; FLUX.1's are read again and again.
            "metadata": {"compressor": None},
            "store_data_equal_to_fill_value": True,
        }
