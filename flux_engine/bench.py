"""How fast the networks are on this machine, and what memory they take: random weights, real sizes, real programs.

It runs the very programs that paint pictures. Knows no checkpoint, no prompt and no screen.
"""

from __future__ import annotations

import math
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flux_engine import compiled
from flux_engine.bench_sizes import MODELS
from flux_engine.bench_weights import random_network
from flux_engine.costs import clip_flops, decoder_flops, modulation_flops, t5_flops, transformer_flops
from flux_engine.models.transformer import Modulations, rope_table
from flux_engine.precision import resolve_dtype
from flux_engine.prompt_velocity import SIGMAS_AT_ONCE
from flux_engine.request import DType, WeightKind
from flux_engine.residency import Residency
from flux_engine.sampling.denoiser import Denoiser
from flux_engine.sampling.integrators import Euler
from flux_engine.sampling.latents import image_ids, text_ids, token_grid, unpack
from flux_engine.sampling.timers import LinearTimer
from flux_engine.sharding import Places
from flux_engine.weights.checkpoint import stored_shapes
from flux_engine.weights.placing import on_host, put
from flux_engine.where import MeshSizes

ROUNDS = 3  # of encoding and decoding; the median counts

# Dense products of bfloat16 a second, by a word in the device's name, the first that is there; makers' figures without
# sparsity. JAX calls the TPU v5p "TPU v5", too, and the v5e "TPU v5 lite".
PEAKS: Mapping[str, float] = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200 NVL": 835e12,
    "H200": 989e12,
    "A100": 312e12,
    "RTX 4090": 165e12,
    "L20": 119.5e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v6": 918e12,
}


