"""FLUX's autoencoder: pictures to latents and back. Mathematics only.

Layout is channels last. Names are the checkpoint's. Reference: diffusers `autoencoder_kl.py` and `vae.py`, without
quant_conv and post_quant_conv, which FLUX does not have.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import nnx

from flux_engine.configs import VAEConfig
from flux_engine.models.attention import attend

Dtypes = dict[str, jnp.dtype]


class FluxVAE(nnx.Module):
    """Autoencoder with 16 latent channels at an eighth of the picture's size (for FLUX's four levels)."""

    def __init__(
        self,
        config: VAEConfig,
        *,
        rngs: nnx.Rngs,
        dtype: jnp.dtype = jnp.float32,
        param_dtype: jnp.dtype = jnp.float32,
    ) -> None:
        dtypes = {"dtype": dtype, "param_dtype": param_dtype}
        self.config = config
        self.encoder = Encoder(config, rngs, dtypes)
        self.decoder = Decoder(config, rngs, dtypes)

    def moments(self, images: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log-variance of the latents of `images`.

        Args:
            images: float [B, H, W, 3] in [-1, 1]; H and W multiples of `config.downsampling`.

        Returns:
            Two arrays [B, h, w, latent_channels], not yet shifted and scaled.
        """
        mean, log_variance = jnp.split(self.encoder(images), 2, axis=-1)
        return mean, jnp.clip(log_variance, -30.0, 20.0)

    def encode(self, images: jax.Array) -> jax.Array:
        """Latents [B, h, w, C] as the transformer wants them: the posterior mean, shifted and scaled."""
        mean, _ = self.moments(images)
        return (mean - self.config.shift_factor) * self.config.scaling_factor

    def decode(self, latents: jax.Array) -> jax.Array:
        """Pictures [B, H, W, 3], about in [-1, 1], of latents as the transformer makes them."""
        return self.decoder(latents / self.config.scaling_factor + self.config.shift_factor)


class Encoder(nnx.Module):
    def __init__(self, config: VAEConfig, rngs: nnx.Rngs, dtypes: Dtypes) -> None:
        widths, groups = config.block_out_channels, config.norm_num_groups
        self.conv_in = _conv3x3(config.in_channels, widths[0], rngs, dtypes)
        inputs = (widths[0], *widths[:-1])
        self.down_blocks = nnx.List(
            DownBlock(width_in, width, config.layers_per_block, groups, index < len(widths) - 1, rngs, dtypes)
            for index, (width_in, width) in enumerate(zip(inputs, widths, strict=True))
        )
        self.mid_block = MidBlock(widths[-1], groups, rngs, dtypes)
        self.conv_norm_out = _group_norm(widths[-1], groups, rngs, dtypes)
        self.conv_out = _conv3x3(widths[-1], 2 * config.latent_channels, rngs, dtypes)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        x = self.mid_block(x)
        return self.conv_out(nnx.silu(self.conv_norm_out(x)))


class Decoder(nnx.Module):
    def __init__(self, config: VAEConfig, rngs: nnx.Rngs, dtypes: Dtypes) -> None:
        widths, groups = config.block_out_channels[::-1], config.norm_num_groups
        self.conv_in = _conv3x3(config.latent_channels, widths[0], rngs, dtypes)
        self.mid_block = MidBlock(widths[0], groups, rngs, dtypes)
        inputs = (widths[0], *widths[:-1])
        self.up_blocks = nnx.List(
            UpBlock(width_in, width, config.layers_per_block + 1, groups, index < len(widths) - 1, rngs, dtypes)
            for index, (width_in, width) in enumerate(zip(inputs, widths, strict=True))
        )
        self.conv_norm_out = _group_norm(widths[-1], groups, rngs, dtypes)
        self.conv_out = _conv3x3(widths[-1], config.in_channels, rngs, dtypes)

    def __call__(self, z: jax.Array) -> jax.Array:
        x = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(nnx.silu(self.conv_norm_out(x)))


