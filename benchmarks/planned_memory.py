"""What a plan says of memory, beside what a process takes that paints the picture, all of it counted. Of CPUs only.

Each picture is painted by a process of its own, which plans it before it has read anything: the engine's own plan, but
that the engine compiles nothing for one that fits by far. Checkpoints are written for it, with random weights.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, parser, report
from benchmarks.one_step import peak_bytes
from flux_engine.host_memory import share_heaps

BAR = 0.1
# The model's name, its dtype, and pixels of each side.
PICTURES = (
    ("demo", "float32", 128),
    ("medium", "float32", 512),
    ("medium", "float32", 256),
    ("medium", "bfloat16", 512),
)


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--paint", nargs=3, metavar=("FOLDER", "DTYPE", "SIDE"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.paint:
        folder, dtype, side = options.paint
        print(json.dumps(painted(Path(folder), dtype, int(side))))
        return 0
    with tempfile.TemporaryDirectory(prefix="flux-planned-") as temporary:
        for model in sorted({model for model, _, _ in PICTURES}):
            write_checkpoint(Path(temporary) / model, model)
        figures = [_figure(Path(temporary), *picture) for picture in PICTURES]
    return report("Memory planned, and taken by the process, GB", figures, as_json=options.json)


def write_checkpoint(folder: Path, model: str) -> None:
    """Random weights in float32, of a model that the benchmarks know by name, and the demo model's tokenizers."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from flux_engine.bench_sizes import MODELS
    from flux_engine.bench_weights import random_network
    from flux_engine.loader import DEMO_CHECKPOINT
    from flux_engine.weights.checkpoint import save_component
    from flux_engine.weights.placing import on_device

    sizes, place = MODELS[model](), on_device(jax.devices()[0])
    for config in (sizes.transformer, sizes.vae, sizes.clip, sizes.t5):
        network = nnx.merge(*random_network(config, jnp.dtype(jnp.float32), place))
        save_component(folder / config.component, network)
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(DEMO_CHECKPOINT / name, folder / name)


def painted(folder: Path, dtype: Any, side: int) -> dict[str, float]:
    """GB that were planned, and that this process, with memory kept as `flux-tui` keeps it, then took at its peak."""
    share_heaps()
    from flux_engine import Engine, GenerationRequest, planning
    from flux_engine.loader import FluxModelLoader
    from flux_engine.programs import Picture

    loader = FluxModelLoader(checkpoint_dir=folder, dtype=dtype)
    text_tokens = loader.t5_tokenizer.max_length
    picture = Picture(dtype=loader.dtype, width=side, height=side, text_tokens=text_tokens)
    found = planning.plan(loader.configs, picture, places=loader.places)
    request = GenerationRequest(
        prompt="fog", width=side, height=side, num_steps=2, dtype=dtype, checkpoint_dir=str(folder)
    )
    for _ in Engine().generate(request):
        pass
    return {"planned": max(map(found.peak_bytes, found.stages)) / 1e9, "taken": peak_bytes() / 1e9}


def _figure(folder: Path, model: str, dtype: str, side: int) -> Figure:
    command = [sys.executable, "-m", "benchmarks.planned_memory", "--paint", str(folder / model), dtype, str(side)]
    with tempfile.TemporaryDirectory(prefix="flux-home-") as home:
        env = os.environ | {"HOME": home, "XDG_CACHE_HOME": home}
        gigabytes = json.loads(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout)
    off = abs(gigabytes["planned"] / gigabytes["taken"] - 1)
    return Figure(f"{model}, {dtype}, {side}x{side}", {**gigabytes, "off by": off}, "off by", BAR, below=False)


if __name__ == "__main__":
    sys.exit(main())
