"""Checkpoints as jcopo/diffuse writes them load: its tree is built here by hand, leaf by leaf, from its layout.

Its configs lack `axes_dims_rope` (FLUX's needs heads of 128, hence the width of 256), `scaling_factor` and
`shift_factor`; its transformer has norm scales that FLUX has not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from flux_engine.errors import WeightsMismatch
from flux_engine.weights.checkpoint import load_component
from flux_engine.weights.placing import on_device

D, HEAD, MLP, CHANNELS, JOINT, POOLED = 256, 128, 512, 8, 12, 10
WIDTHS = (8, 16)

TRANSFORMER_CONFIG = {
    "in_channels": CHANNELS,
    "hidden_dim": D,
    "num_heads": 2,
    "num_double_layers": 1,
    "num_single_layers": 2,
    "joint_attention_dim": JOINT,
    "pooled_projection_dim": POOLED,
    "mlp_ratio": 2.0,
    "guidance_embeds": True,
    "param_dtype": "bfloat16",
    "dtype": "bfloat16",
}
VAE_CONFIG = {
    "in_channels": 3,
    "latent_channels": 4,
    "param_dtype": "float32",
    "block_out_channels": list(WIDTHS),
    "layers_per_block": 1,
    "norm_num_groups": 4,
}

_numbers = np.random.default_rng(0)


def leaf(*shape: int) -> dict[str, jax.Array]:
    return {"value": jnp.asarray(_numbers.normal(size=shape), jnp.bfloat16)}


def linear(dim_in: int, dim_out: int) -> dict[str, Any]:
    return {"kernel": leaf(dim_in, dim_out), "bias": leaf(dim_out)}


def scale(dim: int) -> dict[str, Any]:
    return {"scale": leaf(dim)}


def embedder(dim_in: int) -> dict[str, Any]:
    return {"in_layer": linear(dim_in, D), "out_layer": linear(D, D)}


def mlp() -> dict[str, Any]:
    return {"fc1": linear(D, MLP), "fc2": linear(MLP, D)}


def double_block() -> dict[str, Any]:
    extra = {f"{stream}_norm{number}": scale(D) for stream in ("img", "txt") for number in (1, 2)}
    norms = {f"{stream}_{what}_norm": scale(HEAD) for stream in ("img", "txt") for what in ("query", "key")}
    projections = {"img_qkv": linear(D, 3 * D), "txt_qkv": linear(D, 3 * D)}
    projections |= {"img_proj": linear(D, D), "txt_proj": linear(D, D)}
    modulation = {"img_mod": linear(D, 6 * D), "txt_mod": linear(D, 6 * D)}
    return extra | modulation | {"attn": projections | norms, "img_mlp": mlp(), "txt_mlp": mlp()}


def single_block() -> dict[str, Any]:
    return {
        "norm": scale(D),
        "linear1": linear(D, 3 * D + MLP),
        "linear2": linear(D + MLP, D),
        "modulation": linear(D, 3 * D),
        "query_norm": scale(HEAD),
        "key_norm": scale(HEAD),
    }


def transformer_tree() -> dict[str, Any]:
    return {
        "img_in": linear(CHANNELS, D),
        "txt_in": linear(JOINT, D),
        "time_in": embedder(256),
        "guidance_in": embedder(256),
        "vector_in": embedder(POOLED),
        "double_blocks": {"0": double_block()},
        "single_blocks": {"0": single_block(), "1": single_block()},
        "final_layer": {"norm": scale(D), "adaLN_modulation": linear(D, 2 * D), "linear": linear(D, CHANNELS)},
    }


def conv(size: int, width_in: int, width: int) -> dict[str, Any]:
    return {"kernel": leaf(size, size, width_in, width), "bias": leaf(width)}


def norm(width: int) -> dict[str, Any]:
    return scale(width) | {"bias": leaf(width)}


def resnet(width_in: int, width: int) -> dict[str, Any]:
    block = {"norm1": norm(width_in), "conv1": conv(3, width_in, width), "norm2": norm(width)}
    block["conv2"] = conv(3, width, width)
    return block | ({"conv_shortcut": conv(1, width_in, width)} if width_in != width else {})


def mid_block(width: int) -> dict[str, Any]:
    attention: dict[str, Any] = {"group_norm": norm(width), "to_out": {"0": conv(1, width, width)}}
    attention |= {name: conv(1, width, width) for name in ("to_q", "to_k", "to_v")}
    return {"resnets": {"0": resnet(width, width), "1": resnet(width, width)}, "attentions": {"0": attention}}


def vae_tree() -> dict[str, Any]:
    low, high = WIDTHS
    encoder = {
        "conv_in": conv(3, 3, low),
        "down_blocks": {
            "0": {"resnets": {"0": resnet(low, low)}, "downsamplers": {"0": conv(3, low, low)}},
            "1": {"resnets": {"0": resnet(low, high)}},
        },
        "mid_block": mid_block(high),
        "conv_norm_out": norm(high),
        "conv_out": conv(3, high, 8),
    }
    decoder = {
        "conv_in": conv(3, 4, high),
        "mid_block": mid_block(high),
        "up_blocks": {
            "0": {
                "resnets": {"0": resnet(high, high), "1": resnet(high, high)},
                "upsamplers": {"0": conv(3, high, high)},
            },
            "1": {"resnets": {"0": resnet(high, low), "1": resnet(low, low)}},
        },
        "conv_norm_out": norm(low),
        "conv_out": conv(3, low, 3),
    }
    return {"encoder": encoder, "decoder": decoder}


def write(folder: Path, tree: Mapping[str, Any], config: Mapping[str, Any]) -> Path:
    folder.mkdir()
    ocp.PyTreeCheckpointer().save(folder / "state", item=tree)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    return folder


def test_its_transformer_loads_but_for_the_extra_scales(tmp_path: Path) -> None:
    tree = transformer_tree()
    folder = write(tmp_path / "transformer", tree, TRANSFORMER_CONFIG)

    with pytest.warns(UserWarning, match="ignored 7 norm scales") as caught:
        loaded = load_component(folder, "transformer", placement=on_device(jax.devices()[0]), dtype=jnp.float32)

    assert len(caught) == 1
    assert loaded.config.axes_dims_rope == (16, 56, 56)
    attention = tree["double_blocks"]["0"]["attn"]
    for got, stored in [
        (loaded.img_in.kernel[...], tree["img_in"]["kernel"]),
        (loaded.double_blocks.attn.txt_qkv.kernel[...][0], attention["txt_qkv"]["kernel"]),
        (loaded.double_blocks.attn.img_key_norm.scale[...][0], attention["img_key_norm"]["scale"]),
        (loaded.single_blocks.linear2.bias[...][1], tree["single_blocks"]["1"]["linear2"]["bias"]),
        (loaded.final_layer.adaLN_modulation.kernel[...], tree["final_layer"]["adaLN_modulation"]["kernel"]),
    ]:
        assert got.dtype == jnp.bfloat16
        np.testing.assert_array_equal(got, stored["value"])


def test_its_vae_loads_with_the_factors_of_flux(tmp_path: Path) -> None:
    tree = vae_tree()
    folder = write(tmp_path / "vae", tree, VAE_CONFIG)

    loaded = load_component(
        folder, "vae", placement=on_device(jax.devices()[0]), dtype=jnp.float32, param_dtype=jnp.float32
    )

    assert (loaded.config.scaling_factor, loaded.config.shift_factor) == (0.3611, 0.1159)
    shortcut = tree["decoder"]["up_blocks"]["1"]["resnets"]["0"]["conv_shortcut"]["kernel"]["value"]
    np.testing.assert_array_equal(
        loaded.decoder.up_blocks[1].resnets[0].conv_shortcut.kernel[...], shortcut.astype(jnp.float32)
    )


def test_an_extra_scale_that_it_never_writes_is_unused(tmp_path: Path) -> None:
    tree = transformer_tree()
    tree["img_in"]["norm"] = scale(D)
    folder = write(tmp_path / "transformer", tree, TRANSFORMER_CONFIG)
    with pytest.raises(WeightsMismatch, match=r"config: 1 unused: img_in\.norm\.scale\.$"):
        load_component(folder, "transformer", placement=on_device(jax.devices()[0]), dtype=jnp.float32)
