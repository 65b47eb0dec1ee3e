"""What lies where while a picture is painted, and what that takes of the memory: known before any weight is read.

Weights are counted from the configs. What a program needs beside them XLA itself says, which compiles it for that, from
shapes alone. Knows nothing of what is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from flux_engine.configs import Component, TransformerConfig, VAEConfig
from flux_engine.errors import NotEnoughMemory, RequestError
from flux_engine.host_memory import memory_bytes, process_bytes, sized
from flux_engine.programs import Configs, Picture, abstract, programs
from flux_engine.request import WeightKind
from flux_engine.residency import ENCODERS, Residency
from flux_engine.sharding import Places
from flux_engine.weights.placing import HOST, part_bytes

STAGES = ("prompt", "steps", "decoding")
SLACK = 1.05  # a margin: on an H100 17.09 GiB were planned for the steps, and 17.03 taken
ROOMY = 20  # times weights and the widest activations: at least four times what programs take, in a test
# What a process on a CPU takes beside weights and what XLA counts. For its first picture: libraries, compiled code, and
# memory that is not given back; in every program: what its kernels pack their operands into. These figures bring the
# plans of `benchmarks.planned_memory` to what was measured.
FIRST_PICTURE_BYTES = 200_000_000
PACKED = 0.4  # of what XLA counts
ENDLESS = 2**62  # bytes, where nothing tells
# From the fastest to the smallest. On the host, text encoders cost a new prompt 0.2 s on an H100, modulations a run
# 0.1 s, and blocks each step 0.4 s; what is on the disk costs a new prompt as long as it takes to read.
RESIDENCIES = (
    Residency(encoders="device"),
    Residency(encoders="host"),
    Residency(encoders="host", modulations="host"),
    Residency(encoders="disk"),
    Residency(encoders="disk", modulations="host"),
    Residency(encoders="host", modulations="host", blocks="host"),
    Residency(encoders="disk", modulations="host", blocks="host"),
    Residency(encoders="alone"),
)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a picture's way.

    Attributes:
        name: one of STAGES.
        networks: bytes of the weights that are on the device meanwhile, by network.
        working_bytes: what its programs need beside weights: inputs, results, and all in between at its peak.
    """

    name: str
    networks: Mapping[Component, int]
    working_bytes: int

    @property
    def peak_bytes(self) -> int:
        return sum(self.networks.values()) + self.working_bytes


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What may be used, in bytes; None where nothing tells.

    Attributes:
        device: of the device's own memory.
        host: of the machine's; 0 where the device has no other.
        program: of the device's, what the program itself takes of it; 0 where it is the machine's that it takes.
    """

    device: int | None
    host: int | None
    program: int = 0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A picture's stages in their order, and where weights lie meanwhile.

    Attributes:
        picture: what is planned.
        places: where; bytes are of each device.
        residency: what is on the device, and what waits where.
        stages: what is on the device.
        waiting: bytes of the weights in the machine's memory, by network; each of its devices has its own.
        free: what may be used.
    """

    picture: Picture
    places: Places
    residency: Residency
    stages: tuple[Stage, ...]
    waiting: Mapping[Component, int]
    free: Memory

    def peak_bytes(self, stage: Stage) -> int:
        """What a stage takes of the device; of a CPU, with the program itself and what XLA does not count."""
        beside = self.free.program and self.free.program + int(PACKED * stage.working_bytes)
        return stage.peak_bytes + beside

    def fits(self, stage: Stage) -> bool:
        """Whether that is no more than is free."""
        return self.free.device is None or self.peak_bytes(stage) * SLACK <= self.free.device

    @property
    def fits_all(self) -> bool:
        """Whether all stages do, and what waits has room on the host."""
        waits = sum(self.waiting.values())
        return all(map(self.fits, self.stages)) and (self.free.host is None or waits <= self.free.host)


