"""Attention in chunks is attention; its memory grows with the number of tokens; an NVIDIA GPU gets cuDNN's."""

from __future__ import annotations

import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from flux_engine.models.attention import FEW, QUERIES, SMALL_LOGIT, _are_small, _dealt_out, attend

pytestmark = pytest.mark.optimised


def queries_keys_values(queries: int, keys: int, heads: int = 2, size: int = 8, dtype: Any = jnp.float32) -> Any:
    shapes = ((2, queries, heads, size), (2, keys, heads, size), (2, keys, heads, size))
    return [jax.random.normal(jax.random.key(place), shape, dtype) for place, shape in enumerate(shapes)]


def logits_of(q: Any, k: Any) -> np.ndarray:
    return np.einsum("bshk,bnhk->bhsn", q, k, dtype=np.float64) / np.sqrt(q.shape[-1])


def softmax(logits: np.ndarray, v: Any) -> np.ndarray:
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.einsum("bhsn,bnhk->bshk", weights / weights.sum(-1, keepdims=True), v)


@pytest.mark.parametrize("tokens", [1, FEW, FEW + 1, QUERIES + 1])
def test_attention_is_the_softmax_of_the_products_times_the_values(tokens: int) -> None:
    q, k, v = queries_keys_values(tokens, tokens)
    assert np.abs(np.asarray(attend(q, k, v)) - softmax(logits_of(q, k), v)).max() < 2e-6


@pytest.mark.parametrize("sign", [-1, 1])
def test_exponentials_of_large_logits_do_not_leave_float32(sign: int) -> None:
    q, k, v = queries_keys_values(FEW + 1, FEW + 1)
    q = q.at[:, 3].set(60 * k[:, 5] * sign)  # one query that is long
    logits = logits_of(q, k)
    assert abs(logits).max() > 100
    assert np.abs(np.asarray(attend(q, k, v)) - softmax(logits, v)).max() < 1e-4


@pytest.mark.parametrize("longest", [0.99, 1.01])
def test_no_logit_is_subtracted_where_none_can_be_large(longest: float) -> None:
    q = jnp.zeros((1, FEW + 1, 1, 4)).at[0, 7, 0].set(longest * SMALL_LOGIT)
    keys = jnp.zeros_like(q).at[0, 9, 0].set(0.5)
    assert _are_small(q, keys) == (longest < 1)


def temporary_bytes(tokens: int, heads: int = 2) -> int:
    compiled = jax.jit(attend).lower(*queries_keys_values(tokens, tokens, heads)).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_grows_with_the_tokens_and_not_with_their_square() -> None:
    assert temporary_bytes(8 * QUERIES) < 4.5 * temporary_bytes(2 * QUERIES)


def test_the_logits_of_one_head_only_are_in_memory() -> None:
    tokens, heads = 2 * QUERIES, 8
    assert temporary_bytes(tokens, heads) < heads * QUERIES * tokens * 4


def lowered_for_cuda(monkeypatch: pytest.MonkeyPatch, dtype: Any, size: int) -> str:
    fused = importlib.import_module("jax._src.cudnn.fused_attention_stablehlo")
    monkeypatch.setattr(fused, "check_cudnn_version", lambda: 90100)
    monkeypatch.setattr(fused, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    allowed = [jax.export.DisabledSafetyCheck.custom_call("__cudnn$fmhaSoftmax")]
    exported = jax.export.export(jax.jit(attend), platforms=["cuda"], disabled_checks=allowed)
    return exported(*queries_keys_values(2 * FEW, 2 * FEW, size=size, dtype=dtype)).mlir_module()


@pytest.mark.parametrize(
    ("dtype", "head_dim", "flash"),
    [(jnp.bfloat16, 128, True), (jnp.float16, 64, True), (jnp.float32, 128, False), (jnp.bfloat16, 512, False)],
)
def test_a_gpu_gets_flash_attention_where_cudnn_has_it(
    monkeypatch: pytest.MonkeyPatch, dtype: Any, head_dim: int, flash: bool
) -> None:
    assert ("__cudnn$fmhaSoftmax" in lowered_for_cuda(monkeypatch, dtype, head_dim)) == flash


def test_a_cpu_in_a_machine_with_a_gpu_gets_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = queries_keys_values(2 * FEW, 2 * FEW, size=64, dtype=jnp.bfloat16)
    expected = attend(q, k, v)
    fused = importlib.import_module("jax._src.cudnn.fused_attention_stablehlo")
    monkeypatch.setattr(fused, "check_cudnn_version", lambda: 90100)
    monkeypatch.setattr(fused, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert np.array_equal(jax.jit(attend)(q, k, v), expected)


BOTH = ("tensor", "sequence")


@pytest.mark.parametrize(
    ("mesh", "shape", "heads", "tokens"),
    [
        ({"sequence": 2, "tensor": 3}, (1, 10, 24, 128), BOTH, ()),  # tokens that were dealt out come together
        ({"tensor": 4}, (1, 10, 24, 128), BOTH, ()),
        ({"sequence": 5, "tensor": 2}, (1, 10, 2, 16), ("tensor",), ("sequence",)),  # heads are too few
        ({"sequence": 2, "tensor": 2}, (1, 8, 1, 512), (), BOTH),
        ({"sequence": 2, "tensor": 2}, (1, 7, 1, 512), (), ()),
    ],
)
def test_heads_are_dealt_out_to_devices_and_queries_where_heads_are_too_few(
    mesh: dict[str, int], shape: tuple[int, ...], heads: tuple[str, ...], tokens: tuple[str, ...]
) -> None:
    sizes = {"data": 2, "sequence": 1, "tensor": 1, **mesh}
    found = _dealt_out(AbstractMesh(tuple(sizes.values()), tuple(sizes)), shape)
    assert found == (P(None, tokens, heads), P(None, None, heads))  # one picture is not split in two
