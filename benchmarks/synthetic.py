"""Checkpoints of random weights in FLUX.1's shapes, as large as asked for: written piece by piece, never held whole."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flux_engine.loader import DEMO_CHECKPOINT
from flux_engine.weights.formats import FORMATS, places
from tests.foreign_files import save_file

Shapes = dict[str, tuple[int, ...]]
PIECE = 2**24  # numbers


def bfl_shapes(
    width: int, double_blocks: int, single_blocks: int, *, text: int = 4096, pooled: int = 768, head: int = 128
) -> Shapes:
    """A transformer's tensors under Black Forest Labs' names, [out, in]."""
    mlp = 4 * width
    linears = {"img_in": (width, 64), "txt_in": (width, text)}
    for name, read in (("time", 256), ("guidance", 256), ("vector", pooled)):
        linears |= {f"{name}_in.in_layer": (width, read), f"{name}_in.out_layer": (width, width)}
    norms = []
    for block in range(double_blocks):
        for stream in (f"double_blocks.{block}.img", f"double_blocks.{block}.txt"):
            linears |= {
                f"{stream}_mod.lin": (6 * width, width),
                f"{stream}_attn.qkv": (3 * width, width),
                f"{stream}_attn.proj": (width, width),
                f"{stream}_mlp.0": (mlp, width),
                f"{stream}_mlp.2": (width, mlp),
            }
            norms += [f"{stream}_attn.norm.{name}_norm.scale" for name in ("query", "key")]
    for block in range(single_blocks):
        name = f"single_blocks.{block}"
        linears |= {
            f"{name}.linear1": (3 * width + mlp, width),
            f"{name}.linear2": (width, width + mlp),
            f"{name}.modulation.lin": (3 * width, width),
        }
        norms += [f"{name}.norm.{part}_norm.scale" for part in ("query", "key")]
    linears |= {"final_layer.linear": (64, width), "final_layer.adaLN_modulation.1": (2 * width, width)}
    shapes: Shapes = {norm: (head,) for norm in norms}
    for name, (out, read) in linears.items():
        shapes |= {f"{name}.weight": (out, read), f"{name}.bias": (out,)}
    return shapes


def random_tensors(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """float32."""
    random = np.random.default_rng(0)
    return {name: random.standard_normal(shape, np.float32) / 50 for name, shape in shapes.items()}


def write_bfloat16(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """A safetensors file of random weights, the same ones again and again."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    numbers = np.random.default_rng(0).standard_normal(PIECE, np.float32) / 50
    piece = (numbers.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    text = json.dumps(header).encode()
    with open(file, "wb") as opened:
        opened.write(struct.pack("<Q", len(text)) + text)
        for start in range(0, end, len(piece)):
            opened.write(piece[: end - start])


def write_diffusers(folder: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """The tensors of `bfl_shapes` in a new folder under diffusers' names, by the table that reads them."""
    theirs, bfl = FORMATS[0], FORMATS[1]
    width, head = len(tensors["img_in.bias"]), len(tensors["single_blocks.0.norm.query_norm.scale"])
    renamed: dict[str, np.ndarray] = {}
    for name, place in places(bfl, tensors):
        assert place is not None
        names = theirs.modules[".".join("N" if key.isdigit() else key for key in place.module)]
        number = next((key for key in place.module if key.isdigit()), "")
        parameter = "bias" if name.endswith("bias") else "weight"
        ends = np.cumsum([4 * width if each.endswith("proj_mlp") else width for each in names])
        for each, part in zip(names, np.split(tensors[name], ends[:-1]), strict=True):
            swapped = np.roll(part, len(part) // 2, axis=0) if each in theirs.halves_swapped else part
            renamed[f"{each.replace('N', number)}.{parameter}"] = np.ascontiguousarray(swapped)
    folder.mkdir()
    save_file(renamed, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps(_diffusers_config(tensors, width, head)))


def _diffusers_config(tensors: Mapping[str, np.ndarray], width: int, head: int) -> dict[str, Any]:
    double, single = (
        len({name.split(".")[1] for name in tensors if name.startswith(kind)}) for kind in ("double", "single")
    )
    return {
        "_class_name": "FluxTransformer2DModel",
        "num_layers": double,
        "num_single_layers": single,
        "num_attention_heads": width // head,
        "attention_head_dim": head,
        "joint_attention_dim": tensors["txt_in.weight"].shape[1],
        "pooled_projection_dim": tensors["vector_in.in_layer.weight"].shape[1],
        "guidance_embeds": True,
        "axes_dims_rope": [head // 8, head * 7 // 16, head * 7 // 16],
    }


def beside(folder: Path) -> Path:
    """A new folder with the demo model's other networks; a transformer is not checked against them."""
    folder.mkdir()
    for name in ("vae", "clip_text", "t5_text", "tokenizer", "tokenizer_2"):
        shutil.copytree(DEMO_CHECKPOINT / name, folder / name)
    return folder
