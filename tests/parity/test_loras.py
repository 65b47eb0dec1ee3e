"""LoRA files against diffusers: weights after its own loading and fusing are the weights that ours make."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from peft import LoHaConfig, LoKrConfig, LoraConfig
from peft.utils import get_peft_model_state_dict

from flux_engine import FluxModelLoader
from flux_engine.request import LoraUse
from flux_engine.weights.checkpoint import stored_shapes
from flux_engine.weights.lora_files import open_lora
from flux_engine.weights.names import LeafPath
from tests import lora_files
from tests.foreign_files import bfl_tensors
from tests.lora_files import RANK, Tensors, apply, dotted, matrices, numbers, underscored, write_lora
from tests.reference_names import MODULES, to_reference
from tests.reference_pipeline import reference_picture, reference_pipeline
from tests.tiny import tiny_leaves
from tests.tiny_checkpoint import CLIP, PICTURES, TRANSFORMER, greatest_difference, paint, write_tiny_checkpoint

CONFIGS = {"transformer": TRANSFORMER, "clip_text": CLIP}
WIDTH, MLP = 3072, 12288  # which diffusers' converters take for granted
DIFFUSERS = matrices(to_reference("transformer", tiny_leaves(TRANSFORMER)))
BFL = matrices(bfl_tensors(TRANSFORMER))
CLIP_LAYERS = matrices(to_reference("clip_text", tiny_leaves(CLIP)))


def low_rank(*arguments: Any) -> Tensors:
    return lora_files.low_rank(*arguments)[0]


def kohya_layers() -> dict[str, tuple[int, int]]:
    """Those that its converter does not lose (the top level) and that it does not split at 3072 (linear1)."""
    return {name: shape for name, shape in BFL.items() if "_blocks." in name and "linear1" not in name}


def xlabs() -> Tensors:
    layers = {
        "double_blocks.0.processor.qkv_lora1": (96, 32),
        "double_blocks.0.processor.proj_lora1": (32, 32),
        "double_blocks.0.processor.qkv_lora2": (96, 32),
        "double_blocks.0.processor.proj_lora2": (32, 32),
        "single_blocks.1.processor.qkv_lora": (96, 32),
        "single_blocks.1.processor.proj_lora": (32, 160),
    }
    return low_rank(layers, dotted(""), "down", "up")


def control() -> Tensors:
    """A control LoRA in diffusers' names."""
    layers = {**DIFFUSERS, "x_embedder": (32, 128)}
    tensors = low_rank(layers, dotted("transformer."), "lora_A", "lora_B")
    tensors |= {f"transformer.{name}.lora_B.bias": numbers(f"{name} bias", shape[0]) for name, shape in layers.items()}
    for norm in ("transformer_blocks.0.attn.norm_added_q", "single_transformer_blocks.1.attn.norm_k"):
        tensors[f"transformer.{norm}.weight"] = numbers(norm, 16)
    return tensors


def sparse_qkv() -> Tensors:
    """Three LoRAs of a third of the rank, side by side, as kohya makes of q, k and v."""
    up = np.zeros((96, 6), np.float32)
    for part in range(3):
        up[32 * part : 32 * part + 32, 2 * part : 2 * part + 2] = numbers(f"up {part}", 32, 2)
    module = "lora_unet_double_blocks_0_img_attn_qkv"
    return {
        f"{module}.lora_down.weight": numbers("down", 6, 32),
        f"{module}.lora_up.weight": up,
        f"{module}.alpha": np.float32(3),
    }


def mixture() -> Tensors:
    """Layers of a block other than its attention's are all taken for the block itself by its converter."""
    layers = {k: v for k, v in DIFFUSERS.items() if "blocks." not in k or ".attn." in k}
    return {
        **low_rank(layers, underscored("lora_transformer_"), "lora_down", "lora_up", 2.0),
        **low_rank(CLIP_LAYERS, underscored("lora_te1_text_model_"), "lora_down", "lora_up", 3.0),
    }


