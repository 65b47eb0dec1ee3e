"""What several networks share: a function of many tokens, some at a time, and linear maps of or into two parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flux_engine.models import layers
from flux_engine.models.layers import Linear, by_tokens
from flux_engine.models.quantised import quantise
from flux_engine.models.terms import Dense, Term
from flux_engine.models.transformer import SingleBlock, rope_table
from flux_engine.sampling.latents import text_ids
from tests.tiny import TRANSFORMERS, draw, relative_error, tiny_network

GOLDEN = Path(__file__).parent.parent / "golden" / "networks.npz"


@pytest.fixture(autouse=True)
def four_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MANY_TOKENS", 4)
    for some in ("SOME_TOKENS", "SOME_FLOAT32_TOKENS"):
        monkeypatch.setattr(layers, some, 3)


@pytest.mark.parametrize(("tokens", "at_once"), [(4, 4), (6, 3), (7, 3), (8, 2)])
def test_many_tokens_are_taken_some_at_a_time(tokens: int, at_once: int) -> None:
    seen = set()

    def function(x: jax.Array, y: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        seen.add(x.shape)
        return x + y[..., :1], {"wide": jnp.concatenate([x, y], axis=-1)}

    x = jnp.arange(2.0 * tokens * 3).reshape(2, tokens, 3)
    found = by_tokens(function, x, -x)
    assert seen == {(2, at_once, 3)}
    jax.tree.map(np.testing.assert_array_equal, found, function(x, -x))


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_a_transformer_gives_the_same_of_some_tokens_at_a_time(name: str) -> None:
    case = TRANSFORMERS[name]
    graphdef, state = nnx.split(tiny_network(case.config))
    velocity = jax.jit(lambda state, *arguments: nnx.merge(graphdef, state)(*arguments))(state, *case.arguments(name))
    with np.load(GOLDEN) as golden:
        assert relative_error(velocity, golden[f"{name}: velocity"]) < 1e-4


def linear(dtype: jnp.dtype) -> Linear:
    made = Linear(5, 7, rngs=nnx.Rngs(0), dtype=dtype, param_dtype=dtype)
    made.bias[...] = jnp.asarray(draw("a bias", (7,), -1, 1), dtype)
    return made


def with_a_term(dtype: jnp.dtype) -> Linear:
    made = linear(dtype)
    made.terms.append(Term(Dense(jnp.asarray(draw("a difference", (5, 4), -1, 1), dtype)), 2, 6, jnp.float32(0.5)))
    return made


def in_8_bits(dtype: jnp.dtype) -> Linear:
    made = linear(dtype)
    made.kernel = nnx.Param(quantise(made.kernel[...], "int8"))
    return made


@pytest.mark.parametrize("make", [linear, with_a_term, in_8_bits])
@pytest.mark.parametrize(("dtype", "error"), [(jnp.float32, 1e-6), (jnp.bfloat16, 1e-2)])
@pytest.mark.parametrize("tokens", [2, 3])
def test_a_linear_map_of_what_goes_through_gelu_is_the_map_of_it_all(
    make: Callable[[jnp.dtype], Linear], dtype: jnp.dtype, error: float, tokens: int
) -> None:
    whole, x = make(dtype), jnp.asarray(draw("tokens", (2, tokens, 5), -1, 1), dtype)
    bent = jnp.concatenate([x[..., :2], nnx.gelu(x[..., 2:])], axis=-1)
    for found, expected in (
        (whole.after_gelu(x[..., 2:], x[..., :2]), whole(bent)),
        (whole.after_gelu(x), whole(nnx.gelu(x))),
    ):
        assert found.dtype == dtype
        assert relative_error(np.float32(found), np.float32(expected)) < error


@pytest.mark.parametrize(("dtype", "error"), [(jnp.float32, 1e-6), (jnp.bfloat16, 1e-2)])
def test_parts_of_a_linear_map_beside_each_other_are_the_map(dtype: jnp.dtype, error: float) -> None:
    whole, x = linear(dtype), jnp.asarray(draw("tokens", (2, 3, 5), -1, 1), dtype)
    first, others = whole.part(0, 3)(x), whole.part(3)(x)
    assert (first.shape, others.shape, first.dtype) == ((2, 3, 3), (2, 3, 4), dtype)
    found = jnp.concatenate([first, others], axis=-1)
    assert relative_error(np.float32(found), np.float32(whole(x))) < error


def products(function: Callable[..., Any], *arguments: jax.Array) -> int:
    return str(jax.make_jaxpr(function)(*arguments)).count("dot_general")


def test_some_tokens_are_mapped_by_parts_on_a_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, few, some = linear(jnp.float32), jnp.ones((1, 2, 5)), jnp.ones((1, 3, 5))

    def both(x: jax.Array) -> tuple[bool, int]:
        return whole.takes_parts(x), products(whole.after_gelu, x[..., 2:], x[..., :2])

    assert (both(few), both(some)) == ((False, 1), (True, 2))
    assert not any(make(jnp.float32).takes_parts(some) for make in (with_a_term, in_8_bits))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert both(some) == (False, 1)


def test_a_cpu_bends_the_matrices_that_its_products_give(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks: list[int] = []
    monkeypatch.setattr(nnx, "gelu", lambda x: ranks.append(x.ndim) or x)
    whole, x = linear(jnp.float32), jnp.ones((1, 3, 5))
    assert whole.after_gelu(x).shape == (1, 3, 7)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert whole.after_gelu(x).shape == (1, 3, 7)
    assert ranks == [2, 3]


def test_of_tokens_that_only_are_attended_to_the_mlp_is_not_computed() -> None:
    config, dtype = next(iter(TRANSFORMERS.values())).config, jnp.dtype(jnp.float32)
    block = SingleBlock(config, nnx.Rngs(0), {"dtype": dtype, "param_dtype": dtype})
    D = config.hidden_dim
    x, by = jnp.asarray(draw("tokens", (1, 4, D), -1, 1)), jnp.asarray(draw("modulations", (1, 3 * D), -1, 1))
    rope = rope_table(text_ids(4), config.axes_dims_rope, config.theta)
    assert relative_error(block(x, by, rope, start=1), block(x, by, rope)[:, 1:]) < 1e-5
    program = str(jax.make_jaxpr(lambda x: block(x, by, rope, start=1))(x))
    assert f"f32[3,{config.mlp_dim}]" in program and f"f32[4,{config.mlp_dim}]" not in program
