"""A network with LoRAs beside its weights, or in them, computes what one with changed weights does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flux_engine.models.apart import Apart
from flux_engine.models.quantised import quantise
from flux_engine.weights.lora_apply import Placed, at, attach, place
from flux_engine.weights.lora_fuse import fuse
from tests.hand_made_loras import Changes, changed_by_hand, dense, everywhere, kronecker, low_rank, of_kernel, of_vector
from tests.tiny import CLIPS, T5S, TRANSFORMERS, draw, relative_error, tiny_network

CASE = TRANSFORMERS["guided, batch of 3, 3x5 tokens"]
ARGUMENTS = CASE.arguments("loras")
D, M = CASE.config.hidden_dim, CASE.config.mlp_dim  # 32, 128
T = "transformer"
BOTH = ("beside", "fused")


@partial(jax.jit, static_argnums=0)
def compiled(graphdef: Any, state: Any, arguments: Any) -> jax.Array:
    return nnx.merge(graphdef, state)(*arguments)


def output(network: Any, arguments: Any = ARGUMENTS) -> np.ndarray:
    with jax.default_matmul_precision("highest"):
        return np.asarray(compiled(*nnx.split(network), arguments), np.float32)


def copied(network: Any) -> Any:
    return nnx.merge(nnx.graphdef(network), jax.tree.map(jnp.copy, nnx.state(network)), copy=True)


def with_loras(network: Any, loras: Sequence[tuple[Changes, float]], how: str = "beside") -> Any:
    """A copy that has them; the network itself stays as it is."""
    changed = copied(network)
    if how == "fused":
        fuse(changed, [(*changes, strength) for changes, strength in loras])
    else:
        attach(changed, [(place(changed, *changes), strength) for changes, strength in loras])
    return changed


@pytest.fixture(scope="module")
def transformer() -> Any:
    return tiny_network(CASE.config)


def holds(network: Any, loras: Sequence[tuple[Changes, float]], how: str, arguments: Any = ARGUMENTS) -> None:
    plain, got = output(network, arguments), output(with_loras(network, loras, how), arguments)
    assert relative_error(got, output(changed_by_hand(network, loras), arguments)) < 1e-5
    assert relative_error(got, plain) > 1e-3


Q, V = "double_blocks.1.attn.img_qkv", "single_blocks.1.linear1"
LENGTHS = draw("lengths", (1, D), 0.5, 1.5)
CHANGES: dict[str, Changes] = {
    "low rank, in one block": ([of_kernel(T, "double_blocks.1.img_mlp.fc1", low_rank("a", D, M, 4))], []),
    "low rank, outside the blocks": ([of_kernel(T, "final_layer.linear", low_rank("b", D, 64, 2))], []),
    "ranks that differ, the lower one first": (
        [of_kernel(T, f"single_blocks.{n}.linear2", low_rank(f"c{n}", D + M, D, 2 + 3 * n)) for n in range(2)],
        [],
    ),
    "ranks that differ, the higher one first": (
        [of_kernel(T, f"single_blocks.{n}.linear2", low_rank(f"d{n}", D + M, D, 5 - 3 * n)) for n in range(2)],
        [],
    ),
    "q, k and v on their own": ([of_kernel(T, Q, low_rank(f"e{n}", D, D, 3), n * D) for n in range(3)], []),
    "the end of a kernel": ([of_kernel(T, V, low_rank("f", D, M, 3), 3 * D)], []),
    "two changes of one kernel": ([of_kernel(T, Q, low_rank(f"g{n}", D, 3 * D, 2)) for n in range(2)], []),
    "Kronecker": ([of_kernel(T, Q, kronecker("h", (4, 6), (8, 16)))], []),
    "Kronecker with other factors in another block": (
        [
            of_kernel(T, "double_blocks.0.attn.img_qkv", kronecker("i", (4, 6), (8, 16))),
            of_kernel(T, Q, kronecker("j", (16, 3), (2, 32))),
        ],
        [],
    ),
    "a whole difference of a stretch": ([of_kernel(T, V, dense("k", D, D), D)], []),
    "several kinds in one kernel": (
        [of_kernel(T, Q, low_rank("l", D, D, 3), D), of_kernel(T, Q, dense("m", D, 3 * D))],
        [],
    ),
    "DoRA of outputs": ([of_kernel(T, Q, low_rank("n", D, D, 3), D, magnitude=LENGTHS)], []),
    "DoRA of inputs": ([of_kernel(T, Q, low_rank("o", D, D, 3), D, magnitude=LENGTHS.T)], []),
    "DoRA of both kinds in two blocks": (
        [
            of_kernel(T, "double_blocks.0.attn.img_qkv", low_rank("p", D, D, 3), magnitude=LENGTHS),
            of_kernel(T, Q, low_rank("q", D, D, 2), magnitude=LENGTHS.T),
        ],
        [],
    ),
    "DoRA of a Kronecker product": (
        [of_kernel(T, "img_in", kronecker("r", (8, 4), (8, 8)), magnitude=LENGTHS)],
        [],
    ),
    "DoRA of a whole difference": (
        [of_kernel(T, "single_blocks.0.linear2", dense("s", D + M, D), magnitude=LENGTHS)],
        [],
    ),
    "biases and scales, added": (
        [],
        [
            of_vector(T, "double_blocks.1.attn.img_qkv.bias", draw("t", (D,), -1, 1), D),
            of_vector(T, "final_layer.linear.bias", draw("u", (64,), -1, 1)),
            of_vector(T, "single_blocks.0.query_norm.scale", draw("v", (16,), -1, 1)),
        ],
    ),
    "scales in the place of others": (
        [],
        [of_vector(T, "double_blocks.0.attn.txt_key_norm.scale", draw("w", (16,), -1, 1), replaces=True)],
    ),
}


ALONE = ("low rank, in one block", "Kronecker", "DoRA of both kinds in two blocks")


@pytest.fixture(scope="module")
def placed(transformer: Any) -> dict[str, Placed]:
    return {name: place(transformer, *changes) for name, changes in CHANGES.items()}


@pytest.mark.parametrize("name", CHANGES)
def test_a_lora_is_a_change_of_the_weights(name: str, transformer: Any, placed: dict[str, Placed]) -> None:
    """The others are there, with a strength of 0, so that one program does for all."""
    changed = copied(transformer)
    attach(changed, [(lora, 0.8 if other == name else 0.0) for other, lora in placed.items()])
    got = output(changed)
    assert relative_error(got, output(changed_by_hand(transformer, [(CHANGES[name], 0.8)]))) < 1e-5
    assert relative_error(got, output(transformer)) > 1e-3


@pytest.mark.parametrize("name", ALONE)
def test_a_lora_needs_no_other_beside_it(name: str, transformer: Any) -> None:
    holds(transformer, [(CHANGES[name], 0.8)], "beside")


@pytest.mark.parametrize("name", CHANGES)
def test_a_fused_lora_is_a_change_of_the_weights(name: str, transformer: Any) -> None:
    holds(transformer, [(CHANGES[name], 0.8)], "fused")


@pytest.mark.parametrize("how", BOTH)
def test_several_loras_add_up_each_with_its_strength(how: str, transformer: Any) -> None:
    loras = [
        (CHANGES[name], strength) for name, strength in zip(CHANGES, np.linspace(-1, 1.5, len(CHANGES)), strict=True)
    ]
    holds(transformer, [*loras, (everywhere(transformer, "x"), -0.7)], how)


@pytest.mark.parametrize("how", BOTH)
def test_every_kernel_of_the_text_encoders_takes_one(how: str) -> None:
    clip, t5 = next(iter(CLIPS.values())), T5S["16 tokens, batch of 3"]
    for network, ids in ((tiny_network(clip.config), clip.ids("lora")), (tiny_network(t5.config), t5.ids("lora"))):
        holds(network, [(everywhere(network, "x"), 0.5), (everywhere(network, "y", rank=1), 1.0)], how, (ids,))


def test_at_strength_0_nothing_changes_at_all(transformer: Any) -> None:
    loras = [*((changes, 0.0) for changes in CHANGES.values()), (everywhere(transformer, "x"), 0.0)]
    plain = output(transformer)
    for how in BOTH:
        assert np.array_equal(output(with_loras(transformer, loras, how)), plain)


def test_another_strength_is_another_number_in_the_same_network(transformer: Any) -> None:
    """The same structure, shapes and arrays, so that nothing is compiled and nothing is read."""
    loras = [everywhere(transformer, "x"), CHANGES["biases and scales, added"], CHANGES["Kronecker"]]
    placed = [place(transformer, *changes) for changes in loras]
    networks = [nnx.merge(*nnx.split(transformer), copy=True) for _ in range(2)]
    attach(networks[0], [(lora, 1.0) for lora in placed])
    first = nnx.split(networks[0])
    arrays = jax.tree.leaves(first[1])
    attach(networks[1], list(zip(placed, (-0.5, 0.25, 2.0), strict=True)))
    graphdef, state = nnx.split(networks[1])

    assert graphdef == first[0] and hash(graphdef) == hash(first[0])
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(jnp.shape, first[1])
    new = [array for array, old in zip(jax.tree.leaves(state), arrays, strict=True) if array is not old]
    assert 10 < len(new) < 60 and max(array.size for array in new) < 500
    expected = changed_by_hand(transformer, list(zip(loras, (-0.5, 0.25, 2.0), strict=True)))
    assert relative_error(output(networks[1]), output(expected)) < 1e-5


def test_without_a_lora_the_same_is_traced_as_by_flax_alone(transformer: Any) -> None:
    from flux_engine.models import layers

    linear = layers.Linear(4, 6, rngs=nnx.Rngs(0), dtype=jnp.bfloat16)
    plain = nnx.Linear(4, 6, rngs=nnx.Rngs(0), dtype=jnp.bfloat16)
    x = jnp.ones((2, 3, 4))
    assert str(jax.make_jaxpr(lambda x: linear(x))(x)) == str(jax.make_jaxpr(lambda x: plain(x))(x))


def test_a_kronecker_product_is_never_built() -> None:
    from flux_engine.models import layers, terms

    linear = layers.Linear(64, 96, rngs=nnx.Rngs(0), dtype=jnp.float32)
    change = terms.Kronecker(jnp.ones((8, 6)), jnp.ones((8, 16)))
    linear.terms.append(terms.Term(change, 0, 96, jnp.float32(1)))
    traced = jax.make_jaxpr(lambda x: linear(x))(jnp.ones((2, 5, 64)))
    largest = max(np.prod(variable.aval.shape) for equation in traced.eqns for variable in equation.outvars)
    assert largest <= 2 * 5 * 128 < 64 * 96


def test_bfloat16_loses_what_bfloat16_loses(transformer: Any) -> None:
    loras = [(everywhere(transformer, "x"), 0.7), (CHANGES["DoRA of outputs"], 0.9)]
    expected = output(changed_by_hand(transformer, loras))
    low = tiny_network(CASE.config, jnp.bfloat16)
    low = nnx.merge(nnx.graphdef(low), jax.tree.map(lambda array: array.astype(jnp.bfloat16), nnx.state(low)))
    plain = relative_error(output(low), output(transformer))
    for how in BOTH:
        changed = with_loras(low, loras, how)
        arrays = jax.tree_util.tree_flatten_with_path(nnx.state(changed))[0]
        kept = {str(array.dtype) for keys, array in arrays if "strength" not in str(keys) and "more" not in str(keys)}
        assert kept == {"bfloat16"}
        assert relative_error(output(changed), expected) < max(3 * plain, 0.05)


def test_a_watcher_hears_of_every_term_and_ends_the_reading(transformer: Any) -> None:
    kernels, _ = everywhere(transformer, "x")
    heard: list[float] = []
    place(transformer, kernels, [], heard.append)
    assert len(heard) == len(kernels) and heard == sorted(set(heard)) and heard[-1] == 1.0

    class Enough(Exception):
        pass

    def stop(fraction: float) -> None:
        raise Enough

    with pytest.raises(Enough):
        place(transformer, kernels, [], stop)
    assert np.array_equal(output(transformer), output(tiny_network(CASE.config)))


@pytest.mark.parametrize("is_apart", [False, True])
def test_loras_beside_kernels_in_few_bits_change_what_these_stand_for(transformer: Any, is_apart: bool) -> None:
    few, dense = copied(transformer), copied(transformer)
    for module in (("double_blocks", "attn", "img_qkv"), ("single_blocks", "linear1")):
        stack = jax.vmap(partial(quantise, kind="int8"))(at(transformer, module).kernel[...])
        at(dense, module).kernel.set_value(stack.astype(jnp.float32))
        at(few, module).kernel.set_value(replace(stack, values=Apart(stack.values)) if is_apart else stack)
    kernels = [
        *CHANGES["q, k and v on their own"][0],
        *CHANGES["DoRA of both kinds in two blocks"][0],
        *CHANGES["a whole difference of a stretch"][0],
    ]
    loras = [((kernels, []), 0.7)]
    got = output(with_loras(few, loras))
    assert relative_error(got, output(with_loras(dense, loras))) < 1e-5
    assert relative_error(got, output(dense)) > 1e-3
