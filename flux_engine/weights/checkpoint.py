"""A network from wherever its weights lie, and to a folder: `state/` (Orbax) and `config.json`.

Knows the layout, and that a model may fill the memory: arrays go from the file to the device in their final type,
one block at a time, while the next are read. Knows nothing of what the networks compute.

Orbax writes the tree; `orbax_files` reads it, `foreign` what other programs wrote.
"""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flux_engine.configs import Component, NetworkConfig
from flux_engine.errors import WeightsMismatch
from flux_engine.models.apart import Apart, is_apart
from flux_engine.models.clip_text import CLIPTextEncoder
from flux_engine.models.quantised import QuantisedKernel
from flux_engine.models.t5_encoder import T5Encoder
from flux_engine.models.transformer import FluxTransformer2D
from flux_engine.models.vae import FluxVAE
from flux_engine.request import WeightKind
from flux_engine.weights.casting import bits, empty
from flux_engine.weights.faults import listed
from flux_engine.weights.names import (
    STACKS,
    LeafPath,
    is_foreign,
    is_modulation,
    is_stacked,
    path_of,
    stored_path,
)
from flux_engine.weights.orbax_files import OrbaxWeights
from flux_engine.weights.placing import on_host, put
from flux_engine.weights.quantised import Form, form_in_memory, in_memory
from flux_engine.weights.reading import Wanted, reading

DEVICE, HOST = "device", "pinned_host"  # JAX's names for a device's own memory, and the machine's that it reads itself
Network = FluxTransformer2D | FluxVAE | CLIPTextEncoder | T5Encoder

NETWORKS: dict[Component, Callable[..., Network]] = {
    "transformer": FluxTransformer2D,
    "vae": FluxVAE,
    "clip_text": CLIPTextEncoder,
    "t5_text": T5Encoder,
}


Placement = Callable[[LeafPath, tuple[int, ...]], jax.sharding.Sharding]
"""Where a network's leaf of that path and shape shall lie; stacked blocks are one leaf."""


def on_device(device: jax.Device) -> Placement:
    """All in the memory of one device."""
    sharding = jax.sharding.SingleDeviceSharding(device)
    return lambda path, shape: sharding


class Weights(Protocol):
    """One network's weights, wherever they lie: shapes and types at once, arrays when they are asked for.

    Attributes:
        component: which network.
        config: its sizes.
        origin: the file or folder, for messages.
        files: that hold the weights, as far as they are files of their own.
        leaves: what is stored, by its path in this layout.
        scales: the shapes of those that others of them need beside them, and no network has.
        unknown: names of what is stored and has no path in this layout.
    """

    @property
    def component(self) -> Component: ...
    @property
    def config(self) -> NetworkConfig: ...
    @property
    def origin(self) -> str: ...
    @property
    def files(self) -> Collection[Path]: ...
    @property
    def leaves(self) -> Mapping[LeafPath, StoredLeaf]: ...
    @property
    def scales(self) -> Mapping[LeafPath, tuple[int, ...]]: ...
    @property
    def unknown(self) -> Sequence[str]: ...
    def read(self, paths: Sequence[LeafPath], dtype: np.dtype) -> list[np.ndarray]:
        """Arrays at `paths`, as `dtype`."""

    def read_into(self, path: LeafPath, target: np.ndarray) -> None:
        """The array at `path` into another of its shape and any type, C-contiguous; threads may do so at once."""


