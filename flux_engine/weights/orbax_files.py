"""One component's folder in the Orbax layout: `state/` and `config.json`, read.

It is read by tensorstore, on which Orbax stands: Orbax waits for all leaves at once, and when one is damaged, the
others fail later on stderr. It is imported when there is such a folder: other files do without its 13 MB. Knows nothing
of networks.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from flux_engine.configs import (
    CONFIGS,
    CLIPTextConfig,
    Component,
    NetworkConfig,
    T5Config,
    TransformerConfig,
    VAEConfig,
)
from flux_engine.errors import CheckpointCorrupt, CheckpointError, CheckpointNotFound, ConfigError
from flux_engine.weights.casting import BFLOAT16, FLOAT32, bits, cast, empty
from flux_engine.weights.names import LeafPath
from flux_engine.weights.quantised import STORED_TYPES, scale_path

if TYPE_CHECKING:
    import tensorstore as ts

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
    return CONFIGS[component].from_dict(_raw_config(directory, component))


def _raw_config(directory: Path, component: Component) -> dict[str, Any]:
    file = _existing(directory, component) / "config.json"
    if not file.is_file():
        raise CheckpointNotFound(f"{component}: {file} is missing.", hint=LAYOUT_HINT)
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointCorrupt(f"{component}: {file} is not JSON ({error}).", hint=DAMAGED_HINT) from error
    if not isinstance(raw, dict):
        raise CheckpointCorrupt(f"{component}: {file} is not an object of settings.", hint=DAMAGED_HINT)
    return raw


def _kernel_type(raw: Mapping[str, Any], component: Component) -> str | None:
    """The type of 8 bits that kernels with a scale are stored in, if any are."""
    name = raw.get("kernel_dtype")
    if name is not None and not (isinstance(name, str) and name in STORED_TYPES):
        raise ConfigError(
            f"{component}: kernel_dtype is {name!r}; expected one of {', '.join(sorted(STORED_TYPES))}, or nothing.",
            hint="Check the component's config.json.",
        )
    return name


@dataclass(frozen=True)
class OrbaxLeaf:
    """What is known of a leaf before it is read; `kind` is the type that is stored, `dtype` that of its numbers."""

    shape: tuple[int, ...]
    dtype: np.dtype
    kind: str


class OrbaxWeights:
    """A component's folder in this layout: names and shapes at once, arrays when asked for.

    Args:
        directory: the component's own folder.
        component: what it is expected to hold.

    Raises:
        CheckpointNotFound: the folder, its state/ or its config.json does not exist.
        CheckpointCorrupt: one of them cannot be read.
        CheckpointError: the path is not UTF-8.
        ConfigError: config.json describes no network, or kernels in a type that none here are stored in.
    """

    files: Collection[Path] = ()  # a database in many pieces
    unknown: Sequence[str] = ()  # every name is a path, and a path that no network has is told by itself

    def __init__(self, directory: Path, component: Component) -> None:
        import tensorstore as ts

        check_utf8(directory)
        raw = _raw_config(directory, component)
        self.config: NetworkConfig = CONFIGS[component].from_dict(raw)
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
        kernel_type = _kernel_type(raw, component)
        self._scaled = {path for path, its in self._stores.items() if _is_scaled(path, its, kernel_type)}
        self.scales = {scale_path(path): self._stores[path].shape[-1:] for path in self._scaled}
        self.leaves = {path: self._leaf(path) for path in self._stores}

    def _leaf(self, path: LeafPath) -> OrbaxLeaf:
        stored = self._stores[path].dtype.numpy_dtype
        return OrbaxLeaf(self._stores[path].shape, BFLOAT16 if path in self._scaled else stored, stored.name)

    def read(self, paths: Sequence[LeafPath], dtype: np.dtype) -> list[np.ndarray]:
        """Arrays at `paths` as `dtype`; those with a scale are multiplied by it in float32."""
        arrays = [empty(self.leaves[path].shape, np.dtype(dtype)) for path in paths]
        for path, array in zip(paths, arrays, strict=True):
            self.read_into(path, array)
        return arrays

    def read_into(self, path: LeafPath, target: np.ndarray) -> None:
        """The array at `path` into another of its shape and any type, C-contiguous."""
        if path not in self._scaled:
            return self._fill(path, target)
        stored = empty(target.shape, self._stores[path].dtype.numpy_dtype)
        factor = empty(target.shape[-1:], FLOAT32)
        self._fill(path, stored)
        self._fill(scale_path(path), factor)
        bits(target)[...] = bits(cast(stored, target.dtype, factor))
        return None

    def _fill(self, path: LeafPath, target: np.ndarray) -> None:
        import tensorstore as ts

        try:
            ts.array(target, copy=False, write=True).write(ts.cast(self._stores[path], target.dtype)).result()
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


def _is_scaled(path: LeafPath, store: ts.TensorStore, kernel_type: str | None) -> bool:
    return path[-1] == "kernel" and store.dtype.name == kernel_type


def leaf_path(keys: Iterable[str | int]) -> LeafPath:
    """Flax ends some paths with `value`, depending on its version; names here never do."""
    path = tuple(str(key) for key in keys)
    return path[:-1] if path[-1] == "value" else path


def check_utf8(folder: Path) -> None:
    """Refuse what tensorstore cannot be told.

    Raises:
        CheckpointError: the folder's whole path is not UTF-8.
    """
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError as error:
        raise CheckpointError(
            f"{folder.absolute()} is not UTF-8, as the path of a folder of this layout has to be.",
            hint="Name another folder, or rename this one.",
        ) from error


def _existing(folder: Path, component: str) -> Path:
    if not folder.is_dir():
        raise CheckpointNotFound(f"{component}: the folder {folder} is missing.", hint=LAYOUT_HINT)
    return folder
