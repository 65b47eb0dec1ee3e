"""What a plan says of memory is what XLA takes, and what the configs weigh."""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flux_engine import compiled
from flux_engine.bench import random_network
from flux_engine.bench_sizes import MODELS
from flux_engine.errors import RequestError
from flux_engine.planning import free_bytes, plan
from tests.engine.conftest import live_bytes

SIZES = MODELS["demo"]()
CONFIGS = {"transformer": SIZES.transformer, "vae": SIZES.vae, "clip_text": SIZES.clip, "t5_text": SIZES.t5}
FLOAT32 = jnp.dtype(jnp.float32)


@cache
def stages(**changes: object) -> dict[str, object]:
    request = {"dtype": "float32", "width": 64, "height": 96, "text_tokens": 32, **changes}
    return {stage.name: stage for stage in plan(CONFIGS, **request).stages}


@pytest.mark.usefixtures("no_garbage_collection")
def test_weights_are_planned_to_the_byte() -> None:
    planned = stages()["prompt"].networks
    for name, config in CONFIGS.items():
        before = live_bytes()
        network = random_network(config, FLOAT32)
        assert live_bytes() - before == planned[name]
        del network


def test_networks_come_and_go_as_the_engine_loads_them() -> None:
    planned = stages()
    assert list(planned) == ["prompt", "steps", "decoding"]
    assert set(planned["prompt"].networks) == set(CONFIGS)
    assert set(planned["steps"].networks) == set(planned["decoding"].networks) == {"transformer", "vae"}
    for stage in planned.values():
        assert stage.peak_bytes == sum(stage.networks.values()) + stage.working_bytes


def test_what_a_step_needs_beside_its_weights_is_what_xla_says_of_the_program_that_runs() -> None:
    graphdef, state = random_network(SIZES.transformer, FLOAT32)
    latents, text, pooled = jnp.zeros((2, 6, 4, 64)), jnp.zeros((1, 32, 128)), jnp.zeros((1, 128))
    rope = (jnp.zeros((32 + 24, 20)),) * 2
    arguments = (latents, np.float32(0.5), text, pooled, rope, np.float32(3.5))
    memory = compiled.velocity.lower(graphdef, state, *arguments).compile().memory_analysis()
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    total = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
    assert stages(batch_size=2)["steps"].working_bytes == total - weights


def test_half_the_precision_is_half_the_weights_and_larger_pictures_need_more() -> None:
    usual, halved, larger = stages(), stages(dtype="bfloat16"), stages(width=128, height=192)
    for name, size in usual["prompt"].networks.items():
        assert halved["prompt"].networks[name] * 2 == size
    assert larger["decoding"].working_bytes > 3.5 * usual["decoding"].working_bytes
    assert larger["steps"].working_bytes > usual["steps"].working_bytes
    assert larger["prompt"].working_bytes == usual["prompt"].working_bytes


def test_a_size_between_tokens_has_no_plan() -> None:
    with pytest.raises(RequestError, match="width is 65 pixels"):
        stages(width=65)


def test_a_cpu_has_what_the_machine_has_left() -> None:
    assert 1e8 < free_bytes(jax.devices()[0]) < 1e14
