"""What a picture costs, counted from the configs: floating-point operations of each network. Stdlib only.

A product of matrices [m, k] [k, n] counts 2 m k n, a convolution as the product that it is; what is done element by
element is left out (below 1 % in networks of FLUX's size). The transformer is counted as it is run: with 512 text
tokens FLUX.1-dev takes 74.3e12 a step at 1024x1024 pixels.
"""

from __future__ import annotations

from itertools import pairwise

from flux_engine.configs import CLIPTextConfig, T5Config, TransformerConfig, VAEConfig

TIME_EMBEDDING_DIM = 256


def transformer_flops(config: TransformerConfig, image_tokens: int, text_tokens: int, batch_size: int = 1) -> int:
    """Of one pass, without its modulations, which are counted by `modulation_flops`.

    In the last block text is only attended to: it has no queries, and no map to the outputs.
    """
    D, M = config.hidden_dim, config.mlp_dim
    tokens = image_tokens + text_tokens
    blocks = config.num_double_layers + config.num_single_layers
    linear = 2 * tokens * (4 * D * D + 2 * D * M) * blocks
    attention = 4 * tokens * tokens * D * blocks
    idle = text_tokens * (2 * (D + M) * D + 4 * tokens * D)
    embedded = 2 * D * (2 * image_tokens * config.in_channels + text_tokens * config.joint_attention_dim)
    return batch_size * (linear + attention - idle + embedded)


def modulation_flops(config: TransformerConfig, rows: int = 1) -> int:
    """Of all that depends on time, guidance and pooled text alone, for that many of them."""
    D = config.hidden_dim
    times = 1 + config.guidance_embeds
    embedders = times * (TIME_EMBEDDING_DIM + D) * D + (config.pooled_projection_dim + D) * D
    modulations = (12 * config.num_double_layers + 3 * config.num_single_layers + 2) * D * D
    return 2 * rows * (embedders + modulations)


def t5_flops(config: T5Config, tokens: int) -> int:
    """Of one prompt of that many tokens, padding included."""
    inner = config.num_heads * config.d_kv
    linear = 2 * tokens * (4 * config.d_model * inner + 3 * config.d_model * config.d_ff)
    return config.num_layers * (linear + 4 * tokens * tokens * inner)


def clip_flops(config: CLIPTextConfig) -> int:
    """Of one prompt, padded to all positions."""
    tokens, d = config.max_position_embeddings, config.hidden_size
    linear = 2 * tokens * (4 * d * d + 2 * d * config.intermediate_size)
    return config.num_hidden_layers * (linear + 4 * tokens * tokens * d)


def decoder_flops(config: VAEConfig, height: int, width: int) -> int:
    """Of one picture of that size in pixels."""
    widths = config.block_out_channels[::-1]
    pixels = height * width // config.downsampling**2
    total = pixels * 2 * 9 * config.latent_channels * widths[0]
    total += pixels * 2 * 9 * widths[0] ** 2 * 4  # the middle's two residual blocks
    total += pixels * (2 * 4 * widths[0] ** 2 + 4 * pixels * widths[0])  # and its attention
    for level, (before, here) in enumerate(pairwise((widths[0], *widths))):
        resnets = config.layers_per_block + 1
        total += pixels * 2 * 9 * (before * here + (2 * resnets - 1) * here * here)
        total += pixels * 2 * before * here * (before != here)
        if level < len(widths) - 1:
            pixels *= 4
            total += pixels * 2 * 9 * here * here
    return total + pixels * 2 * 9 * widths[-1] * config.in_channels
