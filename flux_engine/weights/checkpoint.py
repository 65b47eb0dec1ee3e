"""A network to and from a folder: `state/` (Orbax) and `config.json`.

Knows the layout, and that a model may fill the memory: arrays go from the file to the device in their final type,
one block at a time. Knows nothing of what the networks compute.

Orbax writes the tree. It is read by tensorstore, on which Orbax stands: Orbax waits for all leaves at once, and when
one is damaged, the others fail later on stderr.
"""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, overload

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore as ts
from flax import nnx

from flux_engine.configs import CLIPTextConfig, NetworkConfig, T5Config, TransformerConfig, VAEConfig
from flux_engine.errors import CheckpointCorrupt, CheckpointNotFound, WeightsMismatch
from flux_engine.models.clip_text import CLIPTextEncoder
from flux_engine.models.t5_encoder import T5Encoder
from flux_engine.models.transformer import FluxTransformer2D
from flux_engine.models.vae import FluxVAE
from flux_engine.weights.names import STACKS, LeafPath, is_foreign, is_stacked, stored_path

Component = Literal["transformer", "vae", "clip_text", "t5_text"]
Network = FluxTransformer2D | FluxVAE | CLIPTextEncoder | T5Encoder

CONFIGS: dict[Component, type[NetworkConfig]] = {
    "transformer": TransformerConfig,
    "vae": VAEConfig,
    "clip_text": CLIPTextConfig,
    "t5_text": T5Config,
}
NETWORKS: dict[Component, Callable[..., Network]] = {
    "transformer": FluxTransformer2D,
    "vae": FluxVAE,
    "clip_text": CLIPTextEncoder,
    "t5_text": T5Encoder,
}

BATCH_BYTES = 64 * 2**20  # read at once, beside what is already on the device; a block may be larger
NAMES_SHOWN = 3
LAYOUT_HINT = "A checkpoint has transformer/ vae/ clip_text/ t5_text/, each with state/ and config.json."
DAMAGED_HINT = "Copy or download this component again."


def load_component(
    directory: Path,
    component: Component,
    *,
    device: jax.Device,
    dtype: jnp.dtype,
    param_dtype: jnp.dtype | None = None,
    on_read: Callable[[float], None] = lambda fraction: None,
) -> Network:
    """Build the network that `directory` describes, its weights on `device`.

    Args:
        directory: the component's own folder.
        component: what it is expected to hold.
        device: where the weights go; memory needed there is the network and one block, or BATCH_BYTES.
        dtype: type to compute in.
        param_dtype: type to keep weights in; by default the stored one (the widest, if they differ).
        on_read: called after every batch with the fraction of the weights that is on the device, above 0 to 1; what it
            raises ends the reading.

    Raises:
        CheckpointNotFound: the folder, its state/ or its config.json does not exist.
        CheckpointCorrupt: one of them cannot be read.
        ConfigError: config.json describes no network.
        WeightsMismatch: leaves are missing, misshapen or unused; all of them are listed.
    """
    config = read_config(directory, component)
    stored = _Stored(directory / "state", component)
    graph, abstract = nnx.split(_abstract_network(component, config, dtype))
    shapes = {path: leaf.shape for path, leaf in _named_leaves(abstract).items()}
    wanted = _stored_shapes(component, shapes)
    _compare(component, directory, wanted, stored.leaves)
    param_dtype = jnp.dtype(param_dtype or stored.widest_dtype(wanted))
    arrays = _fill(component, stored, shapes, param_dtype, device, on_read)
    leaves = [arrays[path] for path in shapes]
    return nnx.merge(graph, jax.tree.unflatten(jax.tree.structure(abstract), leaves))