class DownBlock(nnx.Module):
    def __init__(
        self, width_in: int, width: int, layers: int, groups: int, downsample: bool, rngs: nnx.Rngs, dtypes: Dtypes
    ) -> None:
        self.resnets = nnx.List(
            ResnetBlock(width if index else width_in, width, groups, rngs, dtypes) for index in range(layers)
        )
        # Zeros on the right and bottom only, as the reference pads: (0, 1, 0, 1).
        conv = partial(nnx.Conv, strides=2, padding=((0, 1), (0, 1)))
        samplers = [conv(width, width, (3, 3), rngs=rngs, **dtypes)] if downsample else []
        self.downsamplers = nnx.List(samplers)

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in (*self.resnets, *self.downsamplers):
            x = layer(x)
        return x


class UpBlock(nnx.Module):
    def __init__(
        self, width_in: int, width: int, layers: int, groups: int, upsample: bool, rngs: nnx.Rngs, dtypes: Dtypes
    ) -> None:
        self.resnets = nnx.List(
            ResnetBlock(width if index else width_in, width, groups, rngs, dtypes) for index in range(layers)
        )
        self.upsamplers = nnx.List([_conv3x3(width, width, rngs, dtypes)] if upsample else [])

    def __call__(self, x: jax.Array) -> jax.Array:
        for resnet in self.resnets:
            x = resnet(x)
        for conv in self.upsamplers:
            x = conv(_upsample_nearest(x))
        return x


class MidBlock(nnx.Module):
    def __init__(self, width: int, groups: int, rngs: nnx.Rngs, dtypes: Dtypes) -> None:
        self.resnets = nnx.List(ResnetBlock(width, width, groups, rngs, dtypes) for _ in range(2))
        self.attentions = nnx.List([AttentionBlock(width, groups, rngs, dtypes)])

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class ResnetBlock(nnx.Module):
    def __init__(self, width_in: int, width: int, groups: int, rngs: nnx.Rngs, dtypes: Dtypes) -> None:
        self.norm1 = _group_norm(width_in, groups, rngs, dtypes)
        self.conv1 = _conv3x3(width_in, width, rngs, dtypes)
        self.norm2 = _group_norm(width, groups, rngs, dtypes)
        self.conv2 = _conv3x3(width, width, rngs, dtypes)
        self.conv_shortcut = _conv1x1(width_in, width, rngs, dtypes) if width_in != width else None

    def __call__(self, x: jax.Array) -> jax.Array:
        residual = x if self.conv_shortcut is None else self.conv_shortcut(x)
        x = self.conv1(nnx.silu(self.norm1(x)))
        return residual + self.conv2(nnx.silu(self.norm2(x)))


class AttentionBlock(nnx.Module):
    """Self-attention over the whole grid with one head as wide as the channels."""

    def __init__(self, width: int, groups: int, rngs: nnx.Rngs, dtypes: Dtypes) -> None:
        self.group_norm = _group_norm(width, groups, rngs, dtypes)
        self.to_q = _conv1x1(width, width, rngs, dtypes)
        self.to_k = _conv1x1(width, width, rngs, dtypes)
        self.to_v = _conv1x1(width, width, rngs, dtypes)
        self.to_out = nnx.List([_conv1x1(width, width, rngs, dtypes)])

    def __call__(self, x: jax.Array) -> jax.Array:
        normed = self.group_norm(x)
        q, k, v = (rearrange(to(normed), "b h w c -> b (h w) 1 c") for to in (self.to_q, self.to_k, self.to_v))
        attended = attend(q, k, v)
        return x + self.to_out[0](attended.reshape(x.shape))


def _upsample_nearest(x: jax.Array) -> jax.Array:
    B, h, w, C = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None, :], (B, h, 2, w, 2, C)).reshape(B, 2 * h, 2 * w, C)


def _conv3x3(width_in: int, width: int, rngs: nnx.Rngs, dtypes: Dtypes) -> nnx.Conv:
    return nnx.Conv(width_in, width, (3, 3), padding=1, rngs=rngs, **dtypes)


def _conv1x1(width_in: int, width: int, rngs: nnx.Rngs, dtypes: Dtypes) -> nnx.Conv:
    return nnx.Conv(width_in, width, (1, 1), rngs=rngs, **dtypes)


def _group_norm(width: int, groups: int, rngs: nnx.Rngs, dtypes: Dtypes) -> nnx.GroupNorm:
    # The slow variance: E[x^2] - E[x]^2 loses digits that the reference keeps.
    return nnx.GroupNorm(width, groups, epsilon=1e-6, use_fast_variance=False, rngs=rngs, **dtypes)
