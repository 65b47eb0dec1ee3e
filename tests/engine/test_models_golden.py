"""The four networks against the numbers of diffusers and transformers, and what else holds of them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flux_engine.configs import NetworkConfig
from flux_engine.models.transformer import rope_table, rotate, timestep_embedding
from tests.tiny import (
    CLIPS,
    T5S,
    TRANSFORMERS,
    VAES,
    abstract_network,
    jitted,
    relative_error,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "networks.npz"
GUIDED, UNGUIDED = list(TRANSFORMERS)[:2]
CLIP, T5, VAE = next(iter(CLIPS)), next(iter(T5S)), next(iter(VAES))
TAU = Decimal("6.28318530717958647692528676655900576839433879875021164194989")


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformer(golden: dict[str, np.ndarray], name: str) -> None:
    case = TRANSFORMERS[name]
    velocity = jitted(case.config)(*case.arguments(name))
    assert velocity.dtype == jnp.float32
    assert relative_error(velocity, golden[f"{name}: velocity"]) < 1e-4


@pytest.mark.parametrize("name", VAES)
def test_vae_encodes_and_decodes(golden: dict[str, np.ndarray], name: str) -> None:
    case = VAES[name]
    encoded, decoded = (
        jitted(case.config, "encode")(case.images(name)),
        jitted(case.config, "decode")(case.latents(name)),
    )
    assert relative_error(encoded, golden[f"{name}: encode"]) < 1e-4
    assert relative_error(decoded, golden[f"{name}: decode"]) < 1e-4


def test_vae_knows_how_sure_it_is(golden: dict[str, np.ndarray]) -> None:
    name, case = list(VAES.items())[-1]
    _, log_variance = jitted(case.config, "moments")(case.images(name))
    assert relative_error(log_variance, golden[f"{name}: log_variance"]) < 1e-4


@pytest.mark.parametrize("name", CLIPS)
def test_clip(golden: dict[str, np.ndarray], name: str) -> None:
    case = CLIPS[name]
    assert relative_error(jitted(case.config)(case.ids(name)), golden[f"{name}: pooled"]) < 1e-5


@pytest.mark.parametrize("name", T5S)
def test_t5(golden: dict[str, np.ndarray], name: str) -> None:
    case = T5S[name]
    hidden = jitted(case.config)(case.ids(name))
    assert relative_error(hidden, golden[f"{name}: hidden"]) < 2e-4


def test_a_model_with_a_guidance_embedding_wants_guidance() -> None:
    case = TRANSFORMERS[GUIDED]
    with pytest.raises(ValueError, match="guidance is None"):
        shape_of(case.config, *case.arguments(GUIDED)[:-1])


def test_a_model_without_one_ignores_it() -> None:
    case = TRANSFORMERS[UNGUIDED]
    _, _, pooled, timesteps, *_ = case.arguments(UNGUIDED)
    conditioning = jitted(case.config, "conditioning")
    guided = conditioning(pooled, timesteps, np.full(case.batch, 7.0, np.float32))
    np.testing.assert_array_equal(guided, conditioning(pooled, timesteps, None))


@pytest.mark.parametrize("argument", range(4), ids=["img", "txt", "pooled", "timesteps"])
def test_every_input_of_the_transformer_matters(argument: int) -> None:
    case = TRANSFORMERS[UNGUIDED]
    transformer, arguments = jitted(case.config), list(case.arguments(UNGUIDED))
    before = transformer(*arguments)
    arguments[argument] = arguments[argument] * 0.9
    assert relative_error(transformer(*arguments), before) > 1e-3


def test_pictures_of_a_batch_do_not_see_each_other() -> None:
    case = TRANSFORMERS[GUIDED]
    img, txt, pooled, timesteps, rope, guidance = case.arguments(GUIDED)
    transformer = jitted(case.config)
    alone = transformer(img[1:2], txt[1:2], pooled[1:2], timesteps[1:2], rope, guidance[1:2])
    together = transformer(img, txt, pooled, timesteps, rope, guidance)
    assert relative_error(alone, together[1:2]) < 1e-5


def test_the_transformer_computes_in_the_type_it_is_told() -> None:
    case = TRANSFORMERS[GUIDED]
    arguments = case.arguments(GUIDED)
    exact = jitted(case.config)(*arguments)
    rough = jitted(case.config, dtype=jnp.bfloat16)(*arguments)
    assert rough.dtype == jnp.bfloat16
    assert 1e-4 < relative_error(rough, exact) < 0.1


@pytest.mark.parametrize(
    ("name", "method", "argument"),
    [
        (CLIP, "__call__", "ids"),
        (T5, "__call__", "ids"),
        (VAE, "encode", "images"),
        (VAE, "decode", "latents"),
    ],
)
def test_the_other_networks_lose_little_in_bfloat16(name: str, method: str, argument: str) -> None:
    case: Any = {**CLIPS, **T5S, **VAES}[name]
    value = getattr(case, argument)(name)
    rough = jitted(case.config, method, jnp.bfloat16)(value)
    assert 1e-4 < relative_error(rough, jitted(case.config, method)(value)) < 0.05


def test_rope_is_float64_arithmetic_stored_in_float32() -> None:
    ids = np.stack([np.zeros(257), np.arange(257), np.arange(257)[::-1]], axis=1)
    cos, sin = rope_table(ids, (16, 56, 56), 10000.0)
    assert cos.dtype == sin.dtype == np.float32
    for axis, start, dim in ((1, 8, 56), (2, 36, 56)):
        for pair in (0, 1, 13, 27):
            with localcontext(prec=60):  # digits
                frequency = Decimal(10000) ** (Decimal(-2 * pair) / dim)
                exact = np.array([float(Decimal(int(position)) * frequency % TAU) for position in ids[:, axis]])
            np.testing.assert_allclose(cos[:, start + pair], np.cos(exact), rtol=0, atol=1e-7)
            np.testing.assert_allclose(sin[:, start + pair], np.sin(exact), rtol=0, atol=1e-7)


def test_queries_are_turned_in_float32_whatever_their_type() -> None:
    numbers = np.random.default_rng(0)
    x = jnp.asarray(numbers.normal(size=(1, 5, 2, 8)), jnp.bfloat16)
    rope = rope_table(np.stack([np.zeros(5), np.arange(5), np.arange(5)], axis=1), (0, 4, 4), 10000.0)
    turned = rotate(x, rope)
    assert turned.dtype == jnp.bfloat16
    np.testing.assert_array_equal(turned, rotate(x.astype(jnp.float32), rope).astype(jnp.bfloat16))


def test_times_are_embedded_in_float32_as_written_in_the_paper() -> None:
    t = np.array([0.0, 0.123456, 0.5, 1.0, 3.5], np.float32)  # the last is a guidance scale
    angles = 1000 * t.astype(np.float64)[:, None] * np.exp(-np.log(10000) * np.arange(128) / 128)
    embedded = timestep_embedding(t)
    assert embedded.dtype == jnp.float32
    # the angle reaches 3500, and float32 knows it to 1e-4
    np.testing.assert_allclose(embedded, np.concatenate([np.cos(angles), np.sin(angles)], axis=1), rtol=0, atol=5e-4)


@pytest.mark.parametrize(
    ("name", "depths"),
    [
        (
            GUIDED,
            [{"num_double_layers": 2, "num_single_layers": 3}, {"num_double_layers": 19, "num_single_layers": 38}],
        ),
        (CLIP, [{"num_hidden_layers": 2}, {"num_hidden_layers": 12}]),
        (T5, [{"num_layers": 2}, {"num_layers": 24}]),
    ],
    ids=["transformer", "clip", "t5"],
)
def test_the_program_does_not_grow_with_depth(name: str, depths: list[dict[str, int]]) -> None:
    case: Any = {**TRANSFORMERS, **CLIPS, **T5S}[name]
    shallow, deep = (replace(case, config=replace(case.config, **depth)) for depth in depths)
    assert program_lines(deep, name) == program_lines(shallow, name) > 100


def shape_of(config: NetworkConfig, *arguments: Any) -> tuple[int, ...]:
    graph, state = nnx.split(abstract_network(config))
    return jax.eval_shape(lambda state: nnx.merge(graph, state)(*arguments), state).shape


def program_lines(case: Any, name: str) -> int:
    """Lines of the program that is handed to the compiler."""
    graph, state = nnx.split(abstract_network(case.config))
    arguments = case.arguments(name) if hasattr(case, "arguments") else (case.ids(name),)
    lowered = jax.jit(lambda state, *arguments: nnx.merge(graph, state)(*arguments)).lower(state, *arguments)
    return len(lowered.as_text().splitlines())
