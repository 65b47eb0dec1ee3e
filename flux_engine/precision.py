"""Which floating-point type the networks compute in. Knows devices, no networks."""

from __future__ import annotations

import functools
import time

import jax
import jax.numpy as jnp

from flux_engine.request import DType

PROBE_SIZE = 768
PROBE_ROUNDS = 5
# Processors with AMX run bfloat16 products about five times faster, others no faster or slower; nothing lies near 1.5.
CLEARLY_FASTER = 1.5


def resolve_dtype(name: DType, device: jax.Device) -> jnp.dtype:
    """The type for `name`; "auto" is bfloat16 on an accelerator and, on a CPU, whatever is really faster there."""
    if name != "auto":
        return jnp.dtype(name)
    if device.platform != "cpu":
        return jnp.dtype(jnp.bfloat16)
    return jnp.dtype(_faster_on_cpu(device))


@functools.cache
def _faster_on_cpu(device: jax.Device) -> str:
    """Measured once in a process, in about a tenth of a second."""
    gain = _product_seconds("float32", device) / _product_seconds("bfloat16", device)
    return "bfloat16" if gain > CLEARLY_FASTER else "float32"


def _product_seconds(dtype: str, device: jax.Device) -> float:
    matrix = jax.device_put(jnp.ones((PROBE_SIZE, PROBE_SIZE), dtype), device)
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()
    seconds = []
    for _ in range(PROBE_ROUNDS):
        started = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
