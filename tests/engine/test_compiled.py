"""How programs are compiled: on a CPU in another order than XLA's own, and inside a user's program as any function."""

from __future__ import annotations

import re
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
from tests.tiny import relative_error

SIZES = MODELS["demo"]()
CONFIGS = {"transformer": SIZES.transformer, "vae": SIZES.vae, "clip_text": SIZES.clip, "t5_text": SIZES.t5}
PICTURE = Picture(dtype=jnp.dtype(jnp.float32), width=64, height=96, text_tokens=32)
CPU = Places.of(None)


def doubled(**options: Any) -> Any:
    """A program that doubles an array."""
    return compiled._compiled(lambda graphdef, x: 2 * x, **options)


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
    assert relative_error(twice, 2 * alone) < 1e-5


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The options that programs are compiled with on a CPU, as they are asked for."""
    asked: list[dict[str, str]] = []
    known = compiled._known
    monkeypatch.setattr(compiled, "_known", lambda options: asked.append(options) or known(options))
    return asked


def test_options_of_a_cpu_are_for_no_other_device(monkeypatch: pytest.MonkeyPatch, asked: list[dict[str, str]]) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert doubled()(None, jnp.ones(3)).sum() == 6
    assert not asked


def test_half_precision_has_a_cpus_usual_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_known", lambda options: options)
    program = doubled(float32={"no_such_option": "1"})
    assert program(None, jnp.ones(3, jnp.bfloat16)).sum() == 6
    with pytest.raises(jax.errors.JaxRuntimeError, match="no_such_option"):
        program(None, jnp.ones(3))


def test_an_option_that_xla_does_not_know_is_left_out(asked: list[dict[str, str]]) -> None:
    unknown = compiled.OPTIONS | {"no_such_option": "1"}
    assert doubled(float32=unknown)(None, jnp.ones(3)).sum() == 6
    assert asked == [unknown, compiled.OPTIONS]


def test_xla_knows_the_options() -> None:
    assert all(compiled._known(options) == options for options in (compiled.OPTIONS, compiled.FLOAT32_OPTIONS))


def test_few_products_of_a_float32_step_are_ynnpacks() -> None:
    step = step_of(PICTURE)

    def ynnpacks_products(jitted: Any) -> int:
        program = jitted.lower(*step.network, *step.arguments).compile().as_text()
        ynnpacks = set(re.findall(r"ynn_fusion.*calls=(%[\w.]+)", program))
        return sum(part.count(" dot(") for part in program.split("\n\n") if part.split(" ")[0] in ynnpacks)

    ours, usual = (
        ynnpacks_products(jitted) for jitted in (compiled.whole_velocity, jax.jit(compiled._velocity, static_argnums=0))
    )
    assert ours < usual / 2  # those that a sum comes right after are