def plan(configs: Configs, picture: Picture, *, places: Places | None = None, free: Memory | None = None) -> Plan:
    """The fastest way to paint a picture that fits into the memory; if none does, the last of RESIDENCIES.

    Args:
        configs: of all four networks.
        picture: size, batch and type.
        places: by default one device, JAX's first; of several, what each of them takes is planned.
        free: by default what is free now.

    Raises:
        RequestError: a size lies between tokens.
    """
    places = places or Places.of(None)
    free = free or free_memory(places)
    ways = [way for way in RESIDENCIES if free.host != 0 or not way.uses_host]
    for residency in ways:
        if residency is not ways[-1] and not weights_fit(configs, picture, residency, places, free):
            continue  # no program need be compiled to know it
        found = with_residency(configs, picture, residency, places, free)
        if found.fits_all:
            break
    return found


def can_fit(configs: Configs, picture: Picture, places: Places, free: Memory) -> bool:
    """Whether there is a way to paint a picture."""
    if not any(weights_fit(configs, picture, way, places, free) for way in RESIDENCIES):
        return False
    try:
        return plan(configs, picture, places=places, free=free).fits_all
    except RequestError:  # it cannot be dealt out to the devices
        return False


def with_residency(configs: Configs, picture: Picture, residency: Residency, places: Places, free: Memory) -> Plan:
    """The same picture with weights where `residency` says."""
    stages, waiting = _stages(tuple(configs.items()), picture, residency, places)
    return Plan(
        picture=picture,
        places=places,
        residency=residency,
        stages=stages,
        waiting=waiting,
        free=free,
    )


