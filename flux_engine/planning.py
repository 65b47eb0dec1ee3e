"""What a picture takes of the device's memory, known before any weight is read.

Weights are counted from the configs. What a program needs beside them XLA itself says, which compiles it for that, from
shapes alone; with the cache of compiled programs the picture then compiles nothing. Knows nothing of what is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from flux_engine import compiled
from flux_engine.configs import CLIPTextConfig, Component, NetworkConfig, T5Config, TransformerConfig, VAEConfig
from flux_engine.host_memory import memory_bytes
from flux_engine.precision import resolve_dtype
from flux_engine.request import DType
from flux_engine.sampling.latents import PATCH, token_grid
from flux_engine.weights.checkpoint import abstract_network

Configs = Mapping[Component, NetworkConfig]
STAYING: tuple[Component, ...] = ("transformer", "vae")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a picture's way.

    Attributes:
        name: "prompt", "steps" or "decoding".
        networks: bytes of the weights that are on the device meanwhile, by network.
        working_bytes: what its program needs beside weights: inputs, results, and all in between at its peak.
    """

    name: str
    networks: Mapping[Component, int]
    working_bytes: int

    @property
    def peak_bytes(self) -> int:
        return sum(self.networks.values()) + self.working_bytes


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A picture's stages in their order.

    Attributes:
        dtype: what "auto" is here.
        device: where.
        free_bytes: what is left of its memory; None if it does not tell.
    """

    dtype: str
    device: str
    stages: tuple[Stage, ...]
    free_bytes: int | None

    def fits(self, stage: Stage) -> bool:
        """Whether a stage needs no more than is left."""
        return self.free_bytes is None or stage.peak_bytes <= self.free_bytes


def plan(
    configs: Configs, *, dtype: DType, width: int, height: int, batch_size: int = 1, text_tokens: int = 512
) -> Plan:
    """A picture as the engine paints it on JAX's default device.

    The text encoders come and go for every new prompt, while transformer and autoencoder stay from the picture before.
    Pictures of a batch are decoded one after another.

    Args:
        configs: of all four networks.
        dtype: that weights are kept and computed in, as in a request.
        width, height: pixels.
        batch_size: pictures at once.
        text_tokens: T5's, padding included.

    Raises:
        RequestError: a size lies between tokens.
    """
    device = jax.devices()[0]
    kind = resolve_dtype(dtype, device)
    stages = _stages(configs, kind, width, height, batch_size, text_tokens)
    return Plan(dtype=kind.name, device=device.device_kind, stages=stages, free_bytes=free_bytes(device))


def _stages(
    configs: Configs, dtype: jnp.dtype, width: int, height: int, batch_size: int, text_tokens: int
) -> tuple[Stage, ...]:
    transformer, vae, clip, t5 = (configs[name] for name in ("transformer", "vae", "clip_text", "t5_text"))
    assert isinstance(transformer, TransformerConfig) and isinstance(vae, VAEConfig)
    assert isinstance(clip, CLIPTextConfig) and isinstance(t5, T5Config)
    rows, columns = token_grid(height, width, vae.downsampling)
    weights = {name: _weight_bytes(config, dtype) for name, config in configs.items()}
    stay = {name: size for name, size in weights.items() if name in STAYING}
    latents = _shape(batch_size, rows, columns, transformer.in_channels)
    text, pooled = _shape(1, text_tokens, t5.d_model, dtype=dtype), _shape(1, clip.hidden_size, dtype=dtype)
    rope = (_shape(text_tokens + rows * columns, transformer.head_dim // 2),) * 2
    decoded = _shape(1, PATCH * rows, PATCH * columns, vae.latent_channels)
    return (
        Stage(
            name="prompt",
            networks=weights,
            working_bytes=max(
                _working_bytes(compiled.encode_text, clip, dtype, _ids(clip.max_position_embeddings)),
                _working_bytes(compiled.encode_text, t5, dtype, _ids(text_tokens)),
            ),
        ),
        Stage(
            name="steps",
            networks=stay,
            working_bytes=_working_bytes(
                compiled.velocity, transformer, dtype, latents, _shape(), text, pooled, rope, _shape()
            ),
        ),
        Stage(
            name="decoding",
            networks=stay,
            working_bytes=math.prod(latents.shape) * 4 + _working_bytes(compiled.decode_latents, vae, dtype, decoded),
        ),
    )


def _shape(*sizes: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, dtype)


def _ids(length: int) -> jax.ShapeDtypeStruct:
    return _shape(1, length, dtype=jnp.int32)


def _abstract(config: NetworkConfig, dtype: jnp.dtype) -> tuple[nnx.GraphDef, nnx.State]:
    graphdef, state = nnx.split(abstract_network(config.component, config, dtype))
    return graphdef, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype), state)


def _weight_bytes(config: NetworkConfig, dtype: jnp.dtype) -> int:
    leaves = jax.tree.leaves(_abstract(config, dtype)[1])
    return sum(math.prod(leaf.shape) for leaf in leaves) * dtype.itemsize


def _working_bytes(program: Any, config: NetworkConfig, dtype: jnp.dtype, *arguments: Any) -> int:
    memory = program.lower(*_abstract(config, dtype), *arguments).compile().memory_analysis()
    weights = _weight_bytes(config, dtype)
    inputs = memory.argument_size_in_bytes - weights
    return max(inputs, 0) + memory.temp_size_in_bytes + memory.output_size_in_bytes


def free_bytes(device: jax.Device) -> int | None:
    """What is left of the device's memory, or of the machine's where the device is a CPU; None if neither tells."""
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    used, total = memory_bytes()
    return None if used is None or total is None else total - used
