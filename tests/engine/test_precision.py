"""A named type is taken as named; "auto" is bfloat16 only where it was measured to be clearly faster."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from flux_engine import precision
from flux_engine.precision import CLEARLY_FASTER, resolve_dtype

CPU = jax.devices("cpu")[0]


@pytest.fixture
def timings(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """Seconds that a product seems to take in each type."""
    seconds: dict[str, float] = {}
    monkeypatch.setattr(precision, "_product_seconds", lambda device: (seconds["float32"], seconds["bfloat16"]))
    precision._faster_on_cpu.cache_clear()
    yield seconds
    precision._faster_on_cpu.cache_clear()


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_named_type_is_taken_unmeasured(name: Any, timings: dict[str, float]) -> None:
    assert resolve_dtype(name, CPU) == jnp.dtype(name)
    assert resolve_dtype(name, SimpleNamespace(platform="gpu")) == jnp.dtype(name)


@pytest.mark.parametrize(
    ("gain", "expected"),
    [
        (5.0, jnp.bfloat16),
        (CLEARLY_FASTER * 1.01, jnp.bfloat16),
        (CLEARLY_FASTER * 0.99, jnp.float32),
        (1.0, jnp.float32),
        (0.02, jnp.float32),
    ],
)
def test_auto_on_a_cpu_follows_the_measurement(gain: float, expected: Any, timings: dict[str, float]) -> None:
    timings |= {"float32": 0.01 * gain, "bfloat16": 0.01}
    assert resolve_dtype("auto", CPU) == expected


def test_auto_measures_once_in_a_process(timings: dict[str, float]) -> None:
    timings |= {"float32": 5.0, "bfloat16": 1.0}
    assert resolve_dtype("auto", CPU) == jnp.bfloat16
    timings.clear()
    assert resolve_dtype("auto", CPU) == jnp.bfloat16


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_auto_on_an_accelerator_is_bfloat16_unmeasured(platform: str, timings: dict[str, float]) -> None:
    assert resolve_dtype("auto", SimpleNamespace(platform=platform)) == jnp.bfloat16


@pytest.mark.parametrize("faster", ["float32", "bfloat16"])
def test_a_machine_that_is_slow_for_a_while_is_so_for_both_types(faster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now, products = 0.0, []

    def multiply(matrix: jax.Array, _: jax.Array) -> jax.Array:
        nonlocal now
        products.append(matrix.dtype.name)
        slow = len(products) <= 2 * precision.PROBE_ROUNDS - 2  # all but the last of each
        now += (1.0 if matrix.dtype.name == faster else 2.0) * (10.0 if slow else 1.0)
        return matrix

    monkeypatch.setattr(precision, "PROBE_SIZE", 16)
    monkeypatch.setattr(jax, "jit", lambda function: multiply)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: now)
    assert precision._product_seconds(CPU) == ((1.0, 2.0) if faster == "float32" else (2.0, 1.0))


def test_the_measurement_times_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "PROBE_SIZE", 16)
    assert all(0 < seconds < 10 for seconds in precision._product_seconds(CPU))
