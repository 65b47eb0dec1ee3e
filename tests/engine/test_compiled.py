"""How programs are compiled: on a CPU in another order than XLA's own, and inside a user's program as any function."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from flux_engine import compiled
from flux_engine.bench import random_network
from flux_engine.bench_sizes import MODELS
from flux_engine.programs import Picture, Program, programs
from flux_engine.residency import Residency
from flux_engine.sharding import Places
from flux_engine.weights.placing import on_device

SIZES = MODELS["demo"]()
CONFIGS = {"transformer": SIZES.transformer, "vae": SIZES.vae, "clip_text": SIZES.clip, "t5_text": SIZES.t5}
PICTURE = Picture(dtype=jnp.dtype(jnp.float32), width=64, height=96, text_tokens=32)
CPU = Places.of(None)


def step_of(picture: Picture) -> Program:
    (step,) = (it for it in programs(CONFIGS, picture, Residency(), CPU) if it.function.__name__ == "velocity")
    return step


def test_a_cpu_computes_one_thing_after_another_and_takes_less_memory_for_it() -> None:
    step = step_of(replace(PICTURE, width=256, height=256))
    ours, usual = (
        jitted.lower(*step.network, *step.arguments).compile().memory_analysis().temp_size_in_bytes
        for jitted in (compiled.whole_velocity, jax.jit(compiled._velocity, static_argnums=0))
    )
    assert ours < 0.9 * usual


def test_a_program_of_a_users_own_takes_steps_into_itself() -> None:
    graphdef, state = random_network(SIZES.transformer, PICTURE.dtype, on_device(CPU.device))
    step = step_of(PICTURE)
    latents, *others = jax.tree.map(lambda shape: jnp.ones(shape.shape, shape.dtype), step.arguments)
    alone = compiled.velocity(graphdef, state, latents, *others)
    twice = jax.jit(lambda latents: 2 * compiled.velocity(graphdef, state, latents, *others))(latents)
    assert jnp.allclose(twice, 2 * alone, atol=1e-5)


def test_options_of_a_cpu_are_for_no_other_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def doubled(graphdef: None, x: jax.Array) -> Any:
        return 2 * x

    monkeypatch.setattr(compiled, "OPTIONS", {"no_such_option": True})
    with pytest.raises(jax.errors.JaxRuntimeError, match="no_such_option"):
        compiled._compiled(doubled)(None, jnp.ones(3))
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert compiled._compiled(doubled)(None, jnp.ones(3)).sum() == 6
