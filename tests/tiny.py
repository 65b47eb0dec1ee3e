"""Tiny networks with the same weights on every machine, and inputs to try them on.

Golden numbers need the weights they were made with, but no weight is stored: every leaf is drawn by its name, from a
generator that NumPy has promised never to change. Nothing is left at a default that would hide an error: biases and
norm scales are as random as the rest.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flux_engine.configs import CLIPTextConfig, NetworkConfig, T5Config, TransformerConfig, VAEConfig
from flux_engine.models.clip_text import CLIPTextEncoder
from flux_engine.models.t5_encoder import T5Encoder
from flux_engine.models.transformer import FluxTransformer2D, rope_table
from flux_engine.models.vae import FluxVAE
from flux_engine.sampling.latents import image_ids, text_ids
from flux_engine.weights.names import is_stacked

NETWORKS: dict[type[NetworkConfig], type[nnx.Module]] = {
    TransformerConfig: FluxTransformer2D,
    VAEConfig: FluxVAE,
    CLIPTextConfig: CLIPTextEncoder,
    T5Config: T5Encoder,
}


def draw(name: str, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """float32 numbers in [low, high) that belong to `name`."""
    seed = zlib.crc32(name.encode())
    return np.random.RandomState(seed).uniform(low, high, shape).astype(np.float32)


def draw_ids(name: str, shape: tuple[int, ...], vocab_size: int) -> np.ndarray:
    """int32 token ids in [3, vocab_size)."""
    return np.random.RandomState(zlib.crc32(name.encode())).randint(3, vocab_size, shape).astype(np.int32)


def abstract_network(config: NetworkConfig, dtype: jnp.dtype = jnp.float32) -> nnx.Module:
    """The network of a config, computing in `dtype`, with shapes in the place of arrays."""
    network = NETWORKS[type(config)]
    return nnx.eval_shape(lambda: network(config, rngs=nnx.Rngs(0), dtype=dtype))


@cache
def abstract_leaves(config: NetworkConfig) -> dict[str, Any]:
    """Its leaves by dotted path."""
    return {_dotted(path): leaf.get_value() for path, leaf in nnx.to_flat_state(nnx.state(abstract_network(config)))}


def tiny_leaves(config: NetworkConfig) -> dict[str, np.ndarray]:
    """Random weights by dotted path, of a scale that keeps signals near 1."""
    return {path: _draw_leaf(config, path, leaf.shape) for path, leaf in abstract_leaves(config).items()}


def tiny_network(config: NetworkConfig, dtype: jnp.dtype = jnp.float32) -> Any:
    """The network of a config with those weights, in float32, computing in `dtype`."""
    graph, state = nnx.split(abstract_network(config, dtype))
    flat = [
        (path, leaf.replace(jnp.asarray(_draw_leaf(config, _dotted(path), leaf.shape))))
        for path, leaf in nnx.to_flat_state(state)
    ]
    return nnx.merge(graph, nnx.from_flat_state(flat))


@cache
def jitted(config: NetworkConfig, method: str = "__call__", dtype: jnp.dtype = jnp.float32) -> Callable[..., Any]:
    """A method of `tiny_network`, compiled with its weights as arguments."""
    graph, state = nnx.split(tiny_network(config, dtype))
    compiled = jax.jit(lambda state, *arguments: getattr(nnx.merge(graph, state), method)(*arguments))
    return lambda *arguments: compiled(state, *arguments)


def relative_error(actual: Any, expected: Any) -> float:
    """max|actual - expected| / max|expected|: what every bound on a network in these tests means."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"got {actual.shape}, expected {expected.shape}"
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def _dotted(path: tuple[Any, ...]) -> str:
    return ".".join(map(str, path))


def _draw_leaf(config: NetworkConfig, path: str, shape: tuple[int, ...]) -> np.ndarray:
    kind = path.rsplit(".", 1)[-1]
    if kind == "scale":
        return draw(path, shape, 0.5, 1.5)
    if kind == "bias":
        return draw(path, shape, -0.3, 0.3)
    if kind == "embedding":
        return draw(path, shape, -1.0, 1.0)
    fan_in = math.prod(shape[1:-1] if is_stacked(config.component, tuple(path.split("."))) else shape[:-1])
    limit = math.sqrt(3 / fan_in)
    if isinstance(config, T5Config) and path.endswith("self_attn.q.kernel"):
        limit /= math.sqrt(config.d_kv)  # T5 does not scale its attention
    return draw(path, shape, -limit, limit)


@dataclass(frozen=True, kw_only=True)
class TransformerCase:
    config: TransformerConfig
    batch: int
    rows: int
    columns: int
    text_length: int

    def inputs(self, name: str) -> dict[str, np.ndarray]:
        """Arrays for the reference and for `arguments`; timesteps and guidance differ within the batch."""
        config, B = self.config, self.batch
        return {
            "img": draw(f"{name} img", (B, self.rows * self.columns, config.in_channels), -2, 2),
            "txt": draw(f"{name} txt", (B, self.text_length, config.joint_attention_dim), -1, 1),
            "pooled": draw(f"{name} pooled", (B, config.pooled_projection_dim), -1, 1),
            "timesteps": np.array([1.0, 0.03, 0.6789], np.float32)[:B],
            # Not 30: at an angle of 30000 radians float32 itself is off by 1e-3, in the reference too.
            "guidance": np.array([3.5, 1.0, 7.0], np.float32)[:B],
            "img_ids": image_ids(self.rows, self.columns),
            "txt_ids": text_ids(self.text_length),
        }

    def arguments(self, name: str) -> tuple[Any, ...]:
        """What FluxTransformer2D is called with."""
        x, config = self.inputs(name), self.config
        rope = rope_table(np.concatenate([x["txt_ids"], x["img_ids"]]), config.axes_dims_rope, config.theta)
        guidance = x["guidance"] if config.guidance_embeds else None
        return x["img"], x["txt"], x["pooled"], x["timesteps"], rope, guidance