FILES: dict[str, Callable[[], Tensors]] = {
    "diffusers": lambda: {
        **low_rank(DIFFUSERS, dotted("transformer."), "lora_A", "lora_B"),
        **low_rank(CLIP_LAYERS, dotted("text_encoder.text_model."), "lora_A", "lora_B"),
    },
    "with alpha": lambda: low_rank(DIFFUSERS, dotted("transformer."), "lora_A", "lora_B", 6.0),
    "kohya's parts under diffusers' names": lambda: low_rank(DIFFUSERS, dotted("transformer."), "lora_down", "lora_up"),
    "text encoder of 2023": lambda: low_rank(
        CLIP_LAYERS, dotted("text_encoder.text_model."), "lora_linear_layer.down", "lora_linear_layer.up"
    ),
    "kohya": lambda: {
        **low_rank(kohya_layers(), underscored("lora_unet_"), "lora_down", "lora_up", 2.0),
        **low_rank(CLIP_LAYERS, underscored("lora_te1_text_model_"), "lora_down", "lora_up", 3.0),
    },
    "kohya without alpha": lambda: low_rank(kohya_layers(), underscored("lora_unet_"), "lora_down", "lora_up"),
    "kohya, block-sparse": sparse_qkv,
    "ComfyUI": lambda: {
        **low_rank(kohya_layers(), dotted("diffusion_model."), "lora_down", "lora_up", 2.0),
        **low_rank(CLIP_LAYERS, dotted("text_encoders.clip_l.transformer.text_model."), "lora_down", "lora_up", 1.0),
    },
    "kohya on diffusers' layers": mixture,
    "XLabs": xlabs,
    "a control LoRA": control,
}


@pytest.mark.filterwarnings("ignore:While injecting the PEFT adapters:RuntimeWarning")  # of layers that it leaves alone
@pytest.mark.parametrize("form", FILES)
def test_weights_are_those_that_diffusers_fuses(tmp_path: Path, form: str) -> None:
    file = write_lora(tmp_path / "lora.safetensors", FILES[form]())
    pipeline = reference_pipeline()
    pipeline.load_lora_weights(tmp_path, weight_name=file.name)
    assert_fused_weights_agree(pipeline, file)


SETTINGS: dict[str, dict[str, Any]] = {
    "alpha": {"lora_alpha": 6},
    "ranks and alphas by layer": {
        "lora_alpha": 6,
        "rank_pattern": {"attn.to_q": 2, "single_transformer_blocks.1.proj_out": 3},
        "alpha_pattern": {"to_k": 1, "transformer_blocks.0.attn.to_v": 9},
    },
    "rank stabilised": {"lora_alpha": 6, "use_rslora": True},
    "DoRA": {"lora_alpha": 6, "use_dora": True},
    "biases": {"lora_alpha": 6, "lora_bias": True},
}


@pytest.mark.filterwarnings("ignore:.*invalid shape:UserWarning")  # PEFT 0.21.2 takes a bias for a torn matrix
@pytest.mark.parametrize("settings", SETTINGS)
def test_what_save_lora_weights_writes_is_read_with_its_settings(tmp_path: Path, settings: str) -> None:
    pipeline = reference_pipeline()
    assert_fused_weights_agree(pipeline, save_adapters(pipeline, tmp_path, SETTINGS[settings]))


def save_adapters(pipeline: FluxPipeline, folder: Path, settings: dict[str, Any]) -> Path:
    """Give a pipeline adapters by PEFT, for the transformer and for CLIP, and write them as diffusers does."""
    torch.manual_seed(0)
    layers = ["to_q", "to_k", "to_v", "proj_out", "proj_mlp", "ff.net.2", "norm_out.linear", "x_embedder"]
    config = LoraConfig(r=RANK, target_modules=layers, init_lora_weights=False, **settings)
    pipeline.transformer.add_adapter(config)
    clip = LoraConfig(r=2, lora_alpha=5, target_modules=["q_proj", "fc2"], init_lora_weights=False)
    pipeline.text_encoder.add_adapter(clip)
    with torch.no_grad():  # DoRA begins with the lengths that the columns have
        for name, parameter in pipeline.transformer.named_parameters():
            if "lora_magnitude_vector" in name:
                parameter.mul_(torch.linspace(0.7, 1.4, len(parameter)))
    FluxPipeline.save_lora_weights(
        folder,
        transformer_lora_layers=get_peft_model_state_dict(pipeline.transformer),
        text_encoder_lora_layers=get_peft_model_state_dict(pipeline.text_encoder),
        transformer_lora_adapter_metadata=_plain(pipeline.transformer.peft_config["default"].to_dict()),
        text_encoder_lora_adapter_metadata=_plain(pipeline.text_encoder.peft_config["default"].to_dict()),
    )
    return folder / "pytorch_lora_weights.safetensors"


LYCORIS = {
    "LoKr, two products": LoKrConfig(r=2, alpha=5, decompose_both=True, alpha_pattern={"to_q": 1}),
    "LoKr, two whole factors": LoKrConfig(r=64, alpha=16),
    "LoHa": LoHaConfig(r=2, alpha=5, rank_pattern={"proj_out": 3}),
}