class StoredLeaf(Protocol):
    """Shape and type of an array that can be read, and what it is stored as, for people: "int8"."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def kind(self) -> str: ...


def load_component(directory: Path, component: Component, **options: Any) -> Network:
    """Build the network that a folder of this layout describes; see `load_network` for options and errors.

    Raises:
        CheckpointNotFound: the folder, its state/ or its config.json does not exist.
        CheckpointCorrupt: one of them cannot be read.
        ConfigError: config.json describes no network.
    """
    return load_network(OrbaxWeights(directory, component), **options)


def load_network(
    stored: Weights,
    *,
    placement: Placement,
    dtype: jnp.dtype,
    param_dtype: jnp.dtype | None = None,
    weights: WeightKind = "full",
    on_read: Callable[[float], None] = lambda fraction: None,
) -> Network:
    """Build the network that `stored` describes.

    Args:
        stored: config and weights.
        placement: where each leaf goes; a device needs memory for what goes there and one block. It is asked for
            the values and the scale of a kernel in few bits.
        dtype: type to compute in.
        param_dtype: type to keep weights in; by default the stored one (the widest, if they differ).
        weights: which kernels are kept in few bits instead, and how; see `flux_engine.weights.quantised`. They are
            rounded on the device, from what is stored, a block at a time.
        on_read: called after every block, and every leaf that is in none, with the fraction of the weights that is on
            the device, above 0 to 1; what it raises ends the reading.

    Raises:
        WeightsMismatch: leaves are missing, misshapen or unused; all of them are listed.
        CheckpointCorrupt: a leaf cannot be read.
    """
    graph, abstract = nnx.split(abstract_network(stored.component, stored.config, dtype))
    shapes = {path: leaf.shape for path, leaf in named_leaves(abstract).items()}
    wanted = _checked(stored, shapes)
    param_dtype = jnp.dtype(param_dtype or _widest(stored.leaves[path].dtype for path in wanted))
    kept = in_memory(stored.component, abstract, param_dtype, weights)
    arrays = _fill(stored, shapes, named_leaves(kept), param_dtype, weights, placement, on_read)
    return nnx.merge(graph, rebuilt(kept, [arrays[path] for path in named_leaves(kept)]))


def check_leaves(stored: Weights) -> list[LeafPath]:
    """The leaves that the network needs, all of which are stored as it needs them.

    Raises:
        WeightsMismatch: as `load_network` does.
    """
    abstract = nnx.state(abstract_network(stored.component, stored.config, jnp.dtype(jnp.float32)))
    return list(_checked(stored, {path: leaf.shape for path, leaf in named_leaves(abstract).items()}))


def stored_shapes(component: Component, config: NetworkConfig) -> dict[LeafPath, tuple[int, ...]]:
    """The shape of each leaf of such a network, by its path as it is stored."""
    abstract = nnx.state(abstract_network(component, config, jnp.dtype(jnp.float32)))
    return _stored_shapes(component, {path: leaf.shape for path, leaf in named_leaves(abstract).items()})


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
    for path, leaf in named_leaves(nnx.state(network)).items():
        array = np.asarray(leaf) if dtype is None else np.asarray(leaf).astype(dtype)
        dtypes.add(array.dtype)
        if is_stacked(component, path):
            for block, part in enumerate(array):
                _insert(tree, (*stored_path(component, path, block), "value"), part)
        else:
            _insert(tree, (*stored_path(component, path), "value"), array)
    name = jnp.result_type(*dtypes).name
    config = network.config.to_dict() | {"dtype": name, "param_dtype": name}
    with replacing(Path(directory).absolute()) as folder:
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        with _quiet(), ocp.PyTreeCheckpointer() as checkpointer:
            checkpointer.save(folder / "state", item=tree)


def abstract_network(component: Component, config: NetworkConfig, dtype: jnp.dtype) -> Network:
    """The network with shapes for weights: nothing is allocated."""
    return nnx.eval_shape(lambda: NETWORKS[component](config, rngs=nnx.Rngs(0), dtype=dtype))


def rebuilt(state: nnx.State, leaves: Iterable[Any]) -> nnx.State:
    """The same tree with other leaves, in the order of `named_leaves`."""
    return jax.tree.unflatten(jax.tree.structure(state, is_leaf=is_apart), leaves)


def named_leaves(state: nnx.State) -> dict[LeafPath, Any]:
    """Arrays, or their shapes, by path; of a kernel in few bits its `values` and its `scale`."""
    return {path_of(keys): leaf for keys, leaf in jax.tree_util.tree_flatten_with_path(state, is_leaf=is_apart)[0]}


def _stored_shapes(component: Component, shapes: Mapping[LeafPath, tuple[int, ...]]) -> dict[LeafPath, tuple[int, ...]]:
    """What the files must hold for a network with leaves of those shapes."""
    wanted: dict[LeafPath, tuple[int, ...]] = {}
    for path, shape in shapes.items():
        if is_stacked(component, path):
            wanted |= {stored_path(component, path, block): shape[1:] for block in range(shape[0])}
        else:
            wanted[stored_path(component, path)] = shape
    return wanted


def _checked(stored: Weights, shapes: Mapping[LeafPath, tuple[int, ...]]) -> Mapping[LeafPath, tuple[int, ...]]:
    """What is stored of a network with leaves of those shapes, if it is as it should be."""
    wanted = _stored_shapes(stored.component, shapes)
    _compare(stored, wanted)
    return wanted


def _widest(dtypes: Iterable[np.dtype]) -> jnp.dtype:
    """The type that holds all of them; float64 only where JAX has it."""
    return jax.dtypes.canonicalize_dtype(jnp.result_type(*set(dtypes)))


def _compare(stored: Weights, wanted: Mapping[LeafPath, tuple[int, ...]]) -> None:
    """Raise WeightsMismatch unless what is stored is `wanted`, but for the scales that are known to be foreign."""
    component, found = stored.component, stored.leaves
    wanted = {**wanted, **stored.scales}
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
            if path in found and not jnp.issubdtype(found[path].dtype, jnp.floating)
        ],
        "unused": [
            *(".".join(path) for path in found if path not in wanted and path not in foreign),
            *stored.unknown,
        ],
    }
    if any(faults.values()):
        raise WeightsMismatch(
            f"{component}: the leaves in {stored.origin} are not those of its config: {listed(faults)}.",
            hint="Config and weights belong to different models, or to another component.",
            faults=faults,
        )
    if foreign:
        warnings.warn(
            f"{component}: ignored {len(foreign)} norm scales in {stored.origin}: FLUX's norms have none.", stacklevel=3
        )


def _fill(
    stored: Weights,
    shapes: Mapping[LeafPath, tuple[int, ...]],
    kept: Mapping[LeafPath, jax.ShapeDtypeStruct],
    dtype: jnp.dtype,
    weights: WeightKind,
    placement: Placement,
    on_read: Callable[[float], None],
) -> dict[LeafPath, jax.Array | Apart]:
    """All leaves where they belong, one after the other; those of one stack block by block into buffers made for it.

    Args:
        shapes: of the leaves as they are stored.
        kept: the leaves as they stay in memory.
        dtype: of all that is not in few bits.
    """
    component = stored.component
    places = {path: placement(path, leaf.shape) for path, leaf in kept.items()}
    forms = {path: form for path in shapes if (form := form_in_memory(component, path, weights)) is not None}
    single = [path for path in shapes if not is_stacked(component, path)]
    stacks = [[path for path in shapes if path[0] == stack] for stack in STACKS[component]]
    stacked = [path for path in kept if is_stacked(component, path)]
    apart = {path for path in stacked if lies_apart(component, path, places[path])}
    here = {
        path: empty(kept[path].shape, kept[path].dtype)
        for path in stacked
        if path not in apart and _is_memory(places[path])
    }
    wanted = [Wanted(stored_path(component, path), dtype) for path in single]
    for path, block in ((path, block) for paths in stacks for block in range(shapes[paths[0]][0]) for path in paths):
        into, source = here[path][block] if path in here else None, stored_path(component, path, block)
        wanted.append(Wanted(source, _exact(stored.leaves[source]) if path in forms else dtype, into))
    arrays: dict[LeafPath, jax.Array | Apart] = {}
    total, done = sum(map(math.prod, shapes.values())), 0
    with reading(stored, wanted) as read:
        for path in single:
            arrays[path] = put(next(read), places[path])
            done += math.prod(shapes[path])
            on_read(done / total)
        for paths in stacks:
            blocks = shapes[paths[0]][0]
            leaves = [path for path in stacked if path[0] == paths[0][0]]
            there = [path for path in leaves if path not in here and path not in apart]
            own: dict[LeafPath, list[jax.Array]] = {path: [] for path in leaves if path in apart}
            buffers = _zeros(tuple((kept[path], places[path]) for path in there))() if there else []
            for block in range(blocks):
                parts = _in_their_forms({path: next(read) for path in paths}, forms, places, dtype)
                sent = {path: put(parts[path], block_place(places[path])) for path in (*there, *own)}
                jax.block_until_ready(sent)
                for path, blocks_sent in own.items():
                    blocks_sent.append(sent.pop(path))
                if there:
                    buffers = jax.block_until_ready(put_block(buffers, list(sent.values()), block))
                for path in leaves:
                    if path in here and isinstance(parts[path], jax.Array):  # the others were read into it
                        bits(here[path][block])[...] = bits(np.asarray(parts[path]))
                del parts, sent
                done += sum(math.prod(shapes[path]) // blocks for path in paths)
                on_read(done / total)
            arrays |= zip(there, buffers, strict=True)
            arrays |= {path: Apart(sent) for path, sent in own.items()}
            for path in leaves:
                if path in here:  # one after the other: where it is not used as it is, it is there twice
                    arrays[path] = jax.block_until_ready(put(here.pop(path), places[path]))
    return arrays


def _exact(leaf: StoredLeaf) -> np.dtype:
    """The type that a leaf is read as, to be rounded once: a product with a scale is not rounded before."""
    as_it_is = leaf.kind == leaf.dtype.name and leaf.dtype.itemsize > 1
    return leaf.dtype if as_it_is else np.dtype(np.float32)


def _in_their_forms(
    parts: Mapping[LeafPath, np.ndarray],
    forms: Mapping[LeafPath, Form],
    places: Mapping[LeafPath, jax.sharding.Sharding],
    dtype: jnp.dtype,
) -> dict[LeafPath, np.ndarray | jax.Array]:
    """One block's leaves as they are kept: of kernels in few bits the values and the scale, made on their device."""
    made: dict[LeafPath, np.ndarray | jax.Array] = {}
    for path, part in parts.items():
        if path not in forms:
            made[path] = part
            continue
        home = block_place(places[(*path, "values")]).with_memory_kind(DEVICE)
        kernel = _quantised(put(part, home), forms[path], dtype)
        made |= {(*path, "values"): kernel.values, (*path, "scale"): kernel.scale}
    return made