TRANSFORMERS = {
    "guided, batch of 3, 3x5 tokens": TransformerCase(
        config=TransformerConfig(
            hidden_dim=32,
            num_heads=2,
            num_double_layers=2,
            num_single_layers=2,
            joint_attention_dim=24,
            pooled_projection_dim=20,
            axes_dims_rope=(4, 6, 6),
        ),
        batch=3,
        rows=3,
        columns=5,
        text_length=7,
    ),
    "without guidance, 4 heads, 6x2 tokens": TransformerCase(
        config=TransformerConfig(
            in_channels=16,
            hidden_dim=48,
            num_heads=4,
            num_double_layers=1,
            num_single_layers=3,
            joint_attention_dim=40,
            pooled_projection_dim=12,
            guidance_embeds=False,
            axes_dims_rope=(2, 4, 6),
        ),
        batch=1,
        rows=6,
        columns=2,
        text_length=16,
    ),
    "FLUX's head, 40x3 tokens": TransformerCase(
        config=TransformerConfig(
            hidden_dim=256,
            num_heads=2,
            num_double_layers=1,
            num_single_layers=1,
            joint_attention_dim=32,
            pooled_projection_dim=16,
        ),
        batch=1,
        rows=40,
        columns=3,
        text_length=5,
    ),
}


@dataclass(frozen=True, kw_only=True)
class VAECase:
    config: VAEConfig
    batch: int
    height: int
    width: int

    def images(self, name: str) -> np.ndarray:
        return draw(f"{name} images", (self.batch, self.height, self.width, self.config.in_channels), -1, 1)

    def latents(self, name: str) -> np.ndarray:
        h, w = self.height // self.config.downsampling, self.width // self.config.downsampling
        return draw(f"{name} latents", (self.batch, h, w, self.config.latent_channels), -2, 2)


VAES = {
    "four levels, 2 layers, batch of 3": VAECase(
        config=VAEConfig(block_out_channels=(8, 16, 24, 24), norm_num_groups=4), batch=3, height=24, width=16
    ),
    "two levels, other constants": VAECase(
        config=VAEConfig(
            latent_channels=4,
            block_out_channels=(6, 18),
            norm_num_groups=3,
            layers_per_block=1,
            scaling_factor=0.18,
            shift_factor=-0.4,
        ),
        batch=1,
        height=10,
        width=14,
    ),
}


@dataclass(frozen=True, kw_only=True)
class CLIPCase:
    """`ends` is where each row's text ends; padding goes on with `pad`, as FLUX's tokenizer pads with the end token."""

    config: CLIPTextConfig
    length: int
    ends: tuple[int, ...]
    end: int
    pad: int

    def ids(self, name: str) -> np.ndarray:
        ids = draw_ids(f"{name} ids", (len(self.ends), self.length), min(self.end, self.config.vocab_size - 1))
        for row, end in zip(ids, self.ends, strict=True):
            row[end:] = self.pad
            row[end] = self.end
        return ids


CLIPS = {
    "legacy end id, 77 tokens": CLIPCase(
        config=CLIPTextConfig(
            vocab_size=99, hidden_size=32, intermediate_size=80, num_hidden_layers=3, num_attention_heads=2
        ),
        length=77,
        ends=(1, 20, 76),
        end=98,
        pad=98,
    ),
    "its own end id, 12 of 16 tokens": CLIPCase(
        config=CLIPTextConfig(
            vocab_size=70,
            hidden_size=24,
            intermediate_size=30,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=16,
            layer_norm_eps=1e-4,
            eos_token_id=50,
        ),
        length=12,
        ends=(5, 11, 2),
        end=50,
        pad=60,
    ),
}


@dataclass(frozen=True, kw_only=True)
class T5Case:
    config: T5Config
    batch: int
    length: int

    def ids(self, name: str) -> np.ndarray:
        return draw_ids(f"{name} ids", (self.batch, self.length), self.config.vocab_size)


_T5 = T5Config(vocab_size=99, d_model=32, d_ff=48, num_layers=3, num_heads=3, d_kv=8)
_T5_OTHER_BUCKETS = T5Config(
    vocab_size=50,
    d_model=16,
    d_ff=40,
    num_layers=2,
    num_heads=2,
    d_kv=8,
    layer_norm_epsilon=1e-5,
    relative_attention_num_buckets=16,
    relative_attention_max_distance=40,
)
T5S = {
    "16 tokens, batch of 3": T5Case(config=_T5, batch=3, length=16),
    "40 tokens": T5Case(config=_T5, batch=1, length=40),
    "300 tokens, the farthest buckets": T5Case(config=_T5, batch=1, length=300),
    "other buckets": T5Case(config=_T5_OTHER_BUCKETS, batch=1, length=60),
}