def peak_of(device_kind: str) -> float | None:
    """Of a device that JAX calls so; None where that is not known."""
    return next((peak for word, peak in PEAKS.items() if word in device_kind), None)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was found for one model, type and size.

    Attributes:
        device, mesh, versions: where, how it was shared, and with what.
        parameters: of all four networks.
        waiting: of "encoders", "modulations" and "blocks", what the machine's memory held.
        compile_s: to trace and compile each stage's program, or to find it in the cache of compiled programs.
        seconds, flops: medians (of steps in a row the mean), and operations, by the same stages; modulations are those
            of up to 32 steps, a step is the rest of the transformer, decoding is of the whole batch.
        weights, weight_bytes: what the transformer is kept in, and its size in memory.
        device_flops_per_s: what all devices can do in bfloat16; None where that is not known, or in another type.
        peak_bytes: of device memory, the fullest one's, or of the process on a CPU, since the process began.
        velocity: float32 [B, rows, columns, C], what the transformer gave for the same noise, text and time as ever.
        psnr_db: how near that is to what full weights give; None where nobody has compared.
    """

    model: str
    dtype: str
    weights: str
    width: int
    height: int
    batch_size: int
    num_steps: int
    device: str
    mesh: str | None
    waiting: tuple[str, ...]
    versions: dict[str, str]
    parameters: int
    compile_s: dict[str, float]
    seconds: dict[str, float]
    flops: dict[str, int]
    device_flops_per_s: float | None
    weight_bytes: int
    peak_bytes: int
    velocity: np.ndarray = field(repr=False, compare=False)
    psnr_db: float | None = None

    @property
    def picture_s(self) -> float:
        """A whole batch, compiled: encoding, all steps, decoding."""
        return self.denoising_s + sum(self.seconds[stage] for stage in ("CLIP", "T5", "decoding"))

    @property
    def denoising_s(self) -> float:
        """All steps of a picture, and the modulations for them."""
        rounds = math.ceil(self.num_steps / SIGMAS_AT_ONCE)
        return rounds * self.seconds["modulations"] + self.num_steps * self.seconds["step"]

    def flops_per_s(self, stage: str) -> float:
        """Operations a second."""
        return self.flops[stage] / self.seconds[stage]


def measure(
    model: str,
    *,
    dtype: DType = "auto",
    weights: WeightKind = "full",
    width: int | None = None,
    height: int | None = None,
    num_steps: int = 4,
    batch_size: int = 1,
    residency: Residency | None = None,
    mesh: MeshSizes | None = None,
    watch: Callable[[str], None] = lambda what: None,
) -> Measured:
    """Run all stages of a picture with random weights, one network in memory after the other, as for a picture.

    Args:
        model: a name in `bench_sizes.MODELS`.
        dtype, weights: as in a request.
        width, height: pixels, multiples of 16; by default the model's own.
        num_steps: steps to time, and the length of the picture.
        batch_size: pictures at once.
        residency: what waits in the host's memory; by default nothing.
        mesh: devices that share the work; by default one does it.
        watch: told which stage begins.

    Raises:
        RequestError: a size lies between tokens, there are not as many devices, or they cannot share the pictures.
    """
    sizes, places = MODELS[model](), Places.of(mesh)
    width, height = width or sizes.side_px, height or sizes.side_px
    residency, kind = residency or Residency(), resolve_dtype(dtype, places.device)
    rows, columns = token_grid(height, width, sizes.vae.downsampling)
    there, whole = places.latents(batch_size, rows), places.whole
    stages = _Stages(kind, weights, places, residency, watch)
    with jax.default_device(places.device):
        clip_ids, t5_ids = (
            np.zeros((1, length), np.int32) for length in (sizes.clip.max_position_embeddings, sizes.text_tokens)
        )
        with stages.network(sizes.clip) as run:
            pooled = put(run("CLIP", compiled.encode_text, put(clip_ids, whole)), whole)
        with stages.network(sizes.t5) as run:
            text = run("T5", compiled.encode_text, put(t5_ids, whole))
        # Not what T5 gave: with random weights its attention is so sharp that a last bit changes all of it.
        text = put(jax.random.normal(jax.random.key(1), text.shape, text.dtype), whole)
        latents = jax.random.normal(jax.random.key(0), (batch_size, rows, columns, sizes.transformer.in_channels))
        ids = np.concatenate([text_ids(sizes.text_tokens), image_ids(rows, columns)])
        rope = rope_table(ids, sizes.transformer.axes_dims_rope, sizes.transformer.theta)
        sigmas = np.linspace(1, 1 / SIGMAS_AT_ONCE, SIGMAS_AT_ONCE, dtype=np.float32)
        with stages.network(sizes.transformer) as run:
            by = run("modulations", compiled.modulations, pooled, sigmas, np.float32(3.5))
            by = Modulations(*(put(part, whole) for part in by))
            step = (put(latents, there), by, np.int32(0), text, tuple(put(table, whole) for table in rope))
            velocity = run("step", compiled.velocity, *step, rounds=num_steps, in_a_row=True)
        with stages.network(sizes.vae) as run:
            at_once = places.pictures_at_once
            run("decoding", compiled.decode_latents, put(unpack(velocity[:at_once]), places.pictures(at_once)))
    stages.seconds["decoding"] *= batch_size / at_once
    flops = {
        "CLIP": clip_flops(sizes.clip),
        "T5": t5_flops(sizes.t5, sizes.text_tokens),
        "modulations": modulation_flops(sizes.transformer, SIGMAS_AT_ONCE),
        "step": transformer_flops(sizes.transformer, rows * columns, sizes.text_tokens, batch_size),
        "decoding": batch_size * decoder_flops(sizes.vae, height, width),
    }
    peak = peak_of(places.device.device_kind)
    return Measured(
        model=model,
        dtype=kind.name,
        weights=weights,
        width=width,
        height=height,
        batch_size=batch_size,
        num_steps=num_steps,
        device=str(places),
        mesh=None if mesh is None else str(mesh),
        waiting=tuple(what for what, where in asdict(residency).items() if where == "host"),
        versions={name: version(name) for name in ("jax", "jaxlib", "flax")},
        parameters=stages.parameters,
        compile_s=stages.compile_s,
        seconds=stages.seconds,
        flops=flops,
        device_flops_per_s=peak * places.count if peak and kind == jnp.bfloat16 else None,
        weight_bytes=stages.weight_bytes["transformer"],
        peak_bytes=max(map(_peak_bytes, places.devices)),
        velocity=on_host(velocity),
    )


class _Stages:
    """Runs one network's programs after another, and keeps what is found."""

    def __init__(
        self,
        dtype: jnp.dtype,
        weights: WeightKind,
        places: Places,
        residency: Residency,
        watch: Callable[[str], None],
    ) -> None:
        self._dtype, self._weights, self._places, self._residency = dtype, weights, places, residency
        self._watch = watch
        self.parameters = 0
        self.weight_bytes: dict[str, int] = {}
        self.compile_s: dict[str, float] = {}
        self.seconds: dict[str, float] = {}

    @contextmanager
    def network(self, config: Any) -> Iterator[Callable[..., Any]]:
        """Runs programs of a network, which is freed when the block ends; gives what each gives."""
        placement = self._residency.placement(config.component, self._places.weights(config.component))
        graphdef, state = random_network(config, self._dtype, placement, self._weights)
        weights = jax.tree.leaves(state)
        self.parameters += sum(map(math.prod, stored_shapes(config.component, config).values()))
        self.weight_bytes[config.component] = sum(leaf.nbytes for leaf in weights)

        def run(name: str, program: Any, *arguments: Any, rounds: int = ROUNDS, in_a_row: bool = False) -> Any:
            self._watch(name)
            started = time.perf_counter()
            for lowered in compiled.lowered(program, graphdef, state, *arguments):
                lowered.compile()
            self.compile_s[name] = time.perf_counter() - started
            result = jax.block_until_ready(program(graphdef, state, *arguments))
            if in_a_row:
                self.seconds[name] = _seconds_of_a_step(program, rounds, graphdef, state, *arguments)
            else:
                self.seconds[name] = statistics.median(
                    _seconds(program, graphdef, state, *arguments) for _ in range(rounds)
                )
            return result

        yield run
        for leaf in weights:
            leaf.delete()


def _seconds(program: Any, *arguments: Any) -> float:
    started = time.perf_counter()
    jax.block_until_ready(program(*arguments))
    return time.perf_counter() - started


def _seconds_of_a_step(program: Any, steps: int, graphdef: Any, state: Any, latents: jax.Array, *others: Any) -> float:
    """Of one of Euler's, where a device is told the next before it has done the last, as while a picture is painted."""

    def velocity(x: jax.Array, sigma: np.float32) -> jax.Array:
        result: jax.Array = program(graphdef, state, put(x, latents.sharding), *others)
        return result

    def paint(steps: int) -> None:
        denoiser = Denoiser(LinearTimer(steps), Euler())
        jax.block_until_ready([state.latents for state in denoiser.run(velocity, denoiser.start(latents))])

    paint(1)
    started = time.perf_counter()
    paint(steps)
    return (time.perf_counter() - started) / steps


def _peak_bytes(device: jax.Device) -> int:
    stats = device.memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"]
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
