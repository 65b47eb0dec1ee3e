"""How each network's modules follow one another, here and in the reference, for a comparison of both.

Knows what goes in and out of each module on both sides, and nothing of weights. Inputs are small: enough tokens for
every position bucket of T5, and for rows and columns that cannot be taken for one another.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from flux_engine.configs import CLIPTextConfig, Component, T5Config, TransformerConfig, VAEConfig
from flux_engine.models.clip_text import LEGACY_EOS_TOKEN_ID
from flux_engine.models.t5_encoder import T5Encoder
from flux_engine.models.transformer import rope_table, timestep_embedding
from flux_engine.models.vae import FluxVAE
from flux_engine.sampling.latents import image_ids, text_ids
from flux_engine.weights.sides import Both, Compared, Sides

ROWS, COLUMNS = 6, 8
TEXT_TOKENS, CLIP_TOKENS, T5_TOKENS = 16, 24, 144
TIME, GUIDANCE = 0.6, 1.5  # at an angle of 30000 radians float32 itself is off by 1e-3, in the reference too

Rows = Generator[Compared, None, None]


def _transformer(sides: Sides, config: TransformerConfig) -> Rows:
    ids = np.concatenate([text_ids(TEXT_TOKENS), image_ids(ROWS, COLUMNS)])
    rope = rope_table(ids, config.axes_dims_rope, config.theta)
    vec = yield from _conditioning(sides, config)
    (img,) = yield from sides.step(
        "img_in", ["img_in"], ["x_embedder"], _call, _call, sides.noise("img", 1, ROWS * COLUMNS, config.in_channels)
    )
    (txt,) = yield from sides.step(
        "txt_in", ["txt_in"], ["context_embedder"], _call, _call,
        sides.noise("txt", 1, TEXT_TOKENS, config.joint_attention_dim),
    )  # fmt: skip

    def double(block: Any, img: Any, txt: Any, vec: Any) -> Any:
        vec = nnx.silu(vec)
        return block(img, txt, block.img_mod(vec), block.txt_mod(vec), rope)

    def their_double(block: Any, rotary: Any, img: Any, txt: Any, vec: Any) -> Any:
        txt, img = block(img, txt, vec, image_rotary_emb=rotary(vec.new_tensor(ids)))
        return img, txt

    def single(block: Any, img: Any, txt: Any, vec: Any) -> Any:
        x = block(jnp.concatenate([txt, img], axis=1), block.modulation(nnx.silu(vec)), rope)
        return x[:, TEXT_TOKENS:], x[:, :TEXT_TOKENS]

    for number in range(config.num_double_layers):
        name, theirs = f"double_blocks.{number}", (f"transformer_blocks.{number}", "pos_embed")
        img, txt = yield from sides.step(name, [name], theirs, double, their_double, img, txt, vec)
    for number in range(config.num_single_layers):
        name, theirs = f"single_blocks.{number}", (f"single_transformer_blocks.{number}", "pos_embed")
        img, txt = yield from sides.step(name, [name], theirs, single, their_double, img, txt, vec)
    results = yield from sides.step(
        "final_layer", ["final_layer"], ["norm_out", "proj_out"],
        lambda layer, img, vec: layer(img, layer.adaLN_modulation(nnx.silu(vec))),
        lambda norm, project, img, vec: project(norm(img, vec)), img, vec,
    )  # fmt: skip
    yield sides.whole(*results)


def _conditioning(sides: Sides, config: TransformerConfig) -> Generator[Compared, None, Both]:
    """The vector that every modulation reads."""
    terms = []
    for name, theirs, value in (("time_in", "timestep", TIME), ("guidance_in", "guidance", GUIDANCE)):
        if name == "time_in" or config.guidance_embeds:
            terms += yield from sides.step(
                name, [name], [f"time_text_embed.{theirs}_embedder", "time_text_embed.time_proj"],
                lambda embedder, t: embedder(timestep_embedding(t)),
                lambda embedder, project, t: embedder(project(1000 * t)),
                Both.given(np.array([value], np.float32)),
            )  # fmt: skip
    terms += yield from sides.step(
        "vector_in", ["vector_in"], ["time_text_embed.text_embedder"], _call, _call,
        sides.noise("pooled", 1, config.pooled_projection_dim),
    )  # fmt: skip
    return Both(
        np.sum([term.here for term in terms], axis=0),
        np.sum([term.there for term in terms], axis=0),
    )


def _vae(sides: Sides, config: VAEConfig) -> Rows:
    size, levels = config.downsampling, range(len(config.block_out_channels))
    images = sides.noise("images", 1, ROWS * size, COLUMNS * size, config.in_channels)
    latents = sides.noise("latents", 1, ROWS, COLUMNS, config.latent_channels)
    for side, x, blocks in (("encoder", images, "down_blocks"), ("decoder", latents, "up_blocks")):
        inner = [f"{blocks}.{level}" for level in levels]
        order = [*inner, "mid_block"] if side == "encoder" else ["mid_block", *inner]
        for module in ("conv_in", *order):
            name = f"{side}.{module}"
            (x,) = yield from sides.step(name, [name], [name], _call, _channels_first, x)
        ends = [f"{side}.conv_norm_out", f"{side}.conv_out"]
        yield from sides.step(ends[1], ends, ends, _normed_out, _their_normed_out, x)

    def encode(vae: Any, images: Any) -> Any:
        mean = vae.encode(images.permute(0, 3, 1, 2)).latent_dist.mode()
        return ((mean - config.shift_factor) * config.scaling_factor).permute(0, 2, 3, 1)

    def decode(vae: Any, latents: Any) -> Any:
        latents = latents.permute(0, 3, 1, 2) / config.scaling_factor + config.shift_factor
        return vae.decode(latents).sample.permute(0, 2, 3, 1)

    yield from sides.step("encode", [""], [""], FluxVAE.encode, encode, images)
    yield from sides.step("decode", [""], [""], FluxVAE.decode, decode, latents)


def _clip(sides: Sides, config: CLIPTextConfig) -> Rows:
    length = min(CLIP_TOKENS, config.max_position_embeddings)
    ids = _ids(config.vocab_size - 1, length)
    ids[:, -2:] = config.vocab_size - 1 if config.eos_token_id == LEGACY_EOS_TOKEN_ID else config.eos_token_id
    tokens = Both.given(ids)
    embeddings = ("token_embedding", "position_embedding")
    (x,) = yield from sides.step(
        "embeddings", embeddings, ["embeddings"],
        lambda token, position, ids: token(ids) + position(jnp.arange(ids.shape[1]))[None],
        lambda embeddings, ids: embeddings(ids.long(), position_ids=_positions(ids)), tokens,
    )  # fmt: skip
    for number in range(config.num_hidden_layers):
        name = f"layers.{number}"
        (x,) = yield from sides.step(name, [name], [f"encoder.{name}"], _call, _causal, x)
    name = "final_layer_norm"
    yield from sides.step(name, [name], [name], _call, _call, x)
    yield from sides.step(
        "pooled", [""], [""], _call,
        lambda clip, ids: clip(ids.long(), position_ids=_positions(ids)).pooler_output, tokens,
    )  # fmt: skip


def _t5(sides: Sides, config: T5Config) -> Rows:
    ids = _ids(config.vocab_size, T5_TOKENS)
    tokens = Both.given(ids)

    def position_bias(table: Any, ids: Any) -> Any:
        encoder: Any = SimpleNamespace(config=config, relative_attention_bias=table)  # the rest of it is not needed
        return T5Encoder.position_bias(encoder, ids.shape[1])

    (x,) = yield from sides.step(
        "embed_tokens", ["embed_tokens"], ["shared"], _call, lambda table, ids: table(ids.long()), tokens
    )
    first = "encoder.block.0.layer.0.SelfAttention"
    (bias,) = yield from sides.step(
        "relative_attention_bias", ["relative_attention_bias"], [first], position_bias,
        lambda attention, ids: attention.compute_bias(ids.shape[1], ids.shape[1]), tokens,
    )  # fmt: skip
    for number in range(config.num_layers):
        name = f"blocks.{number}"
        (x,) = yield from sides.step(
            name, [name], [f"encoder.block.{number}"], _call,
            lambda block, x, bias: block(x, position_bias=bias)[0], x, bias,
        )  # fmt: skip
    results = yield from sides.step(
        "final_layer_norm", ["final_layer_norm"], ["encoder.final_layer_norm"], _call, _call, x
    )
    yield sides.whole(*results)


def _ids(vocab_size: int, length: int) -> np.ndarray:
    return np.random.RandomState(0).randint(0, vocab_size, (1, length)).astype(np.int32)


def _call(module: Any, *inputs: Any) -> Any:
    return module(*inputs)


def _channels_first(module: Any, x: Any) -> Any:
    return module(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _normed_out(norm: Any, conv: Any, x: Any) -> Any:
    return conv(nnx.silu(norm(x)))


def _their_normed_out(norm: Any, conv: Any, x: Any) -> Any:
    x = norm(x.permute(0, 3, 1, 2))
    return conv(x * x.sigmoid()).permute(0, 2, 3, 1)


def _causal(layer: Any, x: Any) -> Any:
    size = x.shape[1]
    return layer(x, x.new_full((1, 1, size, size), -float("inf")).triu(1))


def _positions(ids: Any) -> Any:
    return ids.new_ones(ids.shape).cumsum(1) - 1  # a buffer of theirs, which has no memory


CHAINS: dict[Component, Callable[..., Rows]] = {
    "transformer": _transformer,
    "vae": _vae,
    "clip_text": _clip,
    "t5_text": _t5,
}