@pytest.mark.parametrize("form", LYCORIS)
def test_lycoris_is_what_peft_makes_of_it(tmp_path: Path, form: str) -> None:
    torch.manual_seed(0)
    pipeline = reference_pipeline()
    config = LYCORIS[form]
    config.target_modules, config.init_weights = ["to_q", "proj_out", "norm_out.linear", "ff.net.0.proj"], False
    pipeline.transformer.add_adapter(config)
    pipeline.transformer.save_lora_adapter(tmp_path)
    assert_fused_weights_agree(pipeline, tmp_path / "pytorch_lora_weights.safetensors")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    write_tiny_checkpoint(folder)
    return folder


PICTURE = PICTURES["square"]
WIDE = {"a control LoRA"}  # makes of a pipeline one that needs a control picture


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.filterwarnings("ignore:While injecting the PEFT adapters:RuntimeWarning")
@pytest.mark.parametrize("form", [form for form in FILES if form not in WIDE])
def test_pictures_are_those_of_diffusers(tmp_path: Path, checkpoint: Path, form: str) -> None:
    tensors = {k: v if k.endswith("alpha") else v / 4 for k, v in FILES[form]().items()}
    file = write_lora(tmp_path / "lora.safetensors", tensors)
    pipeline = reference_pipeline()
    plain = reference_picture(pipeline, PICTURE)
    pipeline.load_lora_weights(tmp_path, weight_name=file.name, adapter_name="lora")
    pipeline.set_adapters("lora", 0.75)
    expected = reference_picture(pipeline, PICTURE)
    assert greatest_difference(expected, plain) > 3
    loader = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32")
    for fuse in (False, True) if form == "kohya" else (False,):
        assert not loader.set_loras([LoraUse(file=str(file), strength=0.75)], fuse=fuse)
        assert greatest_difference(paint(loader, PICTURE), expected) <= 1


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.filterwarnings("ignore:.*invalid shape:UserWarning")
@pytest.mark.parametrize("settings", ["DoRA", "biases"])
def test_pictures_with_magnitudes_or_biases_are_those_of_diffusers(
    tmp_path: Path, checkpoint: Path, settings: str
) -> None:
    pipeline = reference_pipeline()
    plain = reference_picture(pipeline, PICTURE)
    file = save_adapters(pipeline, tmp_path, SETTINGS[settings])
    expected = reference_picture(pipeline, PICTURE)
    assert greatest_difference(expected, plain) > 3
    loader = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32")
    loader.set_loras([LoraUse(file=str(file))])
    assert greatest_difference(paint(loader, PICTURE), expected) <= 1


def assert_fused_weights_agree(pipeline: FluxPipeline, file: Path) -> None:
    """All weights of the networks that it changes, within 1e-5 of each one's largest number."""
    lora = open_lora(file, {component: stored_shapes(component, config) for component, config in CONFIGS.items()})
    networks = {"transformer": pipeline.transformer, "clip_text": pipeline.text_encoder}
    assert lora.components <= networks.keys()
    for component in lora.components:
        leaves = tiny_leaves(CONFIGS[component])
        before = to_reference(component, tiny_leaves(CONFIGS[component]))
        apply(lora, component, leaves)
        ours = to_reference(component, leaves)
        theirs = _fused(networks[component])
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            expected = theirs[name][:, : array.shape[1]] if name == "x_embedder.weight" else theirs[name]
            assert np.abs(array - expected).max() <= 1e-5 * np.abs(expected).max(), name
        assert sum(not np.array_equal(before[name], theirs[name]) for name in ours) >= 3


def _fused(network: torch.nn.Module) -> dict[str, np.ndarray]:
    for module in network.modules():
        if hasattr(module, "merge"):
            module.merge()
    state = {name.replace(".base_layer", ""): tensor for name, tensor in network.state_dict().items()}
    return {name: tensor.numpy() for name, tensor in state.items() if not re.search(r"\.(lora|lokr|hada)_", name)}


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: sorted(value) if isinstance(value, set) else value for name, value in settings.items()}


# Converters that take FLUX.1's own depth and widths for granted, on a LoRA for layers with two inputs


def _full_bfl_layers() -> dict[str, tuple[int, int]]:
    outputs = {"qkv": 3 * WIDTH, "linear1": 3 * WIDTH + MLP, "adaLN_modulation.1": 2 * WIDTH}
    layers = {}
    for name in BFL:
        for number in range(19 if name.startswith("double_") else 38 if name.startswith("single_") else 1):
            full = re.sub(r"(?<=_blocks\.)\d+", str(number), name)
            layers[full] = next((size for end, size in outputs.items() if name.endswith(end)), WIDTH), 2
    return layers


