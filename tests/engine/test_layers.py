"""What several networks share: a function of many tokens, some at a time."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flux_engine.models import layers
from flux_engine.models.layers import by_tokens
from tests.tiny import TRANSFORMERS, relative_error, tiny_network

GOLDEN = Path(__file__).parent.parent / "golden" / "networks.npz"


@pytest.fixture(autouse=True)
def four_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MANY_TOKENS", 4)
    monkeypatch.setattr(layers, "SOME_TOKENS", 3)


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
