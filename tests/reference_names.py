"""The same weights under the names, and in the axis order, of diffusers and transformers. For tests.

Stored paths (`flux_engine.weights.names`) on the left, the reference's modules on the right; N is a block's number.
Several modules on the right lie side by side along the output axis of the one on the left.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from flux_engine.weights.names import is_stacked, stored_path

_DOUBLE, _SINGLE = "transformer_blocks.N", "single_transformer_blocks.N"

MODULES: dict[str, dict[str, tuple[str, ...]]] = {
    "transformer": {
        "img_in": ("x_embedder",),
        "txt_in": ("context_embedder",),
        "time_in.in_layer": ("time_text_embed.timestep_embedder.linear_1",),
        "time_in.out_layer": ("time_text_embed.timestep_embedder.linear_2",),
        "guidance_in.in_layer": ("time_text_embed.guidance_embedder.linear_1",),
        "guidance_in.out_layer": ("time_text_embed.guidance_embedder.linear_2",),
        "vector_in.in_layer": ("time_text_embed.text_embedder.linear_1",),
        "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
        "double_blocks.N.img_mod": (f"{_DOUBLE}.norm1.linear",),
        "double_blocks.N.txt_mod": (f"{_DOUBLE}.norm1_context.linear",),
        "double_blocks.N.attn.img_qkv": tuple(f"{_DOUBLE}.attn.to_{x}" for x in "qkv"),
        "double_blocks.N.attn.txt_qkv": tuple(f"{_DOUBLE}.attn.add_{x}_proj" for x in "qkv"),
        "double_blocks.N.attn.img_query_norm": (f"{_DOUBLE}.attn.norm_q",),
        "double_blocks.N.attn.img_key_norm": (f"{_DOUBLE}.attn.norm_k",),
        "double_blocks.N.attn.txt_query_norm": (f"{_DOUBLE}.attn.norm_added_q",),
        "double_blocks.N.attn.txt_key_norm": (f"{_DOUBLE}.attn.norm_added_k",),
        "double_blocks.N.attn.img_proj": (f"{_DOUBLE}.attn.to_out.0",),
        "double_blocks.N.attn.txt_proj": (f"{_DOUBLE}.attn.to_add_out",),
        "double_blocks.N.img_mlp.fc1": (f"{_DOUBLE}.ff.net.0.proj",),
        "double_blocks.N.img_mlp.fc2": (f"{_DOUBLE}.ff.net.2",),
        "double_blocks.N.txt_mlp.fc1": (f"{_DOUBLE}.ff_context.net.0.proj",),
        "double_blocks.N.txt_mlp.fc2": (f"{_DOUBLE}.ff_context.net.2",),
        "single_blocks.N.modulation": (f"{_SINGLE}.norm.linear",),
        "single_blocks.N.linear1": (*(f"{_SINGLE}.attn.to_{x}" for x in "qkv"), f"{_SINGLE}.proj_mlp"),
        "single_blocks.N.linear2": (f"{_SINGLE}.proj_out",),
        "single_blocks.N.query_norm": (f"{_SINGLE}.attn.norm_q",),
        "single_blocks.N.key_norm": (f"{_SINGLE}.attn.norm_k",),
        "final_layer.adaLN_modulation": ("norm_out.linear",),
        "final_layer.linear": ("proj_out",),
    },
    "vae": {
        "encoder.down_blocks.N.downsamplers.0": ("encoder.down_blocks.N.downsamplers.0.conv",),
        "decoder.up_blocks.N.upsamplers.0": ("decoder.up_blocks.N.upsamplers.0.conv",),
    },
    "clip_text": {
        "token_embedding": ("embeddings.token_embedding",),
        "position_embedding": ("embeddings.position_embedding",),
        **{f"layers.N.self_attn.{x}_proj": (f"encoder.layers.N.self_attn.{x}_proj",) for x in ("q", "k", "v", "out")},
        "layers.N.ln1": ("encoder.layers.N.layer_norm1",),
        "layers.N.ln2": ("encoder.layers.N.layer_norm2",),
        "layers.N.mlp.fc1": ("encoder.layers.N.mlp.fc1",),
        "layers.N.mlp.fc2": ("encoder.layers.N.mlp.fc2",),
    },
    "t5_text": {
        "embed_tokens": ("shared",),
        **{f"blocks.N.self_attn.{x}": (f"encoder.block.N.layer.0.SelfAttention.{x}",) for x in "qkvo"},
        "blocks.N.self_attn.relative_attention_bias": (
            "encoder.block.N.layer.0.SelfAttention.relative_attention_bias",
        ),
        "blocks.N.self_attn_layer_norm": ("encoder.block.N.layer.0.layer_norm",),
        **{
            f"blocks.N.feed_forward.DenseReluDense.{x}": (f"encoder.block.N.layer.1.DenseReluDense.{x}",)
            for x in ("wi_0", "wi_1", "wo")
        },
        "blocks.N.ff_layer_norm": ("encoder.block.N.layer.1.layer_norm",),
        "final_layer_norm": ("encoder.final_layer_norm",),
    },
}

# Widths of those that lie side by side, in units of the model's width.
_WIDTHS = {1: (1,), 3: (1, 1, 1), 4: (1, 1, 1, 4)}
_PARAMETERS = {"kernel": "weight", "embedding": "weight", "scale": "weight", "bias": "bias"}


def to_reference(component: str, leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The reference's state dict for a network's own leaves, by dotted path; numpy, jax or abstract under a trace."""
    state = {}
    for own_path, leaf in leaves.items():
        path = tuple(own_path.split("."))
        if is_stacked(component, path):
            for block in range(leaf.shape[0]):
                state |= _rename(component, stored_path(component, path, block), leaf[block])
        else:
            state |= _rename(component, stored_path(component, path), leaf)
    return state


