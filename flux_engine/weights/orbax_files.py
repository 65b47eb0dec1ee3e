"""One component's folder in the Orbax layout: `state/` and `config.json`, read.

It is read by tensorstore, on which Orbax stands: Orbax waits for all leaves at once, and when one is damaged, the
others fail later on stderr. Knows nothing of networks.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, overload

import jax
import numpy as np
import tensorstore as ts

from flux_engine.configs import (
    CONFIGS,
    CLIPTextConfig,
    Component,
    NetworkConfig,
    T5Config,
    TransformerConfig,
    VAEConfig,
)
from flux_engine.errors import CheckpointCorrupt, CheckpointNotFound
from flux_engine.weights.names import LeafPath

LAYOUT_HINT = "A checkpoint has transformer/ vae/ clip_text/ t5_text/, each with state/ and config.json."
DAMAGED_HINT = "Copy or download this component again."


@overload
def read_config(directory: Path, component: Literal["transformer"]) -> TransformerConfig: ...
@overload
def read_config(directory: Path, component: Literal["vae"]) -> VAEConfig: ...
@overload
def read_config(directory: Path, component: Literal["clip_text"]) -> CLIPTextConfig: ...
@overload
def read_config(directory: Path, component: Literal["t5_text"]) -> T5Config: ...
@overload
def read_config(directory: Path, component: Component) -> NetworkConfig: ...
def read_config(directory: Path, component: Component) -> NetworkConfig:
    """The sizes in `directory/config.json`. Raises as `load_component` does."""
    file = _existing(directory, component) / "config.json"
    if not file.is_file():
        raise CheckpointNotFound(f"{component}: {file} is missing.", hint=LAYOUT_HINT)
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointCorrupt(f"{component}: {file} is not JSON ({error}).", hint=DAMAGED_HINT) from error
    if not isinstance(raw, dict):
        raise CheckpointCorrupt(f"{component}: {file} is not an object of settings.", hint=DAMAGED_HINT)
    return CONFIGS[component].from_dict(raw)


class OrbaxWeights:
    """A component's folder in this layout: names and shapes at once, arrays when asked for.

    Args:
        directory: the component's own folder.
        component: what it is expected to hold.

    Raises:
        CheckpointNotFound: the folder, its state/ or its config.json does not exist.
        CheckpointCorrupt: one of them cannot be read.
        ConfigError: config.json describes no network.
    """

    files: Collection[Path] = ()  # a database in many pieces
    unknown: Sequence[str] = ()  # every name is a path, and a path that no network has is told by itself

    def __init__(self, directory: Path, component: Component) -> None:
        self.config: NetworkConfig = read_config(directory, component)
        self.folder, self.component = _existing(directory / "state", component).absolute(), component
        self.origin = str(directory / "state")
        try:
            layout = json.loads((self.folder / "_METADATA").read_text(encoding="utf-8"))
            keys = [
                [str(key["key"]) for key in leaf["key_metadata"]]
                for leaf in layout["tree_metadata"].values()
                if not leaf["value_metadata"].get("skip_deserialize", False)
            ]
            index = ts.Context({"cache_pool#ocdbt": {"total_bytes_limit": 100_000_000}})
            opened = [ts.open(self._spec(layout, path), read=True, open=True, context=index) for path in keys]
            self._stores = {leaf_path(path): store.result() for path, store in zip(keys, opened, strict=True)}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise self._corrupt("is no Orbax tree, or a part of it is missing or truncated") from error
        if not self._stores:
            raise self._corrupt("is empty")
        self.leaves = {
            path: jax.ShapeDtypeStruct(store.shape, store.dtype.numpy_dtype) for path, store in self._stores.items()
        }

    def read(self, paths: Sequence[LeafPath], dtype: np.dtype) -> list[np.ndarray]:
        """Arrays at `paths` as `dtype`, all read at once."""
        reads = [ts.cast(self._stores[path], dtype).read() for path in paths]
        return [self._result(path, read) for path, read in zip(paths, reads, strict=True)]

    def _result(self, path: LeafPath, read: ts.Future[np.ndarray]) -> np.ndarray:
        try:
            return read.result()
        except (OSError, ValueError) as error:
            raise self._corrupt(f"has a damaged array, {'.'.join(path)}") from error

    def _spec(self, layout: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
        """Where tensorstore finds an array: in one OCDBT database, or in a folder of its own."""
        base, name = f"{self.folder}/", ".".join(path) + "/"
        kvstore: dict[str, Any] = {"driver": "file", "path": base + name}
        if layout.get("use_ocdbt", (self.folder / "manifest.ocdbt").exists()):
            kvstore = {"driver": "ocdbt", "base": {"driver": "file", "path": base}, "path": name}
            kvstore["cache_pool"] = "cache_pool#ocdbt"
        return {
            "driver": "zarr3" if layout.get("use_zarr3") else "zarr",
            "kvstore": kvstore,
            # Old files leave out what is all zeros; newer ones do not, so that there a hole is damage.
            "fill_missing_data_reads": not layout.get("store_array_data_equal_to_fill_value", False),
        }

    def _corrupt(self, what: str) -> CheckpointCorrupt:
        return CheckpointCorrupt(f"{self.component}: {self.folder} {what}.", hint=DAMAGED_HINT)


def leaf_path(keys: Iterable[str | int]) -> LeafPath:
    """Flax ends some paths with `value`, depending on its version; names here never do."""
    path = tuple(str(key) for key in keys)
    return path[:-1] if path[-1] == "value" else path


def _existing(folder: Path, component: str) -> Path:
    if not folder.is_dir():
        raise CheckpointNotFound(f"{component}: the folder {folder} is missing.", hint=LAYOUT_HINT)
    return folder
