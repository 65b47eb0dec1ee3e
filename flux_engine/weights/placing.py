"""Where an array lies, and how it gets there and back: on one device, on several, or on those of several processes."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

from flux_engine.models.apart import Apart


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
