"""Sizes of the four networks, as frozen values. Stdlib only: no array, no file but a dict from a config.json.

Defaults are FLUX.1-dev's, so a config.json may leave out what FLUX leaves out. Keys that decide no shape and no
number here (initialisers, dropout, class names) are ignored, as they are in the checkpoints that carry them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, Self

from flux_engine.errors import ConfigError
from flux_engine.request import is_number

Component = Literal["transformer", "vae", "clip_text", "t5_text"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Base: reads and writes config.json dictionaries, checks types."""

    component: ClassVar[Component]

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Self:
        """Build from a config.json's content.

        Raises:
            ConfigError: a known key has a value of the wrong kind, or the sizes contradict each other.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            if field.name in raw:
                values[field.name] = _coerce(cls, field.name, raw[field.name], getattr(cls, field.name))
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        return json.loads(json.dumps(asdict(self)))

    def _require(self, condition: bool, message: str) -> None:
        if not condition:
            raise ConfigError(f"{self.component}: {message}", hint="Check the component's config.json.")


def _coerce(cls: type[NetworkConfig], name: str, value: Any, default: Any) -> Any:
    kind = type(default)
    if kind is tuple and isinstance(value, list | tuple) and all(type(item) is int for item in value):
        return tuple(value)
    if kind is float and type(value) in (int, float) and is_number(value):
        return float(value)
    if kind not in (float, tuple) and type(value) is kind:
        return value
    raise ConfigError(
        f"{cls.component}: {name} is {value!r}; expected {kind.__name__} such as {default!r}.",
        hint="Check the component's config.json.",
    )


@dataclass(frozen=True, kw_only=True)
class TransformerConfig(NetworkConfig):
    """The rectified-flow transformer. Reference: black-forest-labs/flux `model.py`, FluxParams."""

    component: ClassVar[Component] = "transformer"

    in_channels: int = 64
    hidden_dim: int = 3072
    num_heads: int = 24
    num_double_layers: int = 19
    num_single_layers: int = 38
    joint_attention_dim: int = 4096
    pooled_projection_dim: int = 768
    mlp_ratio: float = 4.0
    guidance_embeds: bool = True
    axes_dims_rope: tuple[int, ...] = (16, 56, 56)
    theta: float = 10000.0

    @property
    def head_dim(self) -> int:
        return self.hidden_dim // self.num_heads

    @property
    def mlp_dim(self) -> int:
        return int(self.hidden_dim * self.mlp_ratio)

    def __post_init__(self) -> None:
        sizes = (
            self.in_channels,
            self.hidden_dim,
            self.num_heads,
            self.joint_attention_dim,
            self.pooled_projection_dim,
        )
        factors = (self.mlp_ratio, self.theta)
        self._require(min(sizes) > 0 and min(factors) > 0, f"sizes must be positive, got {sizes} and {factors}")
        self._require(self.mlp_dim > 0, f"mlp_ratio {self.mlp_ratio} leaves the MLP of width {self.hidden_dim} nothing")
        self._require(min(self.num_double_layers, self.num_single_layers) >= 1, "needs a double and a single block")
        self._require(
            self.hidden_dim % self.num_heads == 0,
            f"hidden_dim {self.hidden_dim} is not a multiple of num_heads {self.num_heads}",
        )
        self._require(
            len(self.axes_dims_rope) == 3 and all(axis > 0 and axis % 2 == 0 for axis in self.axes_dims_rope),
            f"axes_dims_rope is {self.axes_dims_rope}; expected three even numbers",
        )
        axes = self.axes_dims_rope
        self._require(
            sum(axes) == self.head_dim,
            f"axes_dims_rope {axes} adds up to {sum(axes)}; expected head_dim {self.head_dim}",
        )


@dataclass(frozen=True, kw_only=True)
class VAEConfig(NetworkConfig):
    """The autoencoder. Reference: diffusers `autoencoder_kl.py`."""

    component: ClassVar[Component] = "vae"

    in_channels: int = 3
    latent_channels: int = 16
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2
    norm_num_groups: int = 32
    scaling_factor: float = 0.3611
    shift_factor: float = 0.1159

    @property
    def downsampling(self) -> int:
        """Pixels per latent cell along one side."""
        return 2 ** (len(self.block_out_channels) - 1)

    def __post_init__(self) -> None:
        sizes = (self.in_channels, self.latent_channels, self.layers_per_block, self.norm_num_groups)
        self._require(min(sizes) > 0, f"sizes must be positive, got {sizes}")
        self._require(len(self.block_out_channels) > 0, "block_out_channels is empty")
        self._require(
            all(width > 0 and width % self.norm_num_groups == 0 for width in self.block_out_channels),
            f"block_out_channels {self.block_out_channels} must be multiples of norm_num_groups {self.norm_num_groups}",
        )
        self._require(self.scaling_factor > 0, f"scaling_factor is {self.scaling_factor}; expected above 0")


@dataclass(frozen=True, kw_only=True)
class CLIPTextConfig(NetworkConfig):
    """CLIP's text tower. Reference: transformers `modeling_clip.py`."""

    component: ClassVar[Component] = "clip_text"

    vocab_size: int = 49408
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 77
    layer_norm_eps: float = 1e-5
    eos_token_id: int = 2

    def __post_init__(self) -> None:
        sizes = (self.vocab_size, self.hidden_size, self.intermediate_size, self.num_hidden_layers)
        self._require(min(sizes) > 0 and self.max_position_embeddings > 0, f"sizes must be positive, got {sizes}")
        self._require(
            self.num_attention_heads > 0 and self.hidden_size % self.num_attention_heads == 0,
            f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}",
        )


@dataclass(frozen=True, kw_only=True)
class T5Config(NetworkConfig):
    """T5 v1.1's encoder. Reference: transformers `modeling_t5.py`."""

    component: ClassVar[Component] = "t5_text"

    vocab_size: int = 32128
    d_model: int = 4096
    d_ff: int = 10240
    num_layers: int = 24
    num_heads: int = 64
    d_kv: int = 64
    layer_norm_epsilon: float = 1e-6
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128

    def __post_init__(self) -> None:
        sizes = (self.vocab_size, self.d_model, self.d_ff, self.num_layers, self.num_heads, self.d_kv)
        self._require(min(sizes) > 0, f"sizes must be positive, got {sizes}")
        buckets, distance = self.relative_attention_num_buckets, self.relative_attention_max_distance
        self._require(
            buckets >= 4 and buckets % 4 == 0 and distance > buckets // 4,
            f"relative attention has {buckets} buckets up to distance {distance}; expected a multiple of 4, below it",
        )


CONFIGS: dict[Component, type[NetworkConfig]] = {
    "transformer": TransformerConfig,
    "vae": VAEConfig,
    "clip_text": CLIPTextConfig,
    "t5_text": T5Config,
}

FLUX_DEV = TransformerConfig()
FLUX_SCHNELL = TransformerConfig(guidance_embeds=False)
FLUX_VAE = VAEConfig()
CLIP_L = CLIPTextConfig()
T5_XXL = T5Config()
