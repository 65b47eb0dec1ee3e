"""What LoRA files call the weights of these networks, and the parts of a change. Tables and names only: no array.

A tensor's name is a module's name and a part's: "lora_unet_single_blocks_3_linear1" and ".lora_down.weight". Modules
are called as diffusers, Black Forest Labs or transformers call them (`formats`), behind one of many prefixes; kohya and
LyCORIS write underscores for the dots. Those names are made from the network's own modules and compared whole, so that
no name of another model is taken for one of these.

Sources: diffusers `lora_conversion_utils.py` and `state_dict_utils.py`, kohya-ss/sd-scripts `networks/lora_flux.py`,
ComfyUI `comfy/lora.py`, LyCORIS, OneTrainer, XLabs-AI/x-flux `modules/layers.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from flux_engine.configs import Component
from flux_engine.weights.formats import FORMATS, prefix_of
from flux_engine.weights.names import LeafPath

Shapes = Mapping[LeafPath, tuple[int, ...]]


@dataclass(frozen=True)
class Target:
    """What a module's name in a LoRA stands for.

    Attributes:
        component: the network.
        module: its path as it is stored.
        inputs: of its kernel; 0 where it is a norm.
        start, stop: which of its outputs, or of its scale's numbers.
        halves_swapped: whether the file has these outputs as (scale, shift), and they are (shift, scale) here.
        has_bias, has_kernel, has_scale: which leaves it has.
    """

    component: Component
    module: LeafPath
    inputs: int
    start: int
    stop: int
    halves_swapped: bool
    has_kernel: bool
    has_bias: bool
    has_scale: bool

    @property
    def outputs(self) -> int:
        return self.stop - self.start


# The parts of a change: what follows a module's name. PEFT may write the adapter's name before `.weight`.
_PARTS = {
    "down": r"\.lora_A(?:\.\w+)?\.weight|\.lora_down\.weight|\.lora(?:_linear_layer)?\.down\.weight|\.down\.weight",
    "up": r"\.lora_B(?:\.\w+)?\.weight|\.lora_up\.weight|\.lora(?:_linear_layer)?\.up\.weight|\.up\.weight",
    "up_bias": r"\.lora_B(?:\.\w+)?\.bias",
    "alpha": r"\.alpha",
    "magnitude": r"\.dora_scale|\.lora_magnitude_vector(?:\.\w+)?(?:\.weight)?",
    **{f"lokr_w{x}": rf"\.lokr_w{x}" for x in ("1", "1_a", "1_b", "2", "2_a", "2_b")},
    **{f"hada_w{x}": rf"\.hada_w{x}" for x in ("1_a", "1_b", "2_a", "2_b")},
    "diff": r"(?:\.scale)?\.diff|\.w_norm",
    "diff_bias": r"\.diff_b|\.b_norm",
    "replacement": r"(?:\.scale)?\.set_weight|\.scale|\.weight",  # of a norm; Black Forest Labs' control LoRAs
    "reshape": r"\.reshape_weight",  # ComfyUI's note of how wide a control LoRA makes img_in
    "tucker": r"\.lora_mid\.weight|\.lokr_t[12]|\.hada_t[12]",
    "glora": r"\.[ab][12]\.weight",
}
_NAME = re.compile(rf"(?P<module>.+?)(?:{'|'.join(f'(?P<{part}>{pattern})' for part, pattern in _PARTS.items())})")

_WRAPPERS = ("", "base_model.model.")  # PEFT's may stand before the module
_DOTTED: dict[Component, tuple[str, ...]] = {
    "transformer": ("", "transformer.", "diffusion_model.", "model.diffusion_model."),
    "clip_text": ("text_encoder.", "text_encoders.clip_l.transformer."),
    "t5_text": ("text_encoder_2.", "text_encoders.t5xxl.transformer."),
}
_UNDERSCORED: dict[Component, tuple[str, ...]] = {
    "transformer": ("lora_unet_", "lora_transformer_", "lycoris_"),
    "clip_text": ("lora_te1_", "lora_te_"),
    "t5_text": ("lora_te3_", "lora_te2_"),  # kohya's, and OneTrainer's
}
_OPTIONAL = "text_model."  # transformers 5 calls CLIP's modules without it
_UNUSED_HERE = ("text_projection",)  # behind the state of CLIP that FLUX reads

# Names in LoRA files only; N is a block's number. XLabs' single blocks leave the MLP's outputs alone.
_XLABS = {
    **{
        f"double_blocks.N.attn.{stream}_{layer}": f"double_blocks.N.processor.{layer}_lora{number}"
        for stream, number in (("img", 1), ("txt", 2))
        for layer in ("qkv", "proj")
    },
    "single_blocks.N.linear1": "single_blocks.N.processor.qkv_lora",
    "single_blocks.N.linear2": "single_blocks.N.processor.proj_lora",
}
_OLD_CLIP = {f"layers.N.self_attn.{x}_proj": f"encoder.layers.N.self_attn.to_{x}_lora" for x in ("q", "k", "v", "out")}


class Names:
    """The names that LoRA files may have for the modules of these networks.

    Args:
        shapes: of every leaf that is stored, by network.
    """

    def __init__(self, shapes: Mapping[Component, Shapes]) -> None:
        self._targets: dict[str, Target] = {}
        for component in _DOTTED:
            if component in shapes:
                self._add(component, shapes[component])

    def target(self, module: str) -> Target | None:
        """What a module's name stands for; None if these networks have no such module."""
        return self._targets.get(module)

    def _add(self, component: Component, shapes: Shapes) -> None:
        for module in {path[:-1]: None for path in shapes}:
            for name, target in _names_of(component, module, shapes):
                forms = (name, f"{_OPTIONAL}{name}") if component == "clip_text" else (name,)
                for form in forms:
                    for prefix in _DOTTED[component]:
                        for wrapper in _WRAPPERS:
                            self._targets.setdefault(f"{prefix}{wrapper}{form}", target)
                    for prefix in _UNDERSCORED[component]:
                        self._targets.setdefault(prefix + form.replace(".", "_"), target)


