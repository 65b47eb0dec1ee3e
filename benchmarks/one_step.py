"""A process that takes one step of the transformer when it is told to, with this program or with diffusers.

It reads words and writes an answer to each, a line of JSON: `step` gives seconds, `peak` the most bytes of memory that
the process had since it was ready, all of it counted. It knows a folder with weights as diffusers lays them out, inputs
that are there for both, and where to leave its velocity; it imports only the one of the two that it runs.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Step = Callable[[], np.ndarray]
STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("who", choices=STEPS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("dtype", choices=("float32", "bfloat16"))
    options = parser.parse_args()
    step = STEPS[options.who](options.folder, options.dtype)
    np.save(options.folder / f"{options.who}.npy", step())
    gc.collect()
    CLEAR_REFS.write_text("5")  # the peak starts anew, from what is in memory now
    print(json.dumps("ready"), flush=True)
    for word in sys.stdin:
        answer = _seconds(step) if word.strip() == "step" else peak_bytes()
        print(json.dumps(answer), flush=True)
    return 0


def our_step(folder: Path, dtype: str) -> Step:
    """The velocity float32 [1, L, 64] by the programs that paint pictures, modulations included.

    Memory is kept as `flux-tui` keeps it: in one heap, and given back before the steps, when programs are there.
    """
    from flux_engine.host_memory import give_back, share_heaps

    share_heaps()
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from flux_engine import compiled
    from flux_engine.compile_cache import keep_compiled
    from flux_engine.models.transformer import rope_table
    from flux_engine.weights.checkpoint import load_network
    from flux_engine.weights.placing import on_device
    from flux_engine.weights.sources import open_checkpoint

    keep_compiled(folder / "compiled")
    weights = open_checkpoint(folder).parts["transformer"].open()
    kind, placement = jnp.dtype(dtype), on_device(jax.devices()[0])
    network = load_network(weights, placement=placement, dtype=kind, param_dtype=kind)
    graphdef, state = nnx.split(network)
    x = _inputs(folder)
    rope = rope_table(np.concatenate([x["txt_ids"], x["img_ids"]]), network.config.axes_dims_rope, network.config.theta)
    pooled, sigmas, guidance, row = jax.device_put((x["pooled"], x["timesteps"], x["guidance"], np.int32(0)))
    latents, text, rope = jax.device_put((x["img"][:, None], x["txt"], rope))

    def step() -> np.ndarray:
        rows = compiled.modulations(graphdef, state, pooled, sigmas, guidance)
        return np.asarray(compiled.velocity(graphdef, state, latents, rows, row, text, rope))[:, 0]

    step()
    give_back()
    return step


def their_step(folder: Path, dtype: str) -> Step:
    """The same by diffusers, eager."""
    import torch
    from diffusers import FluxTransformer2DModel

    kind = getattr(torch, dtype)
    network = FluxTransformer2DModel.from_pretrained(folder, subfolder="transformer", torch_dtype=kind).eval()
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()  # else the file is only mapped
    x = {name: torch.from_numpy(array) for name, array in _inputs(folder).items()}

    def step() -> np.ndarray:
        with torch.inference_mode():
            (velocity,) = network(
                hidden_states=x["img"].to(kind),
                encoder_hidden_states=x["txt"].to(kind),
                pooled_projections=x["pooled"].to(kind),
                timestep=x["timesteps"].to(kind),
                img_ids=x["img_ids"],
                txt_ids=x["txt_ids"],
                guidance=x["guidance"],
                return_dict=False,
            )
        return velocity.float().numpy()

    return step


STEPS = {"ours": our_step, "diffusers": their_step}


def _inputs(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "inputs.npz") as arrays:
        return dict(arrays)


def _seconds(step: Step) -> float:
    started_s = time.perf_counter()
    step()
    return time.perf_counter() - started_s


def peak_bytes() -> int:
    """The most bytes of memory that this process had, since it began or its peak was forgotten."""
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())
