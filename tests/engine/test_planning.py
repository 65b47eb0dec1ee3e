"""What a plan says of memory is what XLA takes and what the configs weigh, and it is the fastest that fits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from flux_engine import Engine, GenerationRequest, compiled, planning
from flux_engine.bench import random_network
from flux_engine.bench_sizes import MODELS
from flux_engine.errors import NotEnoughMemory, RequestError
from flux_engine.planning import RESIDENCIES, Memory, Plan, check, free_memory, is_roomy, plan, with_residency
from flux_engine.programs import Picture, programs
from flux_engine.residency import Residency
from flux_engine.sharding import Places
from flux_engine.weights import placing
from flux_engine.weights.placing import HOST, on_device
from tests.engine.conftest import live_bytes

SIZES = MODELS["demo"]()
CONFIGS = {"transformer": SIZES.transformer, "vae": SIZES.vae, "clip_text": SIZES.clip, "t5_text": SIZES.t5}
PICTURE = Picture(dtype=jnp.dtype(jnp.float32), width=64, height=96, text_tokens=32)
CPU = Places.of(None)
ENDLESS = Memory(device=None, host=None)


def planned(picture: Picture = PICTURE, residency: Residency = RESIDENCIES[0], free: Memory = ENDLESS) -> Plan:
    return with_residency(CONFIGS, picture, residency, CPU, free)


def stages(*arguments: object) -> dict[str, planning.Stage]:
    return {stage.name: stage for stage in planned(*arguments).stages}  # type: ignore[arg-type]


@pytest.fixture
def weights_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No program is compiled to know what it needs."""
    monkeypatch.setattr(planning, "_working", lambda *arguments: dict.fromkeys(planning.STAGES, 0))
    planning._stages.cache_clear()
    yield
    planning._stages.cache_clear()


@pytest.mark.usefixtures("no_garbage_collection", "weights_alone")
@pytest.mark.parametrize("weights", ["full", "int4"])
@pytest.mark.parametrize("residency", [RESIDENCIES[0], Residency(encoders="host", modulations="host", blocks="host")])
def test_weights_are_planned_to_the_byte(residency: Residency, weights: Any) -> None:
    found = planned(replace(PICTURE, weights=weights), residency)
    for name, config in CONFIGS.items():
        before = live_bytes()
        place = residency.placement(name, on_device(CPU.device))
        _, state = random_network(config, PICTURE.dtype, place, weights)
        waiting = sum(leaf.nbytes for leaf in jax.tree.leaves(state) if leaf.sharding.memory_kind == HOST)
        assert found.waiting.get(name, 0) == waiting
        assert live_bytes() - before == found.stages[0].networks[name] + waiting
        del state


def test_text_encoders_leave_the_device_only_where_they_are_read_for_every_prompt() -> None:
    everything, steps = set(CONFIGS), {"transformer", "vae"}
    stay, leave, alone = (stages(PICTURE, Residency(encoders=way)) for way in ("device", "disk", "alone"))
    assert [set(stage.networks) for stage in stay.values()] == [everything] * 3
    assert [set(stage.networks) for stage in leave.values()] == [everything, steps, steps]
    assert [set(stage.networks) for stage in alone.values()] == [everything - steps, steps, steps]
    for stage in stay.values():
        assert stage.peak_bytes == sum(stage.networks.values()) + stage.working_bytes


def test_what_a_step_needs_beside_its_weights_is_what_xla_says_of_the_program_that_runs() -> None:
    batch = replace(PICTURE, batch_size=2)
    (step,) = (it for it in programs(CONFIGS, batch, RESIDENCIES[0], CPU) if it.function.__name__ == "velocity")
    graphdef, state = random_network(SIZES.transformer, PICTURE.dtype, on_device(CPU.device))
    arguments = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), step.arguments)
    memory = compiled.whole_velocity.lower(graphdef, state, *arguments).compile().memory_analysis()
    given = sum(array.nbytes for array in jax.tree.leaves(arguments))
    total = given + memory.temp_size_in_bytes + memory.output_size_in_bytes
    assert stages(batch)["steps"].working_bytes >= total == step.working_bytes()


def test_of_blocks_that_come_from_the_host_two_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "_platform", lambda devices: "gpu")

    def working_bytes(residency: Residency) -> int:
        every = programs(CONFIGS, PICTURE, residency, CPU)
        return next(it.working_bytes() for it in every if it.function.__name__ == "velocity")

    D, M = SIZES.transformer.hidden_dim, SIZES.transformer.mlp_dim
    double_block = 4 * (8 * D * D + 4 * D * M)
    assert working_bytes(Residency(blocks="host")) == working_bytes(Residency()) + 2 * double_block


def test_half_the_precision_is_half_the_weights_and_larger_pictures_need_more() -> None:
    usual, halved = stages(), stages(replace(PICTURE, dtype=jnp.dtype(jnp.bfloat16)))
    larger = stages(replace(PICTURE, width=128, height=192))
    for name, size in usual["prompt"].networks.items():
        assert halved["prompt"].networks[name] * 2 == size
    assert larger["decoding"].working_bytes > 3.5 * usual["decoding"].working_bytes
    assert larger["steps"].working_bytes > usual["steps"].working_bytes
    assert larger["prompt"].working_bytes == usual["prompt"].working_bytes


