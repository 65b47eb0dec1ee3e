"""Seconds per GB that a transformer takes from the disk to the device, in each layout, beside `cat` and diffusers.

All take turns, each in a process of its own, on files of random weights that the system has in its cache. Seconds are
those of the reading itself, without the imports. diffusers is measured where the `parity` extra is installed.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import gguf
import ml_dtypes
import numpy as np

from benchmarks.figures import Figure, parser, quantile, report
from flux_engine.configs import TransformerConfig
from flux_engine.loader import DEMO_CHECKPOINT
from flux_engine.weights.importing import import_checkpoint
from tests.foreign_files import as_scaled_fp8, save_file, write_gguf

WIDTH, MLP, TEXT = 1536, 6144, 4096  # 0.48 GB in bfloat16
BLOCKS = {"double_blocks": 2, "single_blocks": 4}
OURS = """
import sys, time, json
from pathlib import Path
import jax, jax.numpy as jnp
from flux_engine.weights.checkpoint import load_network
from flux_engine.weights.sources import open_checkpoint
jax.block_until_ready(jax.device_put(jnp.zeros(3)))
started_s = time.perf_counter()
weights = open_checkpoint(Path(sys.argv[1])).parts["transformer"].open()
load_network(weights, device=jax.devices()[0], dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
print(time.perf_counter() - started_s)
"""
THEIRS = """
import sys, time, torch
from diffusers import FluxTransformer2DModel
started_s = time.perf_counter()
model = FluxTransformer2DModel.from_pretrained(sys.argv[1], subfolder="transformer", torch_dtype=torch.bfloat16)
copies = [tensor.detach().clone() for tensor in model.parameters()]  # else the file is only mapped
print(time.perf_counter() - started_s)
"""


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each is loaded")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="flux-loading-") as folder:
        files, runs = _prepared(Path(folder))
        for run in runs.values():  # the first one compiles
            run()
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, run in runs.items():
                seconds[name].append(run())
        figures = [_figure(name, seconds[name], files[name]) for name in runs]
    return report("Loading a transformer: seconds per GB of the file", figures, as_json=options.json)


def _prepared(folder: Path) -> tuple[dict[str, int], dict[str, Callable[[], float]]]:
    """Bytes of each layout's transformer, and what loads it and says how many seconds that took."""
    tensors = _bfl_tensors()
    bf16 = {name: array.astype(ml_dtypes.bfloat16) for name, array in tensors.items()}
    places = {name: _beside(folder / name) for name in ("bf16", "fp8_scaled", "GGUF Q8_0", "diffusers")}
    save_file(bf16, places["bf16"] / "model.safetensors")
    save_file(as_scaled_fp8(tensors), places["fp8_scaled"] / "model.safetensors")
    write_gguf(places["GGUF Q8_0"] / "model.gguf", tensors, gguf.GGMLQuantizationType.Q8_0)
    _write_diffusers(places["diffusers"] / "transformer", bf16)
    import_checkpoint(places["bf16"] / "model.safetensors", folder / "own")
    loaded = {
        "own layout, bf16": (OURS, folder / "own"),
        "diffusers folder, bf16": (OURS, places["diffusers"]),
        "single file, bf16": (OURS, places["bf16"] / "model.safetensors"),
        "single file, fp8_scaled": (OURS, places["fp8_scaled"] / "model.safetensors"),
        "GGUF Q8_0": (OURS, places["GGUF Q8_0"] / "model.gguf"),
    }
    if importlib.util.find_spec("diffusers"):
        loaded["diffusers itself, bf16"] = THEIRS, places["diffusers"]
    runs = {name: _timed(code, place) for name, (code, place) in loaded.items()}
    sizes = {name: _bytes_of(place) for name, (_, place) in loaded.items()}
    cat = places["bf16"] / "model.safetensors"
    return {"cat": _bytes_of(cat), **sizes}, {"cat": lambda: _cat(cat), **runs}


def _figure(name: str, seconds: list[float], size: int) -> Figure:
    per_gb = [each / size * 1e9 for each in seconds]
    return Figure(name, {"n": len(per_gb), "p50": median(per_gb), "p90": quantile(per_gb, 0.9), "GB": size / 1e9})


def _timed(code: str, place: Path) -> Callable[[], float]:
    def run() -> float:
        done = subprocess.run([sys.executable, "-c", code, str(place)], check=True, capture_output=True, text=True)
        return float(done.stdout.split()[-1])

    return run


def _cat(file: Path) -> float:
    started_s = time.perf_counter()
    subprocess.run(["cat", str(file)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started_s


def _beside(folder: Path) -> Path:
    """A folder with the demo model's other networks; the transformer is not checked against them."""
    folder.mkdir()
    for name in ("vae", "clip_text", "t5_text", "tokenizer", "tokenizer_2"):
        shutil.copytree(DEMO_CHECKPOINT / name, folder / name)
    return folder


def _bytes_of(place: Path) -> int:
    if place.is_file():
        return place.stat().st_size
    return sum(file.stat().st_size for file in (place / "transformer").rglob("*") if file.is_file())


def _bfl_tensors() -> dict[str, np.ndarray]:
    """Random weights under Black Forest Labs' names."""
    head = 128
    linears = {"img_in": (WIDTH, 64), "txt_in": (WIDTH, TEXT)}
    for name, read in (("time", 256), ("guidance", 256), ("vector", 768)):
        linears |= {f"{name}_in.in_layer": (WIDTH, read), f"{name}_in.out_layer": (WIDTH, WIDTH)}
    norms = []
    for block in range(BLOCKS["double_blocks"]):
        for stream in (f"double_blocks.{block}.img", f"double_blocks.{block}.txt"):
            linears |= {
                f"{stream}_mod.lin": (6 * WIDTH, WIDTH),
                f"{stream}_attn.qkv": (3 * WIDTH, WIDTH),
                f"{stream}_attn.proj": (WIDTH, WIDTH),
                f"{stream}_mlp.0": (MLP, WIDTH),
                f"{stream}_mlp.2": (WIDTH, MLP),
            }
            norms += [f"{stream}_attn.norm.{name}_norm.scale" for name in ("query", "key")]
    for block in range(BLOCKS["single_blocks"]):
        name = f"single_blocks.{block}"
        linears |= {
            f"{name}.linear1": (3 * WIDTH + MLP, WIDTH),
            f"{name}.linear2": (WIDTH, WIDTH + MLP),
            f"{name}.modulation.lin": (3 * WIDTH, WIDTH),
        }
        norms += [f"{name}.norm.{part}_norm.scale" for part in ("query", "key")]
    linears |= {"final_layer.linear": (64, WIDTH), "final_layer.adaLN_modulation.1": (2 * WIDTH, WIDTH)}
    random = np.random.default_rng(0)
    tensors = {norm: np.ones(head, np.float32) for norm in norms}
    for name, (out, read) in linears.items():
        tensors[f"{name}.weight"] = random.standard_normal((out, read), np.float32) / 50
        tensors[f"{name}.bias"] = np.zeros(out, np.float32)
    return tensors


def _write_diffusers(folder: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """The same under diffusers' names, by the table that reads them."""
    from flux_engine.weights.formats import FORMATS, places

    theirs, bfl = FORMATS[0], FORMATS[1]
    renamed: dict[str, np.ndarray] = {}
    for name, place in places(bfl, tensors):
        assert place is not None
        names = theirs.modules[".".join("N" if key.isdigit() else key for key in place.module)]
        number = next((key for key in place.module if key.isdigit()), "")
        parameter = "bias" if name.endswith("bias") else "weight"
        ends = np.cumsum([MLP if "mlp" in each else len(tensors[name]) for each in names])
        if len(names) > 1:
            ends = np.cumsum([MLP if each.endswith("proj_mlp") else WIDTH for each in names])
        for each, part in zip(names, np.split(tensors[name], ends[:-1]), strict=True):
            renamed[f"{each.replace('N', number)}.{parameter}"] = np.ascontiguousarray(part)
    folder.mkdir()
    save_file(renamed, folder / "diffusion_pytorch_model.safetensors")
    config = TransformerConfig()
    sizes = {
        "_class_name": "FluxTransformer2DModel",
        "num_layers": BLOCKS["double_blocks"],
        "num_single_layers": BLOCKS["single_blocks"],
        "num_attention_heads": WIDTH // config.head_dim,
        "attention_head_dim": config.head_dim,
        "joint_attention_dim": TEXT,
        "guidance_embeds": True,
    }
    (folder / "config.json").write_text(json.dumps(sizes))


if __name__ == "__main__":
    sys.exit(main())
