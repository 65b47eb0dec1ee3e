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
    monkeypatch.setattr(precision, "_product_seconds", lambda dtype, device: seconds[dtype])
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


def test_the_measurement_times_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "PROBE_SIZE", 16)
    assert 0 < precision._product_seconds("bfloat16", CPU) < 10
