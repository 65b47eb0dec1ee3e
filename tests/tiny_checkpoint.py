"""A whole checkpoint of tiny networks, and the pictures that FluxPipeline of diffusers was asked for as well."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flux_engine import FluxModelLoader, run_diffuse_generation
from flux_engine.configs import CLIPTextConfig, NetworkConfig, T5Config, TransformerConfig, VAEConfig
from flux_engine.weights.checkpoint import save_component
from tests.tiny import tiny_network

TOKENIZERS = Path(__file__).parent / "golden"  # tokenizer/ and tokenizer_2/
CLIP = CLIPTextConfig(vocab_size=1200, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
T5 = T5Config(vocab_size=160, d_model=32, d_ff=64, num_layers=2, num_heads=2, d_kv=16)
VAE = VAEConfig(block_out_channels=(8, 16, 24, 32), norm_num_groups=8, layers_per_block=1)
TRANSFORMER = TransformerConfig(
    hidden_dim=32,
    num_heads=2,
    num_double_layers=1,
    num_single_layers=2,
    joint_attention_dim=32,
    pooled_projection_dim=32,
    axes_dims_rope=(4, 6, 6),
)


@dataclass(frozen=True, kw_only=True)
class Picture:
    prompt: str = "A serene landscape with mountains at sunset, 3 boats & it's café-like 🐼"
    negative_prompt: str | None = None
    height: int
    width: int
    num_steps: int = 4
    guidance_scale: float = 3.5
    true_cfg_scale: float = 1.0
    seed: int = 42
    batch_size: int = 1


PICTURES = {
    "square": Picture(height=48, width=48),
    "square, with a negative prompt": Picture(
        height=48, width=48, negative_prompt="Blurry, low quality", true_cfg_scale=2.5
    ),
    "wide, a batch of 2, with an empty negative prompt": Picture(
        height=32, width=80, batch_size=2, seed=7, guidance_scale=1.5, negative_prompt="", true_cfg_scale=4.0
    ),
}


def write_tiny_checkpoint(
    folder: Path, transformer: TransformerConfig = TRANSFORMER, vae: VAEConfig = VAE, clip: CLIPTextConfig = CLIP
) -> None:
    """The four networks with the weights of `tests.tiny`, by this project's own writer, and two tokenizers."""
    components: dict[str, NetworkConfig] = {"transformer": transformer, "vae": vae, "clip_text": clip, "t5_text": T5}
    for name, config in components.items():
        save_component(folder / name, tiny_network(config))
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(TOKENIZERS / name, folder / name)


def paint(loader: FluxModelLoader, picture: Picture) -> np.ndarray:
    """uint8 [B, H, W, 3] by the public Python API, with PyTorch's noise."""
    network = loader.prepare_conditioned_network(
        picture.prompt,
        picture.negative_prompt,
        picture.guidance_scale,
        picture.height,
        picture.width,
        picture.true_cfg_scale,
    )
    latents = run_diffuse_generation(
        conditioned_network=network,
        height=picture.height,
        width=picture.width,
        num_steps=picture.num_steps,
        seed=picture.seed,
        batch_size=picture.batch_size,
        noise="torch",
    )
    return np.round(np.asarray(loader.decode_latents(latents)) * 255).astype(np.uint8)


def greatest_difference(a: np.ndarray, b: np.ndarray) -> int:
    """Of two uint8 pictures, in steps of 1/255."""
    assert a.dtype == b.dtype == np.uint8
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())