def _narrow_shapes() -> dict[LeafPath, tuple[int, ...]]:
    """Of a transformer that such a LoRA is for."""
    shapes: dict[LeafPath, tuple[int, ...]] = {}
    for module, theirs in MODULES["transformer"].items():
        width = {1: WIDTH, 3: 3 * WIDTH, 4: 3 * WIDTH + MLP}[len(theirs)]
        width = 2 * WIDTH if "adaLN_modulation" in module else width
        leaves = {"scale": (128,)} if module.endswith("norm") else {"kernel": (2, width), "bias": (width,)}
        for number in range({"double_blocks": 19, "single_blocks": 38}.get(module.split(".")[0], 1)):
            path = tuple(str(number) if part == "N" else part for part in module.split("."))
            shapes |= {(*path, leaf): shape for leaf, shape in leaves.items()}
    return shapes


CONVERTED: dict[str, Callable[[], Tensors]] = {
    "kohya": lambda: low_rank(
        {k: v for k, v in _full_bfl_layers().items() if "_blocks." in k},
        underscored("lora_unet_"), "lora_down", "lora_up", 2.0,
    ),
    "fal": lambda: low_rank(
        {k: v for k, v in _full_bfl_layers().items() if "_blocks." in k or k == "final_layer.linear"},
        dotted("base_model.model."), "lora_A", "lora_B",
    ),
    "Black Forest Labs' control LoRA": lambda: _bfl_control(),
}  # fmt: skip


def _bfl_control() -> Tensors:
    layers = _full_bfl_layers()
    tensors = low_rank(layers, dotted(""), "lora_A", "lora_B")
    tensors |= {f"{name}.lora_B.bias": numbers(f"{name} bias", shape[0]) for name, shape in layers.items()}
    norms = [
        *(
            f"double_blocks.{n}.{x}_attn.norm.{y}_norm"
            for n in range(19)
            for x in ("img", "txt")
            for y in ("query", "key")
        ),
        *(f"single_blocks.{n}.norm.{y}_norm" for n in range(38) for y in ("query", "key")),
    ]
    return tensors | {f"{norm}.scale": numbers(norm, 128) for norm in norms}


@pytest.mark.parametrize("form", CONVERTED)
def test_changes_are_those_that_diffusers_converts_to_its_own_names(tmp_path: Path, form: str) -> None:
    tensors = CONVERTED[form]()
    lora = open_lora(write_lora(tmp_path / "lora.safetensors", tensors), {"transformer": _narrow_shapes()})
    ours = {(*kernel.module, "kernel"): kernel.read().dense().T for kernel in lora.kernels}
    ours |= {vector.leaf: vector.read() for vector in lora.vectors}
    assert all(vector.replaces == (vector.leaf[-1] == "scale") for vector in lora.vectors)
    theirs = _differences(tensors)
    # 0.42.1 swaps the halves of a control LoRA's rank, too, where it swaps shift and scale of its outputs.
    swapped = ours.pop(("final_layer", "adaLN_modulation", "kernel"), None)
    assert (swapped is not None) == (theirs.pop("norm_out.linear.kernel", None) is not None)
    assert len(theirs) > 300
    for leaf, array in ours.items():
        number = next((part for part in leaf if part.isdecimal()), "")
        names = (name.replace("N", number) for name in MODULES["transformer"][_pattern(leaf[:-1])])
        expected = np.concatenate([theirs.pop(f"{name}.{leaf[-1]}") for name in names])
        array = np.roll(array, WIDTH) if "adaLN_modulation" in leaf else array
        assert np.abs(array - expected).max() <= 1e-5 * np.abs(expected).max(), leaf
    assert not theirs


def _pattern(module: LeafPath) -> str:
    return ".".join("N" if part.isdecimal() else part for part in module)


def _differences(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What diffusers makes of a file, by its own modules: `.kernel` [out, in], `.bias` and `.scale`."""
    state = FluxPipeline.lora_state_dict({name: torch.from_numpy(np.array(array)) for name, array in tensors.items()})
    state = {name.removeprefix("transformer."): tensor.numpy() for name, tensor in state.items()}
    found = {}
    for name, array in state.items():
        module, _, part = name.partition(".lora_")
        if part == "A.weight":
            found[f"{module}.kernel"] = state[f"{module}.lora_B.weight"] @ array
        elif part == "B.bias":
            found[f"{module}.bias"] = array
        elif not part:
            found[name.replace(".weight", ".scale")] = array
    return found
