"""What a step cache saves and what it costs: passes reused, time, PSNR beside the same picture without it.

The demo model paints a picture of each prompt at each budget; the medium model, whose weights are random, makes latents
of noise, which tell no more than how time follows the passes left out. Budgets take turns, picture by picture.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.figures import Figure, parser, report

BUDGETS = (0.04, 0.08, 0.12, 0.2)
PROMPTS = (
    "a lighthouse on a cliff at dusk, waves below",
    "snow over a pine forest at night",
    "a wooden house by a lake in the morning",
    "dunes at noon under a clear sky",
    "a sailing boat on the sea at sunset, rain",
    "mountains in fog at dawn",
    "a red barn on green hills, cloudy",
    "a village in the valley at night with stars",
)


@dataclass(frozen=True)
class Run:
    """One picture: its numbers, the range that PSNR is reckoned with, seconds of denoising, passes and those reused."""

    numbers: np.ndarray
    span: float
    seconds: float
    passes: int
    reused: int


Paint = Callable[[int, float, int], Run]
"""The picture of a number, within a budget, in so many steps."""


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--steps", type=int, default=28, metavar="N", help="of each picture (default: 28)")
    arguments.add_argument("--pictures", type=int, default=8, metavar="N", help="1 to 8 (default: 8)")
    arguments.add_argument("--model", choices=("demo", "medium"), default="demo", help="(default: demo)")
    arguments.add_argument("--side", type=int, default=128, metavar="PX", help="of each picture (default: 128)")
    arguments.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, metavar="B", help="beside 0")
    options = arguments.parse_args()
    paint = {"demo": _demo, "medium": _medium}[options.model](options.side)
    title = f"Step cache: {options.model}, {options.side}x{options.side}, {options.steps} steps of Euler, PSNR in dB"
    return report(
        title, _figures(paint, (0.0, *options.budgets), options.pictures, options.steps), as_json=options.json
    )


def _figures(paint: Paint, budgets: Sequence[float], pictures: int, steps: int) -> list[Figure]:
    for budget in budgets[:2]:
        paint(0, budget, 2)  # compiles
    runs: Mapping[float, list[Run]] = {budget: [] for budget in budgets}
    for number in range(pictures):
        for budget, done in runs.items():
            done.append(paint(number, budget, steps))
    return [_figure(f"budget {budget:g}", done, runs[0.0]) for budget, done in runs.items()]


def _figure(what: str, runs: Sequence[Run], plain: Sequence[Run]) -> Figure:
    seconds, before = (median(run.seconds for run in each) for each in (runs, plain))
    values = {
        "passes": runs[0].passes,
        "reused": float(np.mean([run.reused for run in runs])),
        "s": seconds,
        "speed-up": before / seconds,
    }
    squares = [
        float(np.mean((run.numbers - one.numbers) ** 2)) / run.span**2 for run, one in zip(runs, plain, strict=True)
    ]
    if all(squares):
        values |= {"PSNR p50": -10 * np.log10(median(squares)), "worst": -10 * np.log10(max(squares))}
    return Figure(what, values)


def _demo(side_px: int) -> Paint:
    from flux_engine import FluxModelLoader

    loader = FluxModelLoader()
    loader.encode_prompts(PROMPTS)

    def paint(number: int, budget: float, steps: int) -> Run:
        loader.release_transformer()  # and with it the modulations that are kept from the budget before
        network = loader.prepare_conditioned_network(PROMPTS[number], height=side_px, width=side_px, step_cache=budget)
        latents, seconds = _denoised(network, steps, number)
        image = np.asarray(loader.decode_latents(latents))
        return Run(image, 1.0, seconds, steps, network.reused())

    return paint


def _medium(side_px: int) -> Paint:
    import jax
    import jax.numpy as jnp

    from flux_engine.bench import random_network
    from flux_engine.bench_sizes import MODELS
    from flux_engine.encoding import EncodedPrompt
    from flux_engine.generation import FluxConditionedNetwork
    from flux_engine.precision import resolve_dtype
    from flux_engine.prompt_velocity import PromptVelocity
    from flux_engine.sharding import Places
    from flux_engine.weights.placing import on_device

    sizes, device = MODELS["medium"](), jax.devices()[0]
    dtype = resolve_dtype("auto", device)
    config = sizes.transformer
    network = random_network(config, dtype, on_device(device))

    class Networks:
        """One network that is always there."""

        def load(self, component: str) -> object:
            return network

        def recipe(self, component: str) -> tuple[()]:
            return ()

    def paint(number: int, budget: float, steps: int) -> Run:
        tokens, pooled = (jax.random.fold_in(jax.random.key(place), number) for place in (0, 1))
        text = EncodedPrompt(
            jax.random.normal(tokens, (1, sizes.text_tokens, config.joint_attention_dim), dtype),
            jax.random.normal(pooled, (1, config.pooled_projection_dim), dtype),
        )
        side = side_px // 16
        velocity = PromptVelocity(Networks(), config, text, 3.5, side, side, Places.of(device), step_cache=budget)
        field = FluxConditionedNetwork(
            network_fn=velocity,
            prepare=velocity.prepare,
            in_channels=config.in_channels,
            rows=side,
            columns=side,
            token_px=16,
            dtype=jnp.dtype(dtype),
            shifts_with_size=True,
        )
        latents, seconds = _denoised(field, steps, number)
        numbers = np.asarray(latents)
        return Run(numbers, float(np.ptp(numbers)), seconds, steps, velocity.reused())

    return paint


def _denoised(network: object, steps: int, seed: int) -> tuple[object, float]:
    """Latents, and the seconds that all steps took."""
    from flux_engine import denoising_states

    height, width = network.rows * network.token_px, network.columns * network.token_px
    states = denoising_states(conditioned_network=network, height=height, width=width, num_steps=steps, seed=seed)
    started_s = time.perf_counter()
    for state in states:
        latents = state.latents.block_until_ready()
    return latents, time.perf_counter() - started_s


if __name__ == "__main__":
    sys.exit(main())