def is_roomy(configs: Configs, picture: Picture, places: Places, free: Memory) -> bool:
    """Whether all fits by far, which needs no program to be compiled: so it is with small models and small pictures."""
    transformer, vae = configs["transformer"], configs["vae"]
    assert isinstance(transformer, TransformerConfig) and isinstance(vae, VAEConfig)
    weights = sum(
        _bytes(config, picture.dtype, picture.weights, RESIDENCIES[0], places)[0] for config in configs.values()
    )
    pixels = picture.width * picture.height
    tokens = picture.batch_size * (pixels // vae.downsampling**2 + picture.text_tokens)
    numbers = tokens * (transformer.hidden_dim + transformer.mlp_dim) + pixels * max(vae.block_out_channels)
    return free.device is not None and ROOMY * (weights + 4 * numbers) < free.device


def check(found: Plan, configs: Configs, places: Places) -> None:
    """Refuse a picture that does not fit.

    Raises:
        NotEnoughMemory: with a kind of weights or a size that would fit, if there is one.
    """
    if found.fits_all:
        return
    stage = max(found.stages, key=found.peak_bytes)
    picture = found.picture
    free = found.free.device or 0
    raise NotEnoughMemory(
        f"{_named(picture)} needs {sized(int(found.peak_bytes(stage) * SLACK))} of {places} in the stage "
        f"'{stage.name}'; {sized(free)} are free.",
        hint=next(
            (
                f"{_named(smaller)} would fit."
                for smaller in _smaller(picture, places.pictures_at_once)
                if can_fit(configs, smaller, places, found.free)
            ),
            "No smaller picture would fit either: free memory, or use a smaller model.",
        ),
    )


def _named(picture: Picture) -> str:
    pictures = "A picture" if picture.batch_size == 1 else f"A batch of {picture.batch_size} pictures"
    weights = "" if picture.weights == "full" else f" with weights in {picture.weights}"
    return f"{pictures} of {picture.width}x{picture.height} in {picture.dtype.name}{weights}"


def _smaller(picture: Picture, least: int) -> Iterator[Picture]:
    """The same in the `least` batch, then with fewer bits a weight, then with shorter sides."""
    if picture.batch_size > least:
        yield replace(picture, batch_size=picture.batch_size // 2)
        yield replace(picture, batch_size=least)
    kinds: dict[str, tuple[WeightKind, ...]] = {"full": ("int8", "int4"), "int4": ()}
    for kind in kinds.get(picture.weights, ("int4",)):
        yield replace(picture, weights=kind, batch_size=least)
    for share in (0.75, 0.5, 0.25):
        width, height = (max(16, int(side * share) // 16 * 16) for side in (picture.width, picture.height))
        yield replace(picture, width=width, height=height, batch_size=least)


@lru_cache(maxsize=64)
def _stages(
    configs: tuple[tuple[Component, Any], ...], picture: Picture, residency: Residency, places: Places
) -> tuple[tuple[Stage, ...], Mapping[Component, int]]:
    sizes = {name: _bytes(config, picture.dtype, picture.weights, residency, places) for name, config in configs}
    there = {name: set(sizes) for name in STAGES}
    if not residency.encoders_stay:
        there |= {name: set(sizes) - set(ENCODERS) for name in STAGES[1:]}
    if residency.encoders == "alone":
        there["prompt"] = set(ENCODERS)
    elsewhere = residency if residency.encoders == "host" else replace(residency, encoders="device")
    working = _working(configs, picture, elsewhere, places)
    stages = tuple(
        Stage(
            name=name,
            networks={component: size for component, (size, _) in sizes.items() if component in there[name]},
            working_bytes=working[name],
        )
        for name in STAGES
    )
    devices = len(places.devices)
    return stages, MappingProxyType({name: waits * devices for name, (_, waits) in sizes.items() if waits})


@lru_cache(maxsize=64)
def _working(
    configs: tuple[tuple[Component, Any], ...], picture: Picture, residency: Residency, places: Places
) -> Mapping[str, int]:
    """What each stage's programs need beside weights: the same, whether those stay on the device or are read again."""
    working = dict.fromkeys(STAGES, 0)
    for program in programs(dict(configs), picture, residency, places):
        working[program.stage] = max(working[program.stage], program.working_bytes())
        if program.stage == "steps":
            latents = program.arguments[0]
    working["decoding"] += part_bytes(latents)  # they stay while one after another is decoded
    return working


def weights_fit(configs: Configs, picture: Picture, residency: Residency, places: Places, free: Memory) -> bool:
    """Whether the steps' weights alone fit, which is known at once."""
    there = [name for name in configs if residency.encoders_stay or name not in ENCODERS]
    kept = (picture.dtype, picture.weights, residency, places)
    return free.device is None or sum(_bytes(configs[name], *kept)[0] for name in there) <= free.device


@lru_cache(maxsize=64)
def _bytes(config: Any, dtype: jnp.dtype, weights: WeightKind, residency: Residency, places: Places) -> tuple[int, int]:
    """What a network weighs on each device, and what of it waits on the host; to outline one takes 0.2 s."""
    picture = Picture(dtype=dtype, width=0, height=0, weights=weights)  # of which nothing else counts
    leaves = jax.tree.leaves(abstract(config, picture, residency, places)[1])
    sizes = [(part_bytes(leaf), leaf.sharding.memory_kind == HOST) for leaf in leaves]
    return sum(size for size, waits in sizes if not waits), sum(size for size, waits in sizes if waits)


def free_memory(places: Places, held: int = 0, waiting: int = 0) -> Memory:
    """What may be used, of each device if there are several.

    Included is what weights have that are there already, which are to be used again: `held` bytes of each device, and
    `waiting` of the machine's memory. Where the device's memory is the machine's, what the program itself has is, too.
    """
    used, total = memory_bytes()
    machine = None if used is None or total is None else total - used
    stats = [device.memory_stats() or {} for device in places.devices]
    if all("bytes_limit" in each for each in stats):
        left = min(each["bytes_limit"] - each.get("bytes_in_use", 0) for each in stats)
        return Memory(device=left + held, host=None if machine is None else machine + waiting)
    has = process_bytes()
    if machine is None or has is None:
        return Memory(device=None, host=0)
    program = max(has // len(stats) - held, 0)
    return Memory(device=machine // len(stats) + held + program, host=0, program=program + FIRST_PICTURE_BYTES)


def least_of_all(free: Memory) -> Memory:
    """What each of several processes has: they compute together, and must plan alike. All of them have to ask."""
    if jax.process_count() == 1:
        return free
    mine = [ENDLESS if size is None else size for size in (free.device, free.host)]
    # As bytes: JAX would make 32 bits of larger numbers.
    said = multihost_utils.process_allgather(np.array([*mine, -free.program]).view(np.uint8))
    device, host, program = (int(size) for size in np.asarray(said).view(np.int64).min(axis=0))
    known = [None if size == ENDLESS else size for size in (device, host)]
    return Memory(device=known[0], host=known[1], program=-program)
