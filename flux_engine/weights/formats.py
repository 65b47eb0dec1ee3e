"""What other programs call the weights of these networks. Tables and tuples only: no file, no array.

A format is a table from modules here to theirs; N and M stand for a block's numbers, R for one that they count from
the other end. Several modules of theirs lie side by side along the output axis of the one here.

Names and orders: diffusers `transformer_flux.py` and `autoencoder_kl.py`; black-forest-labs/flux `model.py` and
`autoencoder.py`; transformers `modeling_clip.py` and `modeling_t5.py`; ComfyUI for the prefixes of files of its own;
llama.cpp's `gguf-py/gguf/constants.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from flux_engine.configs import Component
from flux_engine.weights.names import LeafPath

NUMBERS = frozenset("NMR")
EMBEDDINGS = frozenset({"token_embedding", "position_embedding", "embed_tokens", "relative_attention_bias"})
PARAMETERS = frozenset({"weight", "bias", "scale"})


@dataclass(frozen=True, kw_only=True)
class Format:
    """One program's names for one network.

    Attributes:
        title: whose it is, for people.
        component: which network.
        mark: a tensor that no other format and no other network has.
        modules: here -> theirs.
        same_names: whether a module that is in no table is called the same.
        prefixes: what may stand before every name.
        carried: the end of names of tensors that say nothing, or nothing new, and that files of this format may hold.
        aliases: modules of theirs -> what they are also called, where files have either or both with the same numbers.
        halves_swapped: modules of theirs whose output comes as (scale, shift), and here as (shift, scale).
    """

    title: str
    component: Component
    mark: str
    modules: Mapping[str, tuple[str, ...]]
    same_names: bool = False
    prefixes: tuple[str, ...] = ("",)
    carried: tuple[str, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    halves_swapped: frozenset[str] = field(default=frozenset())


@dataclass(frozen=True)
class Place:
    """Where one of their tensors belongs: part `part` of `parts` of a leaf of the module `module`."""

    module: LeafPath
    parameter: str = ""
    part: int = 0
    parts: int = 1
    halves_swapped: bool = False

    def path(self, ndim: int) -> LeafPath:
        """The leaf's path, for a tensor with so many axes."""
        if self.parameter != "weight":
            return (*self.module, self.parameter)
        if self.module[-1] in EMBEDDINGS:
            return (*self.module, "embedding")
        return (*self.module, "scale" if ndim == 1 else "kernel")


_DOUBLE, _SINGLE = "transformer_blocks.N", "single_transformer_blocks.N"
_BFL_STREAMS = {
    f"double_blocks.N.{ours}": (f"double_blocks.N.{theirs}",)
    for stream in ("img", "txt")
    for ours, theirs in (
        (f"{stream}_mod", f"{stream}_mod.lin"),
        (f"attn.{stream}_qkv", f"{stream}_attn.qkv"),
        (f"attn.{stream}_query_norm", f"{stream}_attn.norm.query_norm"),
        (f"attn.{stream}_key_norm", f"{stream}_attn.norm.key_norm"),
        (f"attn.{stream}_proj", f"{stream}_attn.proj"),
        (f"{stream}_mlp.fc1", f"{stream}_mlp.0"),
        (f"{stream}_mlp.fc2", f"{stream}_mlp.2"),
    )
}


def _bfl_resnet(ours: str, theirs: str) -> dict[str, tuple[str, ...]]:
    parts = {"norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2", "conv_shortcut": "nin_shortcut"}
    return {f"{ours}.{part}": (f"{theirs}.{their_part}",) for part, their_part in parts.items()}


def _bfl_vae() -> dict[str, tuple[str, ...]]:
    modules = {
        **_bfl_resnet("encoder.down_blocks.N.resnets.M", "encoder.down.N.block.M"),
        **_bfl_resnet("decoder.up_blocks.R.resnets.M", "decoder.up.R.block.M"),
        "encoder.down_blocks.N.downsamplers.0": ("encoder.down.N.downsample.conv",),
        "decoder.up_blocks.R.upsamplers.0": ("decoder.up.R.upsample.conv",),
    }
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
    for side in ("encoder", "decoder"):
        modules |= {f"{side}.{name}": (f"{side}.{name}",) for name in ("conv_in", "conv_out")}
        modules[f"{side}.conv_norm_out"] = (f"{side}.norm_out",)
        for ours, theirs in ((0, 1), (1, 2)):
            modules |= _bfl_resnet(f"{side}.mid_block.resnets.{ours}", f"{side}.mid.block_{theirs}")
        for name, their_name in attention.items():
            modules[f"{side}.mid_block.attentions.0.{name}"] = (f"{side}.mid.attn_1.{their_name}",)
    return modules


