"""A network from wherever its weights lie, and to a folder: `state/` (Orbax) and `config.json`.

Knows the layout, and nothing of what the networks compute. Orbax writes the tree; `orbax_files` reads it, `foreign`
what other programs wrote, and `filling` brings it where it belongs.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flux_engine.configs import Component, NetworkConfig
from flux_engine.errors import WeightsMismatch
from flux_engine.models.apart import is_apart
from flux_engine.models.clip_text import CLIPTextEncoder
from flux_engine.models.t5_encoder import T5Encoder
from flux_engine.models.transformer import FluxTransformer2D
from flux_engine.models.vae import FluxVAE
from flux_engine.request import WeightKind
from flux_engine.weights.faults import listed
from flux_engine.weights.filling import fill
from flux_engine.weights.names import (
    LeafPath,
    is_foreign,
    is_stacked,
    path_of,
    stored_path,
)
from flux_engine.weights.orbax_files import OrbaxWeights
from flux_engine.weights.placing import Placement
from flux_engine.weights.quantised import in_memory
from flux_engine.weights.stored import Weights

Network = FluxTransformer2D | FluxVAE | CLIPTextEncoder | T5Encoder

NETWORKS: dict[Component, Callable[..., Network]] = {
    "transformer": FluxTransformer2D,
    "vae": FluxVAE,
    "clip_text": CLIPTextEncoder,
    "t5_text": T5Encoder,
}


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
            each part of a kernel in few bits.
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
    arrays = fill(stored, shapes, named_leaves(kept), param_dtype, weights, placement, on_read)
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
    """Arrays, or their shapes, by path; of a kernel in few bits each part, `values` and `scale` for example."""
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
