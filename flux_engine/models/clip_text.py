"""CLIP's text tower, as far as FLUX needs it: one vector for a prompt. Mathematics only.

Reference: transformers `modeling_clip.py`. Causal mask only: padding is attended, as FLUX was trained.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from flux_engine.configs import CLIPTextConfig
from flux_engine.models.layers import Linear, scan_blocks, stack_blocks

Dtypes = dict[str, jnp.dtype]
LEGACY_EOS_TOKEN_ID = 2


class CLIPTextEncoder(nnx.Module):
    """Token ids to CLIP's pooled vector (without text projection)."""

    def __init__(
        self,
        config: CLIPTextConfig,
        *,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
        param_dtype: jnp.dtype = jnp.float32,
    ) -> None:
        dtypes = {"dtype": dtype, "param_dtype": param_dtype}
        width = config.hidden_size
        self.config = config
        self.token_embedding = nnx.Embed(config.vocab_size, width, rngs=rngs, **dtypes)
        self.position_embedding = nnx.Embed(config.max_position_embeddings, width, rngs=rngs, **dtypes)
        self.layers = stack_blocks(lambda rngs: EncoderLayer(config, rngs, dtypes), config.num_hidden_layers, rngs)
        self.final_layer_norm = _layer_norm(config, rngs, dtypes)

    def __call__(self, ids: jax.Array) -> jax.Array:
        """Pooled vector [B, hidden_size] of token ids int [B, N], N at most max_position_embeddings.

        The vector is the one at the end-of-text token. Configs from before that id was recorded say 2; there the
        greatest id marks the end, as in the reference.
        """
        hidden = self.hidden_states(ids)
        is_end = ids if self.config.eos_token_id == LEGACY_EOS_TOKEN_ID else ids == self.config.eos_token_id
        end = jnp.argmax(is_end, axis=-1)
        return jnp.take_along_axis(hidden, end[:, None, None], axis=1)[:, 0]

    def hidden_states(self, ids: jax.Array) -> jax.Array:
        """[B, N, hidden_size] after the last norm."""
        positions = self.position_embedding(jnp.arange(ids.shape[1]))
        x = self.token_embedding(ids) + positions[None]
        return self.final_layer_norm(scan_blocks(self.layers, lambda layer, x: layer(x), x))


class EncoderLayer(nnx.Module):
    def __init__(self, config: CLIPTextConfig, rngs: nnx.Rngs, dtypes: Dtypes) -> None:
        self.ln1 = _layer_norm(config, rngs, dtypes)
        self.self_attn = SelfAttention(config, rngs, dtypes)
        self.ln2 = _layer_norm(config, rngs, dtypes)
        self.mlp = MLP(config, rngs, dtypes)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + self.self_attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))


class SelfAttention(nnx.Module):
    def __init__(self, config: CLIPTextConfig, rngs: nnx.Rngs, dtypes: Dtypes) -> None:
        linear = partial(Linear, config.hidden_size, config.hidden_size, rngs=rngs, **dtypes)
        self.num_heads = config.num_attention_heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = linear(), linear(), linear(), linear()

    def __call__(self, x: jax.Array) -> jax.Array:
        q, k, v = (
            rearrange(project(x), "B N (H K) -> B N H K", H=self.num_heads)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        attended = jax.nn.dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(rearrange(attended, "B N H K -> B N (H K)"))


class MLP(nnx.Module):
    def __init__(self, config: CLIPTextConfig, rngs: nnx.Rngs, dtypes: Dtypes) -> None:
        self.fc1 = Linear(config.hidden_size, config.intermediate_size, rngs=rngs, **dtypes)
        self.fc2 = Linear(config.intermediate_size, config.hidden_size, rngs=rngs, **dtypes)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.fc1(x)
        return self.fc2(x * nnx.sigmoid(1.702 * x))  # "quick" GELU


def _layer_norm(config: CLIPTextConfig, rngs: nnx.Rngs, dtypes: Dtypes) -> nnx.LayerNorm:
    return nnx.LayerNorm(
        config.hidden_size, epsilon=config.layer_norm_eps, use_fast_variance=False, rngs=rngs, **dtypes
    )
