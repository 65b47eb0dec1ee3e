"""What JAX must be told before anything imports it. Imports nothing heavy: the app's tests need no array."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"  # shapes that only happen to fit are errors


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """For programs that run once or twice: compiling takes a third of the time, the arithmetic is the same."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