FORMATS: tuple[Format, ...] = (
    Format(
        title="diffusers",
        component="transformer",
        mark="transformer_blocks.0.attn.to_q.weight",
        modules={
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
        halves_swapped=frozenset({"norm_out.linear"}),
    ),
    Format(
        title="Black Forest Labs",
        component="transformer",
        mark="double_blocks.0.img_attn.qkv.weight",
        modules={
            **{
                name: (name,)
                for name in (
                    "img_in",
                    "txt_in",
                    *(f"{x}_in.{layer}" for x in ("time", "guidance", "vector") for layer in ("in_layer", "out_layer")),
                    "single_blocks.N.linear1",
                    "single_blocks.N.linear2",
                    "final_layer.linear",
                )
            },
            **_BFL_STREAMS,
            "single_blocks.N.modulation": ("single_blocks.N.modulation.lin",),
            "single_blocks.N.query_norm": ("single_blocks.N.norm.query_norm",),
            "single_blocks.N.key_norm": ("single_blocks.N.norm.key_norm",),
            "final_layer.adaLN_modulation": ("final_layer.adaLN_modulation.1",),
        },
        prefixes=("", "model.diffusion_model.", "diffusion_model."),
    ),
    Format(
        title="diffusers",
        component="vae",
        mark="decoder.up_blocks.0.resnets.0.conv1.weight",
        modules={
            "encoder.down_blocks.N.downsamplers.0": ("encoder.down_blocks.N.downsamplers.0.conv",),
            "decoder.up_blocks.N.upsamplers.0": ("decoder.up_blocks.N.upsamplers.0.conv",),
        },
        same_names=True,
    ),
    Format(
        title="Black Forest Labs",
        component="vae",
        mark="decoder.up.0.block.0.conv1.weight",
        modules=_bfl_vae(),
        prefixes=("", "vae.", "first_stage_model."),
    ),
    Format(
        title="transformers",
        component="clip_text",
        mark="encoder.layers.0.self_attn.q_proj.weight",
        modules={
            "token_embedding": ("embeddings.token_embedding",),
            "position_embedding": ("embeddings.position_embedding",),
            **{
                f"layers.N.self_attn.{x}_proj": (f"encoder.layers.N.self_attn.{x}_proj",)
                for x in ("q", "k", "v", "out")
            },
            "layers.N.ln1": ("encoder.layers.N.layer_norm1",),
            "layers.N.ln2": ("encoder.layers.N.layer_norm2",),
            "layers.N.mlp.fc1": ("encoder.layers.N.mlp.fc1",),
            "layers.N.mlp.fc2": ("encoder.layers.N.mlp.fc2",),
            "final_layer_norm": ("final_layer_norm",),
        },
        prefixes=("", "text_model.", "text_encoders.clip_l.transformer.text_model."),
        carried=("embeddings.position_ids", "text_projection.weight", "logit_scale"),
    ),
    Format(
        title="transformers",
        component="t5_text",
        mark="encoder.block.0.layer.0.SelfAttention.q.weight",
        modules={
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
        prefixes=("", "text_encoders.t5xxl.transformer."),
        aliases={"shared": "encoder.embed_tokens"},
    ),
    Format(
        title="llama.cpp",
        component="t5_text",
        mark="enc.blk.0.attn_q.weight",
        modules={
            "embed_tokens": ("token_embd",),
            **{f"blocks.N.self_attn.{x}": (f"enc.blk.N.attn_{x}",) for x in "qkvo"},
            "blocks.N.self_attn.relative_attention_bias": ("enc.blk.N.attn_rel_b",),
            "blocks.N.self_attn_layer_norm": ("enc.blk.N.attn_norm",),
            "blocks.N.feed_forward.DenseReluDense.wi_0": ("enc.blk.N.ffn_gate",),
            "blocks.N.feed_forward.DenseReluDense.wi_1": ("enc.blk.N.ffn_up",),
            "blocks.N.feed_forward.DenseReluDense.wo": ("enc.blk.N.ffn_down",),
            "blocks.N.ff_layer_norm": ("enc.blk.N.ffn_norm",),
            "final_layer_norm": ("enc.output_norm",),
        },
    ),
)


def prefix_of(form: Format, names: Iterable[str]) -> str | None:
    """What stands before the names of this format among those of a file; None when the format is not there."""
    present = set(names)
    return next((prefix for prefix in form.prefixes if prefix + form.mark in present), None)


def is_carried(form: Format, name: str) -> bool:
    """Whether a tensor of that name is known to say nothing."""
    return any(name == end or name.endswith(f".{end}") for end in form.carried)


def places(form: Format, names: Iterable[str]) -> Iterator[tuple[str, Place | None]]:
    """Each of their names, without its prefix, with the place that it has here; None for a name that has none."""
    names = list(names)
    patterns = [
        (re.compile(_pattern(their_module)), Place(tuple(ours.split(".")), part=part, parts=len(theirs)), their_module)
        for ours, theirs in form.modules.items()
        for part, their_module in enumerate(theirs)
    ]
    levels = 1 + max((int(level) for name in names for level in re.findall(r"^decoder\.up\.(\d+)\.", name)), default=0)
    for name in names:
        yield name, _place(form, patterns, name, levels)


def _place(form: Format, patterns: list[tuple[re.Pattern[str], Place, str]], name: str, levels: int) -> Place | None:
    module, _, parameter = name.rpartition(".")
    if parameter not in PARAMETERS:
        return None
    for pattern, place, their_module in patterns:
        if found := pattern.fullmatch(module):
            numbers = found.groupdict()
            if "R" in numbers:
                numbers["R"] = str(levels - 1 - int(numbers["R"]))
            ours = tuple(numbers.get(key, key) for key in place.module)
            return replace(place, module=ours, parameter=parameter, halves_swapped=their_module in form.halves_swapped)
    return Place(tuple(module.split(".")), parameter) if form.same_names else None


def _pattern(module: str) -> str:
    return r"\.".join(f"(?P<{key}>[0-9]+)" if key in NUMBERS else re.escape(key) for key in module.split("."))
