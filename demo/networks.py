"""The demo model's sizes, and its transformer and text encoders as one thing to train."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flux_engine.configs import CLIPTextConfig, T5Config, TransformerConfig
from flux_engine.models.clip_text import CLIPTextEncoder
from flux_engine.models.t5_encoder import T5Encoder
from flux_engine.models.transformer import FluxTransformer2D, rope_table
from flux_engine.precision import resolve_dtype
from flux_engine.sampling.latents import image_ids, text_ids
from flux_engine.tokenizers import CLIPTokenizer, T5Tokenizer

TEXT_WIDTH = 128
TEXT_LENGTH = 32
DEMO_TRANSFORMER = TransformerConfig(
    hidden_dim=160,
    num_heads=4,
    num_double_layers=3,
    num_single_layers=6,
    joint_attention_dim=TEXT_WIDTH,
    pooled_projection_dim=TEXT_WIDTH,
    axes_dims_rope=(8, 16, 16),
)
DEMO_CLIP = CLIPTextConfig(
    hidden_size=TEXT_WIDTH,
    intermediate_size=512,
    num_hidden_layers=2,
    num_attention_heads=2,
    max_position_embeddings=TEXT_LENGTH,
)
DEMO_T5 = T5Config(d_model=TEXT_WIDTH, d_ff=256, num_layers=2, num_heads=4, d_kv=32)


class Tokens:
    """Captions to the ids of both tokenizers."""

    def __init__(self, folder: Path) -> None:
        self.clip = CLIPTokenizer.from_dir(folder / "tokenizer")
        self.t5 = T5Tokenizer.from_dir(folder / "tokenizer_2")

    def __call__(self, captions: list[str]) -> np.ndarray:
        """int32 [N, 2, TEXT_LENGTH]: CLIP's row and T5's row."""
        return np.stack([self.clip.encode(captions).ids, self.t5.encode(captions).ids], axis=1).astype(np.int32)


class Painter(nnx.Module):
    """Transformer and both text encoders; attributes are the checkpoint's component names."""

    def __init__(self, tokens: Tokens, *, rngs: nnx.Rngs) -> None:
        eos = int(tokens.clip.encode([""]).ids[0, 1])
        clip = dataclasses.replace(DEMO_CLIP, vocab_size=tokens.clip.vocab_size, eos_token_id=eos)
        t5 = dataclasses.replace(DEMO_T5, vocab_size=tokens.t5.vocab_size)
        self.transformer = FluxTransformer2D(DEMO_TRANSFORMER, rngs=rngs)
        self.clip_text = CLIPTextEncoder(clip, rngs=rngs)
        self.t5_text = T5Encoder(t5, rngs=rngs)
        _start_gently(self)
        if resolve_dtype("auto", jax.devices()[0]) == jnp.bfloat16:
            _multiply_in_bfloat16(self)

    def text(self, ids: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Sequence [B, T, D] and pooled vector [B, D] of ids [B, 2, T]."""
        return self.t5_text(ids[:, 1]), self.clip_text(ids[:, 0])

    def velocity(
        self, x: jax.Array, text: tuple[jax.Array, jax.Array], t: jax.Array, guidance: jax.Array, rope
    ) -> jax.Array:
        """Velocity of packed latents [B, rows, columns, C]."""
        B, rows, columns, C = x.shape
        v = self.transformer(x.reshape(B, rows * columns, C), *text, t, rope, guidance)
        return v.reshape(x.shape)


def _multiply_in_bfloat16(painter: Painter) -> None:
    """Linear layers round the operands of their products, and nothing else: elementwise bfloat16 is slow on a CPU."""
    for _, part in nnx.iter_graph(painter):
        if isinstance(part, nnx.Linear):
            part.dot_general = _linear_product


def _linear_product(x: jax.Array, kernel: jax.Array, *_, **__) -> jax.Array:
    return _product(x.reshape(-1, x.shape[-1]), kernel).reshape(*x.shape[:-1], kernel.shape[-1])


@jax.custom_vjp
def _product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """float32 [N, D] @ [D, M] with operands rounded to bfloat16.

    XLA on a CPU takes its slow path for a transposed operand, and for products of three axes; flat operands whose
    transposes are really copied make a training step 1.4 times faster.
    """
    return _rounded_product(x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))


def _product_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    rounded = (x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16))
    return _rounded_product(*rounded), rounded


def _product_backward(rounded: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = rounded
    grad = grad.astype(jnp.bfloat16)
    return _rounded_product(grad, _transposed_copy(kernel)), _rounded_product(_transposed_copy(x), grad)


_product.defvjp(_product_forward, _product_backward)


def _rounded_product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.dot(a, b, preferred_element_type=jnp.float32)


def _transposed_copy(matrix: jax.Array) -> jax.Array:
    return jax.lax.optimization_barrier(matrix.T.reshape(-1)).reshape(matrix.shape[::-1])


def demo_rope(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    ids = np.concatenate([text_ids(TEXT_LENGTH), image_ids(rows, columns)])
    return rope_table(ids, DEMO_TRANSFORMER.axes_dims_rope, DEMO_TRANSFORMER.theta)


def _start_gently(painter: Painter) -> None:
    """Blocks that start as the identity (adaLN-Zero, Peebles & Xie 2022), guidance without effect, soft T5 queries."""
    transformer = painter.transformer
    zeroed = [
        transformer.double_blocks.img_mod,
        transformer.double_blocks.txt_mod,
        transformer.single_blocks.modulation,
        transformer.final_layer.adaLN_modulation,
        transformer.final_layer.linear,
        transformer.guidance_in.out_layer,
    ]
    for linear in zeroed:
        linear.kernel[...] = jnp.zeros_like(linear.kernel[...])
    query = painter.t5_text.blocks.self_attn.q.kernel
    query[...] = query[...] * DEMO_T5.d_kv**-0.5  # T5 does not scale its scores
