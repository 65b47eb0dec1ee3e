"""The reference's own networks, with the weights of `tests.tiny`. Needs torch, diffusers and transformers."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from transformers import CLIPTextConfig as TorchCLIPConfig
from transformers import CLIPTextModel, T5EncoderModel
from transformers import T5Config as TorchT5Config

from flux_engine.configs import CLIPTextConfig, NetworkConfig, T5Config, TransformerConfig, VAEConfig
from tests.reference_names import to_reference
from tests.tiny import CLIPCase, T5Case, TransformerCase, VAECase, tiny_leaves


def reference_network(config: NetworkConfig) -> torch.nn.Module:
    """The reference's module of these sizes, on torch's default device, with weights of its own choice."""
    return _BUILD[type(config)](config).eval()


def reference_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of its state dict, without allocating it."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in reference_network(config).state_dict().items()}


def tiny_reference(config: NetworkConfig) -> torch.nn.Module:
    """The reference's module with the weights of `tests.tiny`; every name must fit."""
    network = reference_network(config)
    state = {
        name: torch.from_numpy(np.ascontiguousarray(array))
        for name, array in to_reference(config.component, tiny_leaves(config)).items()
    }
    if isinstance(config, T5Config):
        state["encoder.embed_tokens.weight"] = state["shared.weight"]
    network.load_state_dict(state, strict=True)
    return network


def run_transformer(case: TransformerCase, name: str) -> dict[str, np.ndarray]:
    x = {key: torch.from_numpy(array) for key, array in case.inputs(name).items()}
    with torch.no_grad():
        (velocity,) = tiny_reference(case.config)(
            hidden_states=x["img"],
            encoder_hidden_states=x["txt"],
            pooled_projections=x["pooled"],
            timestep=x["timesteps"],
            img_ids=x["img_ids"],
            txt_ids=x["txt_ids"],
            guidance=x["guidance"] if case.config.guidance_embeds else None,
            return_dict=False,
        )
    return {"velocity": velocity.numpy()}


def run_vae(case: VAECase, name: str) -> dict[str, np.ndarray]:
    """`moments` and `encode` of images, `decode` of latents, channels last."""
    config, vae = case.config, tiny_reference(case.config)
    with torch.no_grad():
        posterior = vae.encode(_channels_first(case.images(name))).latent_dist
        latents = (posterior.mode() - config.shift_factor) * config.scaling_factor
        pixels = vae.decode(_channels_first(case.latents(name)) / config.scaling_factor + config.shift_factor).sample
    outputs = {"log_variance": posterior.logvar, "encode": latents, "decode": pixels}
    return {key: tensor.permute(0, 2, 3, 1).contiguous().numpy() for key, tensor in outputs.items()}


def run_clip(case: CLIPCase, name: str) -> dict[str, np.ndarray]:
    with torch.no_grad():
        output = tiny_reference(case.config)(torch.from_numpy(case.ids(name)).long())
    return {"pooled": output.pooler_output.numpy()}


def run_t5(case: T5Case, name: str) -> dict[str, np.ndarray]:
    with torch.no_grad():
        (hidden,) = tiny_reference(case.config)(torch.from_numpy(case.ids(name)).long(), return_dict=False)
    return {"hidden": hidden.numpy()}


def _channels_first(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).permute(0, 3, 1, 2)


def _transformer(config: TransformerConfig) -> torch.nn.Module:
    return FluxTransformer2DModel(
        in_channels=config.in_channels,
        num_layers=config.num_double_layers,
        num_single_layers=config.num_single_layers,
        attention_head_dim=config.head_dim,
        num_attention_heads=config.num_heads,
        joint_attention_dim=config.joint_attention_dim,
        pooled_projection_dim=config.pooled_projection_dim,
        guidance_embeds=config.guidance_embeds,
        axes_dims_rope=config.axes_dims_rope,
    )


def _vae(config: VAEConfig) -> torch.nn.Module:
    levels = len(config.block_out_channels)
    return AutoencoderKL(
        in_channels=config.in_channels,
        out_channels=config.in_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_num_groups,
        scaling_factor=config.scaling_factor,
        shift_factor=config.shift_factor,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _clip(config: CLIPTextConfig) -> torch.nn.Module:
    return CLIPTextModel(
        TorchCLIPConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            max_position_embeddings=config.max_position_embeddings,
            layer_norm_eps=config.layer_norm_eps,
            eos_token_id=config.eos_token_id,
            bos_token_id=0,
            pad_token_id=1,
        )
    )


def _t5(config: T5Config) -> torch.nn.Module:
    return T5EncoderModel(
        TorchT5Config(
            vocab_size=config.vocab_size,
            d_model=config.d_model,
            d_ff=config.d_ff,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            d_kv=config.d_kv,
            layer_norm_epsilon=config.layer_norm_epsilon,
            relative_attention_num_buckets=config.relative_attention_num_buckets,
            relative_attention_max_distance=config.relative_attention_max_distance,
            feed_forward_proj="gated-gelu",
        )
    )


_BUILD = {TransformerConfig: _transformer, VAEConfig: _vae, CLIPTextConfig: _clip, T5Config: _t5}