def save_component(directory: Path, network: Network, *, dtype: jnp.dtype | None = None) -> None:
    """Write `network` to `directory`, which appears complete or not at all, and replaces what was there.

    Args:
        directory: the component's own folder; its parents are made.
        network: any of the four.
        dtype: type to store; by default the weights' own.
    """
    import orbax.checkpoint as ocp  # takes seconds to import, and only writing needs it

    component = network.config.component
    tree: dict[str, Any] = {}
    dtypes = set()
    for path, leaf in _named_leaves(nnx.state(network)).items():
        array = np.asarray(leaf) if dtype is None else np.asarray(leaf).astype(dtype)
        dtypes.add(array.dtype)
        if is_stacked(component, path):
            for block, part in enumerate(array):
                _insert(tree, (*stored_path(component, path, block), "value"), part)
        else:
            _insert(tree, (*stored_path(component, path), "value"), array)
    name = jnp.result_type(*dtypes).name
    config = network.config.to_dict() | {"dtype": name, "param_dtype": name}
    with _replacing(Path(directory).absolute()) as folder:
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        with _quiet(), ocp.PyTreeCheckpointer() as checkpointer:
            checkpointer.save(folder / "state", item=tree)


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


class _Stored:
    """An Orbax tree on disk: names and shapes at once, arrays when asked for."""

    def __init__(self, folder: Path, component: str) -> None:
        self.folder, self.component = _existing(folder, component).absolute(), component
        try:
            layout = json.loads((self.folder / "_METADATA").read_text(encoding="utf-8"))
            keys = [
                [str(key["key"]) for key in leaf["key_metadata"]]
                for leaf in layout["tree_metadata"].values()
                if not leaf["value_metadata"].get("skip_deserialize", False)
            ]
            index = ts.Context({"cache_pool#ocdbt": {"total_bytes_limit": 100_000_000}})
            opened = [ts.open(self._spec(layout, path), read=True, open=True, context=index) for path in keys]
            self.leaves = {_leaf_path(path): store.result() for path, store in zip(keys, opened, strict=True)}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise self._corrupt("is no Orbax tree, or a part of it is missing or truncated") from error
        if not self.leaves:
            raise self._corrupt("is empty")

    def widest_dtype(self, paths: Iterable[LeafPath]) -> jnp.dtype:
        """The type that holds all those leaves; float64 only where JAX has it."""
        return jax.dtypes.canonicalize_dtype(jnp.result_type(*{self.leaves[path].dtype.numpy_dtype for path in paths}))

    def read(self, paths: Sequence[LeafPath], dtype: jnp.dtype) -> list[np.ndarray]:
        """Arrays at `paths` as `dtype`, all read at once."""
        reads = [ts.cast(self.leaves[path], np.dtype(dtype)).read() for path in paths]
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


def _abstract_network(component: Component, config: NetworkConfig, dtype: jnp.dtype) -> Network:
    """The network with shapes for weights: nothing is allocated."""
    return nnx.eval_shape(lambda: NETWORKS[component](config, rngs=nnx.Rngs(0), dtype=dtype))


def _named_leaves(state: nnx.State) -> dict[LeafPath, Any]:
    """Arrays, or their shapes, by path; indices as text."""
    return {
        _leaf_path(key.key if hasattr(key, "key") else key.name for key in keys): leaf
        for keys, leaf in jax.tree_util.tree_flatten_with_path(state)[0]
    }


def _leaf_path(keys: Iterable[str | int]) -> LeafPath:
    """Flax ends some paths with `value`, depending on its version; names here never do."""
    path = tuple(str(key) for key in keys)
    return path[:-1] if path[-1] == "value" else path


def _stored_shapes(component: Component, shapes: Mapping[LeafPath, tuple[int, ...]]) -> dict[LeafPath, tuple[int, ...]]:
    """What the files must hold for a network with leaves of those shapes."""
    wanted: dict[LeafPath, tuple[int, ...]] = {}
    for path, shape in shapes.items():
        if is_stacked(component, path):
            wanted |= {stored_path(component, path, block): shape[1:] for block in range(shape[0])}
        else:
            wanted[stored_path(component, path)] = shape
    return wanted


