"""The tiny networks as files of other programs, for tests. Names are written by hand here, not taken from tables."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import ml_dtypes
import numpy as np

from flux_engine.configs import CLIPTextConfig, NetworkConfig, TransformerConfig, VAEConfig
from flux_engine.weights.names import is_stacked, stored_path
from tests.reference_names import to_reference
from tests.tiny import tiny_leaves
from tests.tiny_checkpoint import T5, TOKENIZERS

# In FLUX.1's proportions, as far as no shape tells them, so that files without a config.json tell all.
VAE = VAEConfig(block_out_channels=(32, 64, 64, 96), layers_per_block=1)
CLIP = CLIPTextConfig(vocab_size=1200, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=1)
TRANSFORMER = TransformerConfig(
    hidden_dim=64,
    num_heads=2,
    num_double_layers=2,
    num_single_layers=3,
    joint_attention_dim=32,
    pooled_projection_dim=64,
    axes_dims_rope=(4, 14, 14),
)
FOLDERS: dict[str, NetworkConfig] = {
    "transformer": TRANSFORMER,
    "vae": VAE,
    "text_encoder": CLIP,
    "text_encoder_2": T5,
}
FILES = {"transformer": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
# What diffusers and transformers write into config.json, as far as shapes do not tell it.
CONFIGS: dict[str, dict[str, Any]] = {
    "transformer": {"axes_dims_rope": [4, 14, 14], "num_layers": 2, "num_attention_heads": 2, "guidance_embeds": True},
    "vae": {"norm_num_groups": 32, "scaling_factor": 0.3611, "block_out_channels": [32, 64, 64, 96]},
    "text_encoder": {"num_attention_heads": 1, "eos_token_id": 2, "layer_norm_eps": 1e-5, "hidden_act": "quick_gelu"},
    "text_encoder_2": {"layer_norm_epsilon": 1e-6, "relative_attention_max_distance": 128, "num_layers": 2},
}
_TYPES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}
_BFL_TRANSFORMER = (
    (r"(double_blocks\.\d+)\.(img|txt)_mod", r"\1.\2_mod.lin"),
    (r"(double_blocks\.\d+)\.attn\.(img|txt)_(qkv|proj)", r"\1.\2_attn.\3"),
    (r"(double_blocks\.\d+)\.attn\.(img|txt)_(query|key)_norm", r"\1.\2_attn.norm.\3_norm"),
    (r"(double_blocks\.\d+\.(?:img|txt)_mlp)\.fc1", r"\1.0"),
    (r"(double_blocks\.\d+\.(?:img|txt)_mlp)\.fc2", r"\1.2"),
    (r"(single_blocks\.\d+)\.modulation", r"\1.modulation.lin"),
    (r"(single_blocks\.\d+)\.(query|key)_norm", r"\1.norm.\2_norm"),
    (r"final_layer\.adaLN_modulation", r"final_layer.adaLN_modulation.1"),
)
_BFL_VAE = (
    (r"encoder\.down_blocks\.(\d)\.resnets\.(\d)", r"encoder.down.\1.block.\2"),
    (r"decoder\.up_blocks\.0\.resnets\.(\d)", r"decoder.up.3.block.\1"),
    (r"decoder\.up_blocks\.1\.resnets\.(\d)", r"decoder.up.2.block.\1"),
    (r"decoder\.up_blocks\.2\.resnets\.(\d)", r"decoder.up.1.block.\1"),
    (r"decoder\.up_blocks\.3\.resnets\.(\d)", r"decoder.up.0.block.\1"),
    (r"encoder\.down_blocks\.(\d)\.downsamplers\.0", r"encoder.down.\1.downsample.conv"),
    (r"decoder\.up_blocks\.0\.upsamplers\.0", r"decoder.up.3.upsample.conv"),
    (r"decoder\.up_blocks\.1\.upsamplers\.0", r"decoder.up.2.upsample.conv"),
    (r"decoder\.up_blocks\.2\.upsamplers\.0", r"decoder.up.1.upsample.conv"),
    (r"mid_block\.resnets\.0", r"mid.block_1"),
    (r"mid_block\.resnets\.1", r"mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", r"mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"mid_block\.attentions\.0\.to_out\.0", r"mid.attn_1.proj_out"),
    (r"conv_norm_out", r"norm_out"),
    (r"conv_shortcut", r"nin_shortcut"),
)


def bfl_tensors(
    config: TransformerConfig | VAEConfig, leaves: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """A tiny network, or other leaves of one, as Black Forest Labs' own files have them."""
    renamings = _BFL_TRANSFORMER if config.component == "transformer" else _BFL_VAE
    tensors = {}
    for own_path, leaf in (leaves or tiny_leaves(config)).items():
        path = tuple(own_path.split("."))
        stacked = is_stacked(config.component, path)
        for block in range(leaf.shape[0]) if stacked else [None]:
            *module, kind = stored_path(config.component, path, block)
            name = ".".join(module)
            for pattern, replacement in renamings:
                name = re.sub(rf"(?<![a-z]){pattern}(?![a-z0-9_])", replacement, name)
            array = leaf if block is None else leaf[block]
            if kind == "kernel":
                array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
            parameter = "scale" if kind == "scale" and config.component == "transformer" else "weight"
            tensors[f"{name}.{'bias' if kind == 'bias' else parameter}"] = np.ascontiguousarray(array)
    return tensors


