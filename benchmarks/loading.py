"""Seconds per GB that a transformer takes from the disk to the device, in each layout, beside `cat` and diffusers.

All take turns, each in a process of its own and right after `cat` of the same files, of random weights that the system
has in its cache. A process reads twice, and the second time counts: the first one compiles, and imports what it needs.
diffusers is measured where the `parity` extra is installed.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import gguf
import ml_dtypes

from benchmarks.figures import Figure, parser, quantile, report
from benchmarks.synthetic import beside, bfl_shapes, random_tensors, write_diffusers
from flux_engine.weights.importing import import_checkpoint
from tests.foreign_files import as_scaled_fp8, save_file, write_gguf

WIDTH, TEXT = 1536, 4096  # 0.66 GB in bfloat16
BLOCKS = {"double_blocks": 2, "single_blocks": 4}
OURS = """
import sys, time
from pathlib import Path
import jax, jax.numpy as jnp
from flux_engine.weights.checkpoint import load_network
from flux_engine.weights.placing import on_device
from flux_engine.weights.sources import open_checkpoint
for _ in range(2):
    started_s, network = time.perf_counter(), None
    weights = open_checkpoint(Path(sys.argv[1])).parts["transformer"].open()
    network = load_network(weights, placement=on_device(jax.devices()[0]), dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    jax.block_until_ready(network)
    seconds = time.perf_counter() - started_s
print(seconds)
"""
THEIRS = """
import sys, time, torch
from diffusers import FluxTransformer2DModel
for _ in range(2):
    model, copies = None, None
    started_s = time.perf_counter()
    model = FluxTransformer2DModel.from_pretrained(sys.argv[1], subfolder="transformer", torch_dtype=torch.bfloat16)
    copies = [tensor.detach().clone() for tensor in model.parameters()]  # else the file is only mapped
    seconds = time.perf_counter() - started_s
print(seconds)
"""


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each is loaded")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="flux-loading-") as folder:
        places = _prepared(Path(folder))
        runs = {name: (place, _timed(OURS, place)) for name, place in places.items()}
        if importlib.util.find_spec("diffusers"):
            folder_of_both = places["diffusers folder, bf16"]
            runs["diffusers itself, bf16"] = folder_of_both, _timed(THEIRS, folder_of_both)
        cats: dict[str, list[float]] = {name: [] for name in runs}
        loads: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(options.rounds):
            for name, (place, run) in runs.items():
                cats[name].append(_cat(_files_of(place)))
                loads[name].append(run())
        figures = [
            _figure(name, loads[name], cats[name], sum(file.stat().st_size for file in _files_of(place)))
            for name, (place, _) in runs.items()
        ]
    return report("Loading a transformer: seconds per GB of its files", figures, as_json=options.json)


def _prepared(folder: Path) -> dict[str, Path]:
    """Where the transformer lies in each layout."""
    tensors = random_tensors(bfl_shapes(WIDTH, *BLOCKS.values(), text=TEXT))
    bf16 = {name: array.astype(ml_dtypes.bfloat16) for name, array in tensors.items()}
    files = {name: beside(folder / name) / "model.safetensors" for name in ("bf16", "fp8", "fp8_scaled", "GGUF Q8_0")}
    save_file(bf16, files["bf16"])
    save_file({name: array.astype(ml_dtypes.float8_e4m3fn) for name, array in tensors.items()}, files["fp8"])
    save_file(as_scaled_fp8(tensors), files["fp8_scaled"])
    files["GGUF Q8_0"] = files["GGUF Q8_0"].with_suffix(".gguf")
    write_gguf(files["GGUF Q8_0"], tensors, gguf.GGMLQuantizationType.Q8_0)
    write_diffusers(beside(folder / "diffusers") / "transformer", bf16)
    own = {f"own layout, {name}": folder / f"own {name}" for name in ("bf16", "int8", "fp8")}
    for name, place in own.items():
        dtype = name.rpartition(" ")[2]
        import_checkpoint(files["bf16"], place, dtype=None if dtype == "bf16" else dtype)
    singles = {f"single file, {name}": file for name, file in files.items()}
    return {**own, "diffusers folder, bf16": folder / "diffusers", **singles}


def _figure(name: str, loads: list[float], cats: list[float], size: int) -> Figure:
    per_gb, cat = ([seconds / size * 1e9 for seconds in each] for each in (loads, cats))
    values = {"n": len(per_gb), "p50": median(per_gb), "p90": quantile(per_gb, 0.9), "cat p50": median(cat)}
    return Figure(name, {**values, "GB": size / 1e9})


def _timed(code: str, place: Path) -> Callable[[], float]:
    def run() -> float:
        done = subprocess.run([sys.executable, "-c", code, str(place)], check=True, capture_output=True, text=True)
        return float(done.stdout.split()[-1])

    return run


def _cat(files: list[Path]) -> float:
    started_s = time.perf_counter()
    subprocess.run(["cat", *map(str, files)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started_s


def _files_of(place: Path) -> list[Path]:
    return [place] if place.is_file() else [file for file in (place / "transformer").rglob("*") if file.is_file()]


if __name__ == "__main__":
    sys.exit(main())
