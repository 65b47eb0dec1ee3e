"""A model whose kernels are in few bits from the moment they are read: what it weighs, and what it paints."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flux_engine import Engine, FluxModelLoader, GenerationRequest
from flux_engine.errors import RequestError
from flux_engine.models.apart import is_apart
from flux_engine.models.quantised import QuantisedKernel, quantise
from flux_engine.prompt_cache import PromptCache
from flux_engine.request import PicturesReady, StageStarted, WeightKind
from flux_engine.residency import Residency
from flux_engine.weights import filling, placing
from flux_engine.weights.checkpoint import load_component, named_leaves
from flux_engine.weights.names import LeafPath
from flux_engine.weights.placing import DEVICE, HOST, on_device
from tests.engine.test_residency import STREAMED, painted

pytestmark = pytest.mark.usefixtures("quick_compilation")


def leaves_of(checkpoint: Path, **options: Any) -> dict[LeafPath, Any]:
    there = {"placement": on_device(jax.devices()[0]), "dtype": jnp.float32} | options
    return named_leaves(nnx.state(load_component(checkpoint / "transformer", "transformer", **there)))


def in_few_bits(loader: FluxModelLoader, component: Any = "transformer") -> dict[LeafPath, Any]:
    return {path: leaf for path, leaf in named_leaves(loader.load(component)[1]).items() if path[-1] == "values"}


@pytest.mark.parametrize("in_place", [True, False])  # as on a CPU, and as on a device with a memory of its own
@pytest.mark.parametrize(("kind", "dtype"), [("int8", "float32"), ("fp8_fast", "bfloat16"), ("int4", "float32")])
def test_kernels_are_those_of_the_loaded_network_rounded(
    kind: Any, dtype: str, in_place: bool, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "is_in_memory", lambda place: in_place)
    told: list[float] = []
    found = leaves_of(checkpoint, weights=kind, param_dtype=jnp.dtype(dtype), on_read=told.append)
    plain = leaves_of(checkpoint)
    rounded = jax.jit(jax.vmap(partial(quantise, kind=kind.removesuffix("_fast"))))
    for path, leaf in plain.items():
        if path[0] not in ("double_blocks", "single_blocks") or path[-1] != "kernel":
            assert np.array_equal(found[path], leaf.astype(dtype))
            continue
        expected = rounded(leaf)
        assert np.array_equal(found[*path, "values"], expected.values)
        assert np.array_equal(found[*path, "scale"], expected.scale)
    assert told == sorted(told) and told[-1] == 1


@pytest.mark.parametrize(("kind", "bits"), [("int8", 8), ("int4", 4)])
def test_a_weight_takes_as_many_bits_as_it_is_said_to(kind: Any, bits: int, checkpoint: Path) -> None:
    loader = FluxModelLoader(checkpoint_dir=checkpoint, dtype="bfloat16", weights=kind)
    _, state = loader.load("transformer")
    kernels = [leaf for leaf in jax.tree.leaves(state, is_leaf=is_kernel) if is_kernel(leaf)]
    assert len(kernels) == 13 and all(kernel.dtype == jnp.bfloat16 for kernel in kernels)
    assert (
        sum(kernel.values.nbytes for kernel in kernels) == sum(np.prod(kernel.shape) for kernel in kernels) * bits / 8
    )
    assert loader.device_bytes == sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    assert {leaf.dtype for leaf in in_few_bits(loader, "t5_text").values()} == {jnp.dtype(jnp.int8)}
    assert not in_few_bits(loader, "clip_text") and not in_few_bits(loader, "vae")


def is_kernel(leaf: Any) -> bool:
    return isinstance(leaf, QuantisedKernel)


@pytest.mark.usefixtures("compiled_alike")
def test_a_picture_in_few_bits_is_the_same_wherever_its_weights_wait(
    checkpoint: Path, tiny_loader: FluxModelLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32", weights="int8")
    expected = painted(there)
    assert 1e-5 < np.abs(expected - painted(tiny_loader)).max() < 0.1

    streamed = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32", weights="int8", residency=STREAMED)
    assert np.array_equal(painted(streamed), expected)
    assert {leaf.sharding.memory_kind for leaf in in_few_bits(streamed).values()} == {HOST}
    there.settle(STREAMED)
    assert np.array_equal(painted(there), expected)

    monkeypatch.setattr(placing, "_platform", lambda devices: "gpu")
    apart = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32", weights="int8")
    by_blocks = painted(apart)
    assert np.abs(by_blocks - expected).max() < 1e-5
    for residency, kind in ((STREAMED, HOST), (Residency(), DEVICE)):
        apart.settle(residency)
        values = [leaf for leaf in in_few_bits(apart).values() if is_apart(leaf)]
        assert [leaf.sharding.memory_kind for leaf in values] == [kind] * 10
        assert np.array_equal(painted(apart), by_blocks)


def test_an_engine_reads_the_model_anew_for_another_kind_and_the_picture_says_which(checkpoint: Path) -> None:
    engine = Engine()
    request = GenerationRequest(
        prompt="a hill", width=32, height=48, num_steps=3, dtype="float32", checkpoint_dir=str(checkpoint)
    )
    loadings = []
    for kind in ("int8", "int8", "full"):
        *events, ready = engine.generate(replace(request, weights=kind))  # type: ignore[arg-type]
        loadings.append(StageStarted("loading", "model") in events)
        assert isinstance(ready, PicturesReady) and ready.request.weights == kind
    assert loadings == [True, False, True]


def test_a_kept_prompt_is_found_by_those_whose_t5_is_the_same(checkpoint: Path, tmp_path: Path) -> None:
    def loader(kind: Any) -> FluxModelLoader:
        kept = PromptCache(tmp_path)
        return FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32", weights=kind, prompt_cache=kept)

    loader("int8_fast").encode_prompts(["a hill"])
    assert [kind for kind in get_args(WeightKind) if loader(kind).knows_prompt("a hill")] == [
        "int8",
        "int4",
        "int8_fast",
    ]


def test_a_kind_of_weights_that_there_is_not_is_refused(checkpoint: Path) -> None:
    with pytest.raises(RequestError, match="weights is 'int2'; expected one of full, int8"):
        FluxModelLoader(checkpoint_dir=checkpoint, weights="int2")  # type: ignore[arg-type]