@partial(jax.jit, static_argnums=(1, 2))
def _quantised(kernel: jax.Array, form: Form, dtype: jnp.dtype) -> QuantisedKernel:
    return form.of(kernel, dtype)


def _is_memory(place: jax.sharding.Sharding) -> bool:
    """Whether blocks are read into one array of NumPy's: a CPU uses it as it is, and a device sends for its blocks."""
    return place.memory_kind == HOST or (place.num_devices == 1 and _platform(place.device_set) == "cpu")


def lies_apart(component: Component, path: LeafPath, place: jax.sharding.Sharding) -> bool:
    """Whether each block of a stack shall be an array of its own: the large ones of every step, on one GPU.

    Several keep to the one program, whose exchanges between devices are tested.
    """
    large = path[-1] == "kernel" or path[-2:] == ("kernel", "values")
    wanted = component == "transformer" and large and not is_modulation(component, path)
    return wanted and is_stacked(component, path) and place.memory_kind != HOST and _is_one_gpu(place)


def _is_one_gpu(place: jax.sharding.Sharding) -> bool:
    return place.num_devices == 1 and _platform(place.device_set) == "gpu"


def _platform(devices: set[Any]) -> str:
    platform: str = next(iter(devices)).platform
    return platform


def laid(component: Component, path: LeafPath, leaf: Any, place: jax.sharding.Sharding) -> jax.Array | Apart:
    """A whole leaf put where it belongs, from wherever it is."""
    if lies_apart(component, path, place):
        return Apart(put(block, block_place(place)) for block in on_host(leaf))
    return put(on_host(leaf) if is_apart(leaf) else leaf, place)


def block_place(place: jax.sharding.Sharding) -> jax.sharding.Sharding:
    """Where one block of a stack lies."""
    if not isinstance(place, jax.sharding.NamedSharding):
        return place
    return jax.sharding.NamedSharding(place.mesh, jax.sharding.PartitionSpec(*place.spec[1:]))


@cache
def _zeros(
    leaves: tuple[tuple[jax.ShapeDtypeStruct, jax.sharding.Sharding], ...],
) -> Callable[[], list[jax.Array]]:
    """Compiled once for a stack: one by one, they took half of the time that a small network takes to load."""
    homes = [place for _, place in leaves]
    return jax.jit(lambda: [jnp.zeros(leaf.shape, leaf.dtype) for leaf, _ in leaves], out_shardings=homes)


@partial(jax.jit, donate_argnums=0)
def put_block(buffers: list[jax.Array], parts: list[jax.Array], block: int) -> list[jax.Array]:
    """Write one block's leaves into the stacks, in place."""
    put = jax.lax.dynamic_update_index_in_dim
    return [put(buffer, part, block, 0) for buffer, part in zip(buffers, parts, strict=True)]


def _insert(tree: dict[str, Any], path: LeafPath, leaf: Any) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = leaf


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
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
