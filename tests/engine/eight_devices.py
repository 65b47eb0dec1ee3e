"""A program of its own: a tiny model on meshes of eight emulated devices. What it finds goes to stdout as JSON."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import numpy as np
import pytest

from flux_engine import FluxModelLoader, planning, run_diffuse_generation
from flux_engine.errors import NotEnoughMemory, RequestError
from flux_engine.programs import Picture
from flux_engine.request import LoraUse
from flux_engine.residency import ENCODERS, Residency
from flux_engine.sharding import Places
from flux_engine.where import parse_mesh

SIZE = {"height": 64, "width": 48}
BATCH = 2


def main(checkpoint: Path, lora: str, shares: list[str], pictures: list[str]) -> None:
    jax.config.update("jax_disable_most_optimizations", True)  # they cost more than they save in one run

    def loader(way: str) -> FluxModelLoader:
        mesh, _, weights = way.partition("+")
        sizes = parse_mesh(mesh) if mesh else None
        kind: Any = weights or "full"
        made = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32", mesh=sizes, weights=kind)
        made.set_loras([LoraUse(file=lora)])
        return made

    def paint(made: FluxModelLoader) -> tuple[jax.Array, jax.Array]:
        network = made.prepare_conditioned_network("a hill", **SIZE)
        latents = run_diffuse_generation(
            conditioned_network=network, num_steps=2, seed=0, batch_size=BATCH, noise="torch", **SIZE
        )
        return latents, made.decode_latents(latents)

    found: dict[str, Any] = {}
    results: dict[str, list[np.ndarray]] = {}
    for weights in sorted({way.partition("+")[2] for way in shares}):
        alone = loader(f"+{weights}")
        results[weights] = [np.asarray(result) for result in paint(alone)]
        found[f"+{weights}"] = {"bytes": bytes_of(alone)}
    for way in shares:
        found[way] = {"bytes": bytes_of(loader(way))}
    for way in pictures:
        made = loader(way)
        together = paint(made)
        found[way] |= {
            "differences": [
                float(np.abs(np.asarray(one) - other).max() / np.abs(other).max())
                for one, other in zip(together, results[way.partition("+")[2]], strict=True)
            ],
            "latents": together[0].addressable_shards[0].data.nbytes / together[0].nbytes,
            "pictures": together[1].addressable_shards[0].data.nbytes / together[1].nbytes,
            "planned": planned(made, way.partition("+")[2] or "full"),
            "refused": refused(made),
            **nothing_compiled(made, way.partition("+")[2] or "full"),
        }
    print(json.dumps(found))


def bytes_of(made: FluxModelLoader) -> int:
    """What the fullest device holds of the transformer and its LoRA."""
    _, state = made.load("transformer")
    held: dict[jax.Device, int] = {}
    for leaf in jax.tree.leaves(state):
        for shard in leaf.addressable_shards:
            held[shard.device] = held.get(shard.device, 0) + shard.data.nbytes
    assert set(held) == set(made.places.devices)
    return max(held.values())


def planned(made: FluxModelLoader, weights: Any) -> int:
    """What the plan says that each device holds of the transformer."""
    text_tokens = made.t5_tokenizer.max_length
    picture = Picture(dtype=made.dtype, batch_size=BATCH, text_tokens=text_tokens, weights=weights, **SIZE)
    plan = planning.plan(made.configs, picture, places=made.places, free=planning.Memory(device=None, host=0))
    return plan.stages[1].networks["transformer"]


def nothing_compiled(made: FluxModelLoader, weights: Any) -> dict[str, Any]:
    """What plans say if programs need 100 bytes for each pixel."""

    def working(configs: Any, picture: Picture, residency: Residency, places: Places) -> dict[str, int]:
        places.latents(picture.batch_size, picture.height // 16)
        return dict.fromkeys(planning.STAGES, 100 * picture.batch_size * picture.height * picture.width)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(planning, "_working", working)
        planning._stages.cache_clear()
        found = {"too large": too_large(made), "waiting": waiting(made, weights)}
        planning._stages.cache_clear()
    return found


def too_large(made: FluxModelLoader) -> list[str]:
    """What is said to a batch that would fit with weights in int8, and to one for which nothing is small enough."""
    picture = Picture(dtype=made.dtype, batch_size=BATCH, text_tokens=made.t5_tokenizer.max_length, **SIZE)
    last = planning.RESIDENCIES[-1]

    def stages(picture: Picture) -> tuple[planning.Stage, ...]:
        free = planning.Memory(device=None, host=0)
        return planning.with_residency(made.configs, picture, last, made.places, free).stages

    def hint(picture: Picture, device: int) -> str:
        free = planning.Memory(device=device, host=0)
        found = planning.plan(made.configs, picture, places=made.places, free=free)
        with pytest.raises(NotEnoughMemory) as caught:
            planning.check(found, made.configs, made.places)
        return caught.value.hint

    enough = max(stage.peak_bytes for stage in stages(replace(picture, weights="int8")))
    smallest = replace(picture, weights="int4")
    weights = max(sum(stage.networks.values()) for stage in stages(smallest))
    return [hint(picture, int(enough * planning.SLACK) + 1), hint(smallest, weights)]


def waiting(made: FluxModelLoader, weights: Any) -> list[int]:
    """What the plan says that waits in the machine's memory, and what does."""
    residency = Residency(encoders="host")
    made.settle(residency)
    for encoder in ENCODERS:
        made.load(encoder)
    text_tokens = made.t5_tokenizer.max_length
    picture = Picture(dtype=made.dtype, batch_size=BATCH, text_tokens=text_tokens, weights=weights, **SIZE)
    free = planning.Memory(device=None, host=None)
    planned = planning.with_residency(made.configs, picture, residency, made.places, free)
    return [sum(planned.waiting.values()), made.host_bytes]


def refused(made: FluxModelLoader) -> str:
    try:
        made.check_shares(SIZE["height"], SIZE["width"], BATCH + 1)
    except RequestError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3].split(), sys.argv[4].split())