def compact_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, list[int]]:
    """{"blocks.0.x": (2, 3), "blocks.1.x": (2, 3), "y": (4,)} -> {"blocks.*.x": [2, 2, 3], "y": [1, 4]}.

    The first number of a name is a star where all that differ in it only have one shape; how many they are comes first.
    """
    groups: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in sorted(shapes.items()):
        groups.setdefault(re.sub(r"\.\d+\.", ".*.", name, count=1), {})[name] = tuple(shape)
    compact = {}
    for pattern, members in groups.items():
        if len(set(members.values())) == 1:
            compact[pattern] = [len(members), *next(iter(members.values()))]
        else:
            compact |= {name: [1, *shape] for name, shape in members.items()}
    return compact


def _rename(component: str, stored: tuple[str, ...], leaf: Any) -> dict[str, Any]:
    *module, kind = stored
    name = ".".join(module)
    number = re.search(r"\d+", name)
    pattern = name.replace(number[0], "N", 1) if number else name
    targets = MODULES[component].get(pattern, (pattern,))  # what is in no table is called the same
    if name == "final_layer.adaLN_modulation":  # shift, scale here; scale, shift in diffusers
        leaf = leaf[..., np.roll(np.arange(leaf.shape[-1]), leaf.shape[-1] // 2)]
    return {
        f"{target.replace('N', number[0]) if number else target}.{_PARAMETERS[kind]}": _torch_axes(name, kind, part)
        for target, part in zip(targets, _side_by_side(leaf, _WIDTHS[len(targets)]), strict=True)
    }


def _side_by_side(leaf: Any, widths: tuple[int, ...]) -> list[Any]:
    unit = leaf.shape[-1] // sum(widths)
    ends = np.cumsum(widths) * unit
    return [leaf[..., end - width * unit : end] for end, width in zip(ends, widths, strict=True)]


def _torch_axes(name: str, kind: str, leaf: Any) -> Any:
    """Linear [in, out] -> [out, in]; convolution HWIO -> OIHW; in the VAE's attention it is a linear layer there."""
    if kind != "kernel":
        return leaf
    if leaf.ndim == 2 or "attentions" in name:
        return leaf.reshape(leaf.shape[-2:]).T
    return leaf.transpose(3, 2, 0, 1)
