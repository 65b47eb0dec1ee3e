"""The four networks against the numbers of diffusers and transformers, and what else holds of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flux_engine.configs import NetworkConfig
from tests.tiny import (
    CLIPS,
    T5S,
    TRANSFORMERS,
    VAES,
    abstract_network,
    jitted,
    relative_error,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")

GOLDEN = Path(__file__).parent.parent / "golden" / "networks.npz"
GUIDED, UNGUIDED = list(TRANSFORMERS)[:2]
CLIP, T5 = next(iter(CLIPS)), next(iter(T5S))


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
