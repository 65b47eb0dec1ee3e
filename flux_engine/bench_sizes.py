"""The models that a benchmark knows by name: sizes only, no weights. Stdlib only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flux_engine.configs import (
    CLIP_L,
    CONFIGS,
    FLUX_DEV,
    FLUX_SCHNELL,
    FLUX_VAE,
    T5_XXL,
    CLIPTextConfig,
    T5Config,
    TransformerConfig,
    VAEConfig,
)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of a model's four networks, its text in tokens, and the side of its usual picture in pixels."""

    transformer: TransformerConfig
    vae: VAEConfig
    clip: CLIPTextConfig
    t5: T5Config
    text_tokens: int
    side_px: int


def _scaled(width: int, heads: int, double: int, single: int, t5_layers: int, text_tokens: int, side_px: int) -> Sizes:
    """FLUX.1's proportions at another width."""
    head = width // heads
    return Sizes(
        transformer=TransformerConfig(
            hidden_dim=width,
            num_heads=heads,
            num_double_layers=double,
            num_single_layers=single,
            joint_attention_dim=width,
            pooled_projection_dim=width // 4,
            axes_dims_rope=(head // 8, head * 7 // 16, head * 7 // 16),
        ),
        vae=VAEConfig(block_out_channels=(width // 16, width // 8, width // 4, width // 4), norm_num_groups=8),
        clip=CLIPTextConfig(
            hidden_size=width // 4, intermediate_size=width, num_hidden_layers=t5_layers, num_attention_heads=4
        ),
        t5=T5Config(d_model=width, d_ff=width * 5 // 2, num_layers=t5_layers, num_heads=heads, d_kv=width // heads),
        text_tokens=text_tokens,
        side_px=side_px,
    )


def _demo() -> Sizes:
    """Those of the model in the package."""
    folder = Path(__file__).parent / "demo"
    raw = {part: json.loads((folder / part / "config.json").read_text()) for part in CONFIGS}
    return Sizes(
        transformer=TransformerConfig.from_dict(raw["transformer"]),
        vae=VAEConfig.from_dict(raw["vae"]),
        clip=CLIPTextConfig.from_dict(raw["clip_text"]),
        t5=T5Config.from_dict(raw["t5_text"]),
        text_tokens=32,
        side_px=128,
    )


def _flux(transformer: TransformerConfig, text_tokens: int) -> Sizes:
    return Sizes(transformer=transformer, vae=FLUX_VAE, clip=CLIP_L, t5=T5_XXL, text_tokens=text_tokens, side_px=1024)


MODELS: Mapping[str, Callable[[], Sizes]] = {
    "demo": _demo,
    "tiny": lambda: _scaled(256, 4, 2, 4, 2, 64, 128),
    "medium": lambda: _scaled(1024, 8, 5, 10, 6, 256, 512),
    "flux-dev": lambda: _flux(FLUX_DEV, 512),
    "flux-schnell": lambda: _flux(FLUX_SCHNELL, 256),
}
