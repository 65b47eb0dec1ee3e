"""Where a network's leaf lies, and how it gets there and back: on one device, on several, on several processes'."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

from flux_engine.configs import Component
from flux_engine.models.apart import Apart, is_apart
from flux_engine.weights.names import LeafPath, is_large, is_modulation, is_stacked

DEVICE, HOST = "device", "pinned_host"  # JAX's names for a device's own memory, and the machine's that it reads itself
Placement = Callable[[LeafPath, tuple[int, ...]], Sharding]
"""Where a network's leaf of that path and shape shall lie; stacked blocks are one leaf."""


def on_device(device: jax.Device) -> Placement:
    """All in the memory of one device."""
    sharding = jax.sharding.SingleDeviceSharding(device)
    return lambda path, shape: sharding


def lies_apart(component: Component, path: LeafPath, place: Sharding) -> bool:
    """Whether each block of a stack shall be an array of its own: the large ones of every step, on one GPU.

    Several keep to the one program, whose exchanges between devices are tested.
    """
    wanted = component == "transformer" and is_large(path) and not is_modulation(component, path)
    return wanted and is_stacked(component, path) and _is_one(place, "gpu")


def is_in_memory(place: Sharding) -> bool:
    """Whether blocks are read into one array of NumPy's: a CPU uses it as it is, and a device sends for its blocks."""
    return place.memory_kind == HOST or _is_one(place, "cpu")


def _is_one(place: Sharding, platform: str) -> bool:
    return place.num_devices == 1 and _platform(place.device_set) == platform


def _platform(devices: set[Any]) -> str:
    platform: str = next(iter(devices)).platform
    return platform


def block_place(place: Sharding) -> Sharding:
    """Where one block of a stack lies."""
    if not isinstance(place, NamedSharding):
        return place
    return NamedSharding(place.mesh, P(*place.spec[1:]))


def laid(component: Component, path: LeafPath, leaf: Any, place: Sharding) -> jax.Array | Apart:
    """A whole leaf put where it belongs, from wherever it is."""
    if lies_apart(component, path, place):
        return Apart(put(block, block_place(place)) for block in on_host(leaf))
    return put(on_host(leaf) if is_apart(leaf) else leaf, place)


def put(value: Any, sharding: Sharding) -> jax.Array:
    """An array that lies there; NumPy's are the same in all processes, and each gives its own devices their parts."""
    if sharding.is_fully_addressable or (isinstance(value, jax.Array) and not value.is_fully_addressable):
        return jax.device_put(value, sharding)
    here = np.asarray(value)  # jax.device_put would first compare it over the network
    return jax.make_array_from_callback(here.shape, sharding, lambda part: here[part])


def on_host(array: jax.Array | Apart) -> np.ndarray:
    """All of an array; the processes whose devices it lies on must ask for it together."""
    if isinstance(array, Apart):
        return np.stack(list(map(on_host, array.blocks)))
    if not array.is_fully_addressable and not array.is_fully_replicated:
        assert isinstance(array.sharding, NamedSharding)
        array = jax.device_put(array, NamedSharding(array.sharding.mesh, P()))
    return np.asarray(array)


def part_bytes(leaf: Any) -> int:
    """What each device holds of an array, or of what has only its shape."""
    shape = leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape)
    return math.prod(shape) * leaf.dtype.itemsize