def split(name: str) -> tuple[str, str] | None:
    """A tensor's name as a module's and a part's, of the keys of the table above; None if it ends otherwise."""
    found = _NAME.fullmatch(name)
    return (found["module"], str(found.lastgroup)) if found else None


def plain_module(module: str) -> str:
    """A module's name without the network before it, as PEFT's settings call it."""
    for prefixes in _DOTTED.values():
        for prefix in sorted(prefixes, key=len, reverse=True):
            if prefix and module.startswith(prefix):
                return module.removeprefix(prefix).removeprefix(_WRAPPERS[1])
    return module.removeprefix(_WRAPPERS[1])


def is_unused_here(module: str) -> bool:
    """Whether it is a module of CLIP that FLUX does not run."""
    return module.endswith(_UNUSED_HERE) and module.startswith((*_DOTTED["clip_text"], *_UNDERSCORED["clip_text"]))


def _names_of(component: Component, module: LeafPath, shapes: Shapes) -> Iterable[tuple[str, Target]]:
    numbers = [part for part in module if part.isdecimal()]
    ours = ".".join("N" if part.isdecimal() else part for part in module)

    def named(theirs: str) -> str:
        return ".".join(numbers[0] if part == "N" and numbers else part for part in theirs.split("."))

    for form in FORMATS:
        if form.component == component:
            modules = form.modules.get(ours, ())
            for part, theirs in enumerate(modules):
                swapped = theirs in form.halves_swapped
                yield named(theirs), _target(component, module, shapes, part, len(modules), swapped)
    if component == "transformer" and ours in _XLABS:
        target = _target(component, module, shapes)
        if ours == "single_blocks.N.linear1":
            target = _target(component, module, shapes, 0, 1, stop=3 * target.inputs)
        yield named(_XLABS[ours]), target
    if component == "clip_text" and ours in _OLD_CLIP:
        yield named(_OLD_CLIP[ours]), _target(component, module, shapes)


def _target(
    component: Component,
    module: LeafPath,
    shapes: Shapes,
    part: int = 0,
    parts: int = 1,
    halves_swapped: bool = False,
    stop: int | None = None,
) -> Target:
    """Part `part` of a module: q, k and v are as wide as its inputs; what is left is the last part's."""
    kernel = shapes.get((*module, "kernel"), ())
    scale = shapes.get((*module, "scale"), ())
    inputs, outputs = kernel if len(kernel) == 2 else (0, scale[0] if len(scale) == 1 else 0)
    return Target(
        component=component,
        module=module,
        inputs=inputs,
        start=part * inputs,
        stop=stop or (outputs if part == parts - 1 else (part + 1) * inputs),
        halves_swapped=halves_swapped,
        has_kernel=len(kernel) == 2,
        has_bias=(*module, "bias") in shapes,
        has_scale=len(scale) == 1,
    )


WHOLE = "a whole model"

# What other models' LoRAs are called: a pattern that one of their names has, and the model. First come, first served.
_OTHERS = (
    (r"(down|up|input|output)_blocks?_|mid_block|middle_block|\bunet\.", "Stable Diffusion 1.5 or XL"),
    (r"double_stream_modulation|to_qkv_mlp_proj|single_stream_modulation", "FLUX.2"),
    (r"distilled_guidance_layer", "Chroma"),
    (r"img_attn_qkv|img_mlp[._]fc[12]|individual_token_refiner", "HunyuanVideo"),
    (r"joint_blocks|(?<!_)transformer_blocks[._]\d+[._]attn2", "Stable Diffusion 3"),
    (r"transformer_blocks[._]\d+[._](img|txt)_(mlp|mod)", "Qwen-Image"),
    (r"(^|[._])blocks[._]\d+[._](self_attn|cross_attn|ffn)", "Wan"),
    (r"(^|[._])layers[._]\d+[._](attention|self_attn|mlp)", "Z-Image or a language model"),
)


def other_model(names: Iterable[str], unknown: Iterable[str]) -> str:
    """What a file seems to be that has these names, `unknown` of which mean nothing here; "" if no one knows."""
    names, unknown = set(names), list(unknown)
    if any(prefix_of(form, names) is not None for form in FORMATS):
        return WHOLE
    for pattern, model in _OTHERS:
        if any(re.search(pattern, name) for name in unknown):
            return model
    return ""
