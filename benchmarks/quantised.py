"""A step of the transformer with weights in full and in few bits: seconds, bytes, and how near the velocity stays.

Random weights, the same for all kinds, one kind in memory after the other. The velocity is that of the first step: same
noise, text and time. Bars are for FLUX.1-dev's 28 steps at 1024x1024 on an H100 or H200.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.figures import Figure, parser, report
from flux_engine import compiled
from flux_engine.bench_sizes import MODELS
from flux_engine.bench_weights import random_network
from flux_engine.compile_cache import keep_compiled
from flux_engine.models.transformer import rope_table
from flux_engine.precision import resolve_dtype
from flux_engine.psnr import psnr
from flux_engine.request import WeightKind
from flux_engine.sampling.latents import image_ids, text_ids, token_grid
from flux_engine.scalars import near
from flux_engine.weights.placing import on_device

BARS = {"full": 3.6, "fp8_fast": 2.6}  # seconds of all steps
CARDS = ("H100", "H200")
GUIDANCE = np.float32(3.5)


class Inputs(NamedTuple):
    """Of a step: latents [1, rows, columns, C], text [1, T, D], pooled text [1, P], and the positions of both."""

    latents: jax.Array
    text: jax.Array
    pooled: jax.Array
    rope: tuple[jax.Array, jax.Array]


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--model", choices=MODELS, default="tiny", help="its sizes (default: tiny)")
    arguments.add_argument("--weights", nargs="*", choices=get_args(WeightKind), default=get_args(WeightKind))
    arguments.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto")
    arguments.add_argument("--size", type=int, metavar="PX", help="of both sides (default: the model's own)")
    arguments.add_argument("--steps", type=int, default=28, metavar="N", help="how many are timed (default: 28)")
    options = arguments.parse_args()
    keep_compiled()
    sizes, device = MODELS[options.model](), jax.devices()[0]
    side_px, dtype = options.size or sizes.side_px, resolve_dtype(options.dtype, device)
    inputs = _inputs(sizes, side_px, dtype)
    kinds = list(dict.fromkeys(("full", *options.weights)))  # all others are compared with it
    full = np.zeros(0)
    figures = []
    for kind in kinds:
        values, velocity = _measured(sizes.transformer, dtype, kind, inputs, options.steps)
        if kind == "full":
            full = velocity
        else:
            off = 100 * float(np.linalg.norm(velocity - full) / np.linalg.norm(full))
            values |= {"PSNR dB": psnr(full, velocity), "off by %": off}
        print(kind, json.dumps(values), file=sys.stderr, flush=True)  # all there is, should the time run out
        judged = options.model == "flux-dev" and side_px == 1024 and any(card in device.device_kind for card in CARDS)
        bar = BARS.get(kind) if judged and options.steps == 28 else None
        figures.append(Figure(kind, values, "all steps s", bar, below=False))
    title = f"{options.model}, {side_px}x{side_px}, {dtype.name}, {options.steps} steps on {device.device_kind}"
    return report(title, figures, as_json=options.json)


def _inputs(sizes: Any, side_px: int, dtype: jnp.dtype) -> Inputs:
    config = sizes.transformer
    rows, columns = token_grid(side_px, side_px, sizes.vae.downsampling)
    ids = np.concatenate([text_ids(sizes.text_tokens), image_ids(rows, columns)])
    shapes = {
        (1, rows, columns, config.in_channels): jnp.float32,
        (1, sizes.text_tokens, config.joint_attention_dim): dtype,
        (1, config.pooled_projection_dim): dtype,
    }
    drawn = [jax.random.normal(jax.random.key(place), *its) for place, its in enumerate(shapes.items())]
    rope = rope_table(ids, config.axes_dims_rope, config.theta)
    inputs: Inputs = jax.device_put(Inputs(*drawn, rope), jax.devices()[0])
    return inputs


def _measured(
    config: Any, dtype: jnp.dtype, kind: WeightKind, inputs: Inputs, steps: int
) -> tuple[dict[str, float], np.ndarray]:
    """Figures, and the velocity of the first step."""
    graphdef, state = random_network(config, dtype, on_device(jax.devices()[0]), kind)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    sigmas = np.linspace(1, 1 / steps, steps, dtype=np.float32)
    rows = jax.block_until_ready(compiled.modulations(graphdef, state, inputs.pooled, sigmas, GUIDANCE))

    def velocity(latents: jax.Array, row: int) -> jax.Array:
        return compiled.velocity(graphdef, state, latents, rows, np.int32(row), inputs.text, inputs.rope)

    moved = jax.jit(lambda latents, velocity: latents - velocity / steps)

    started_s = time.perf_counter()
    given = (inputs.latents, rows, np.int32(0), inputs.text, inputs.rope)
    for program in compiled.lowered(compiled.velocity, graphdef, state, *given):
        program.compile()
    compile_s = time.perf_counter() - started_s
    first = np.asarray(velocity(inputs.latents, 0))
    jax.block_until_ready(moved(inputs.latents, velocity(inputs.latents, 0)))
    for row in range(steps):
        near(inputs.latents, np.int32(row))  # as while a picture is painted: no number is sent in between
    latents = inputs.latents
    started_s = time.perf_counter()
    for row in range(steps):
        latents = moved(latents, velocity(latents, row))
    jax.block_until_ready(latents)
    all_s = time.perf_counter() - started_s
    for leaf in jax.tree.leaves(state):
        leaf.delete()
    figures = {"step ms": 1e3 * all_s / steps, "all steps s": all_s, "GB": size / 1e9, "compile s": compile_s}
    return figures, first


if __name__ == "__main__":
    sys.exit(main())