def diffusers_tensors(config: NetworkConfig) -> dict[str, np.ndarray]:
    """A tiny network under diffusers' or transformers' names."""
    return {k: np.ascontiguousarray(v) for k, v in to_reference(config.component, tiny_leaves(config)).items()}


def save_file(tensors: Mapping[str, Any], file: Path) -> None:
    """A safetensors file; the library's own writer for NumPy has no fp8."""
    header, data = {}, bytearray()
    for name, tensor in tensors.items():
        array = np.asarray(tensor)
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": _TYPES[array.dtype.name], "shape": array.shape, "data_offsets": offsets}
        data += array.tobytes()
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_gguf(
    file: Path, tensors: Mapping[str, np.ndarray], kind: gguf.GGMLQuantizationType, arch: str = "flux"
) -> dict[str, np.ndarray]:
    """A GGUF file with matrices of that kind where their rows are whole blocks; what its numbers are is returned."""
    writer = gguf.GGUFWriter(file, arch)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    numbers = {}
    for name, array in tensors.items():
        if array.ndim != 2 or array.shape[-1] % block:
            numbers[name] = array
            writer.add_tensor(name, array)
            continue
        try:
            data = gguf.quants.quantize(array, kind)
        except NotImplementedError:  # the package only reads these: any bytes are a block, if its factors are numbers
            data = np.random.RandomState(0).randint(0, 60, (array.shape[0], array.shape[1] // block * size), np.uint8)
        numbers[name] = gguf.quants.dequantize(data, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return numbers


def write_diffusers_folder(folder: Path, shards: int = 1, dtype: Any = np.float32) -> None:
    """All four networks and the tokenizers, the transformer in so many files."""
    for name, config in FOLDERS.items():
        directory = folder / name
        directory.mkdir(parents=True)
        (directory / "config.json").write_text(json.dumps(CONFIGS[name]))
        tensors = {key: array.astype(dtype) for key, array in diffusers_tensors(config).items()}
        stem = FILES.get(name, "model")
        if shards == 1 or name != "transformer":
            save_file(tensors, directory / f"{stem}.safetensors")
        else:
            _write_shards(directory, stem, tensors, shards)
    add_tokenizers(folder)


def add_tokenizers(folder: Path) -> None:
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(TOKENIZERS / name, folder / name)


def write_single_files(folder: Path) -> Path:
    """Four files, as people keep them side by side, and the tokenizers; the transformer's is returned."""
    folder.mkdir(exist_ok=True)
    save_file(bfl_tensors(TRANSFORMER), folder / "model.safetensors")
    save_file(bfl_tensors(VAE), folder / "ae.sft")
    save_file(
        {f"text_model.{k}": v for k, v in diffusers_tensors(CLIP).items()}
        | {"text_projection.weight": np.zeros((4, 4), np.float32)},
        folder / "clip.safetensors",
    )
    shared = diffusers_tensors(T5)
    save_file({**shared, "encoder.embed_tokens.weight": shared["shared.weight"]}, folder / "t5.safetensors")
    add_tokenizers(folder)
    return folder / "model.safetensors"


def as_scaled_fp8(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Matrices in fp8, each with the factor that brings its largest number to 448, the largest of the type."""
    scaled: dict[str, np.ndarray] = {"scaled_fp8": np.zeros(2, ml_dtypes.float8_e4m3fn)}
    for name, array in tensors.items():
        if array.ndim != 2:
            scaled[name] = array
            continue
        factor = np.abs(array).max() / 448
        scaled[name] = (array / factor).astype(ml_dtypes.float8_e4m3fn)
        scaled[name.replace(".weight", ".scale_weight")] = np.float32(factor)
        scaled[name.replace(".weight", ".scale_input")] = np.float32(1)
    return scaled


def _write_shards(directory: Path, stem: str, tensors: Mapping[str, np.ndarray], shards: int) -> None:
    weight_map = {}
    for shard in range(shards):
        name = f"{stem}-{shard + 1:05}-of-{shards:05}.safetensors"
        part = {key: tensors[key] for key in list(tensors)[shard::shards]}
        save_file(part, directory / name)
        weight_map |= dict.fromkeys(part, name)
    (directory / f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