def _compare(
    component: Component,
    directory: Path,
    wanted: Mapping[LeafPath, tuple[int, ...]],
    found: Mapping[LeafPath, ts.TensorStore],
) -> None:
    """Raise WeightsMismatch unless `found` is `wanted`, but for the scales that are known to be foreign."""
    foreign = {path for path in found if is_foreign(component, path)}
    faults = {
        "missing": [".".join(path) for path in wanted if path not in found],
        "misshapen": [
            f"{'.'.join(path)} (stored {list(found[path].shape)}, expected {list(shape)})"
            for path, shape in wanted.items()
            if path in found and found[path].shape != shape
        ],
        "not floating-point": [
            f"{'.'.join(path)} ({found[path].dtype.name})"
            for path in wanted
            if path in found and not jnp.issubdtype(found[path].dtype.numpy_dtype, jnp.floating)
        ],
        "unused": [".".join(path) for path in found if path not in wanted and path not in foreign],
    }
    if any(faults.values()):
        listed = "; ".join(f"{len(names)} {fault}: {_some(names)}" for fault, names in faults.items() if names)
        raise WeightsMismatch(
            f"{component}: the leaves in {directory / 'state'} are not those of its config.json: {listed}.",
            hint="config.json and state/ belong to different models, or to another component.",
            faults=faults,
        )
    if foreign:
        warnings.warn(
            f"{component}: ignored {len(foreign)} norm scales in {directory}: FLUX's norms have none.", stacklevel=3
        )


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _fill(
    component: Component,
    stored: _Stored,
    shapes: Mapping[LeafPath, tuple[int, ...]],
    dtype: jnp.dtype,
    device: jax.Device,
    on_read: Callable[[float], None],
) -> dict[LeafPath, jax.Array]:
    """All leaves on the device: those of one stack block by block into buffers made for it, the others in batches."""
    single = [path for path in shapes if not is_stacked(component, path)]
    arrays: dict[LeafPath, jax.Array] = {}
    total, done = sum(map(math.prod, shapes.values())), 0
    for batch in _batches(single, shapes, dtype.itemsize):
        read = stored.read([stored_path(component, path) for path in batch], dtype)
        arrays |= zip(batch, jax.device_put(read, device), strict=True)
        done += sum(math.prod(shapes[path]) for path in batch)
        on_read(done / total)
    for stack in STACKS[component]:
        paths = [path for path in shapes if path[0] == stack]
        buffers = [jnp.zeros(shapes[path], dtype, device=device) for path in paths]
        for block in range(shapes[paths[0]][0]):
            read = stored.read([stored_path(component, path, block) for path in paths], dtype)
            buffers = jax.block_until_ready(_put_block(buffers, jax.device_put(read, device), block))
            del read
            done += sum(math.prod(shapes[path][1:]) for path in paths)
            on_read(done / total)
        arrays |= zip(paths, buffers, strict=True)
    return arrays


@partial(jax.jit, donate_argnums=0)
def _put_block(buffers: list[jax.Array], parts: list[jax.Array], block: int) -> list[jax.Array]:
    """Write one block's leaves into the stacks, in place."""
    put = jax.lax.dynamic_update_index_in_dim
    return [put(buffer, part, block, 0) for buffer, part in zip(buffers, parts, strict=True)]


def _batches(
    paths: Sequence[LeafPath], shapes: Mapping[LeafPath, tuple[int, ...]], itemsize: int
) -> Iterator[list[LeafPath]]:
    """`paths` in order, cut where a batch would pass BATCH_BYTES."""
    batch: list[LeafPath] = []
    size = 0
    for path in paths:
        nbytes = math.prod(shapes[path]) * itemsize
        if batch and size + nbytes > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += nbytes
    if batch:
        yield batch


def _existing(folder: Path, component: str) -> Path:
    if not folder.is_dir():
        raise CheckpointNotFound(f"{component}: the folder {folder} is missing.", hint=LAYOUT_HINT)
    return folder


def _insert(tree: dict[str, Any], path: LeafPath, leaf: Any) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = leaf


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place when the block ends well, and goes when it does not."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
        new, old = Path(beside, "new"), Path(beside, "old")
        new.mkdir()
        yield new
        if folder.exists():
            os.replace(folder, old)
        os.replace(new, folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Orbax's log, which goes to stderr by way of absl, to itself."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