def test_less_memory_sends_more_to_the_host_and_the_dearest_to_send_goes_last() -> None:
    ways = [planned(residency=way) for way in RESIDENCIES]
    for free in sorted({stage.peak_bytes for way in ways for stage in way.stages}):
        budget = Memory(device=int(free * planning.SLACK) + 1, host=10**12)
        fitting = [way.residency for way in ways if replace(way, free=budget).fits_all]
        found = plan(CONFIGS, PICTURE, places=CPU, free=budget)
        assert found.residency == (fitting or [RESIDENCIES[-1]])[0]
        assert found.fits_all == bool(fitting)
    assert len({found.residency for found in ways}) == len(RESIDENCIES)
    assert not plan(CONFIGS, PICTURE, free=Memory(device=0, host=0)).waiting  # a CPU has no other memory


def test_a_size_between_tokens_has_no_plan() -> None:
    with pytest.raises(RequestError, match="width is 65 pixels"):
        plan(CONFIGS, replace(PICTURE, width=65))


def test_what_does_not_fit_is_refused_with_a_size_that_does() -> None:
    batch = replace(PICTURE, batch_size=8)
    enough = max(stage.peak_bytes for stage in stages(PICTURE, Residency(encoders="alone")).values())
    free = Memory(device=int(enough * planning.SLACK) + 1, host=0)
    found = plan(CONFIGS, batch, free=free)
    with pytest.raises(
        NotEnoughMemory, match=r"A batch of 8 pictures of 64x96 in float32 needs [\d.]+ MB of cpu"
    ) as caught:
        check(found, CONFIGS, CPU)
    assert caught.value.hint == "A picture of 64x96 in float32 would fit."
    in_few_bits = stages(replace(PICTURE, weights="int8"), Residency(encoders="alone")).values()
    less = Memory(device=int(max(stage.peak_bytes for stage in in_few_bits) * planning.SLACK) + 1, host=0)
    with pytest.raises(NotEnoughMemory) as caught:
        check(plan(CONFIGS, PICTURE, free=less), CONFIGS, CPU)
    assert caught.value.hint == "A picture of 64x96 in float32 with weights in int8 would fit."
    with pytest.raises(NotEnoughMemory) as caught:
        check(plan(CONFIGS, batch, free=Memory(device=1_000, host=0)), CONFIGS, CPU)
    assert caught.value.hint.startswith("No smaller picture would fit")


def test_what_is_roomy_fits() -> None:
    assert not is_roomy(CONFIGS, PICTURE, CPU, ENDLESS)
    free = 10**6
    while not is_roomy(CONFIGS, PICTURE, CPU, Memory(device=free, host=0)):
        free *= 2
    assert all(4 * stage.peak_bytes < free for stage in stages().values())


def test_the_engine_refuses_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "free_memory", lambda places, held, waiting: Memory(device=10**6, host=0))
    monkeypatch.setattr(planning, "can_fit", lambda *arguments: False)
    heard: list[object] = []
    with pytest.raises(NotEnoughMemory):
        for event in Engine().generate(GenerationRequest(prompt="fog", width=64, height=64), heard.append):
            heard.append(event)
    assert [getattr(event, "detail", event) for event in heard] == ["model", "memory plan"]


def test_a_cpu_has_what_the_machine_has_left_and_the_program_takes_some_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "memory_bytes", lambda: (10 * 10**9, 16 * 10**9))
    monkeypatch.setattr(planning, "process_bytes", lambda: 2 * 10**9)
    first = planning.FIRST_PICTURE_BYTES
    assert free_memory(CPU) == Memory(device=8 * 10**9, host=0, program=2 * 10**9 + first)
    assert free_memory(CPU, held=10**9) == Memory(device=8 * 10**9, host=0, program=10**9 + first)
    monkeypatch.undo()
    free = free_memory(CPU)
    assert free.device is not None and 1e8 < free.program < free.device < 1e14


def test_weights_that_are_there_already_are_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    device: Any = SimpleNamespace(memory_stats=lambda: {"bytes_limit": 100, "bytes_in_use": 70})
    card: Any = SimpleNamespace(devices=[device])
    monkeypatch.setattr(planning, "memory_bytes", lambda: (600, 1000))
    assert free_memory(card) == Memory(device=30, host=400)
    assert free_memory(card, held=50, waiting=250) == Memory(device=80, host=650)
    monkeypatch.setattr(planning, "memory_bytes", lambda: (None, None))
    assert free_memory(card, held=50, waiting=250) == Memory(device=80, host=None)


def test_the_stage_that_is_named_is_one_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "can_fit", lambda *arguments: False)
    prompt = planning.Stage(name="prompt", networks={"t5_text": 100}, working_bytes=0)
    steps = planning.Stage(name="steps", networks={"transformer": 60}, working_bytes=35)  # 14 more are packed
    found = Plan(
        picture=PICTURE,
        places=CPU,
        residency=RESIDENCIES[-1],
        stages=(prompt, steps),
        waiting={},
        free=Memory(device=110, host=0, program=1),
    )
    assert found.fits(prompt) and prompt.peak_bytes > steps.peak_bytes
    with pytest.raises(NotEnoughMemory, match="in the stage 'steps'"):
        check(found, CONFIGS, CPU)


def test_a_programs_own_memory_counts_in_every_stage() -> None:
    found = planned()
    stage = max(found.stages, key=lambda stage: stage.peak_bytes)
    alone = Memory(device=int(stage.peak_bytes * planning.SLACK) + 1, host=0)
    assert replace(found, free=alone).fits(stage)
    beside = replace(alone, program=1000)
    assert not replace(found, free=beside).fits(stage)
    peak = replace(found, free=beside).peak_bytes(stage)
    assert peak == stage.peak_bytes + 1000 + int(planning.PACKED * stage.working_bytes)
    assert replace(found, free=replace(beside, device=int(peak * planning.SLACK) + 1)).fits(stage)
