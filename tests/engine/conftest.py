"""One tiny checkpoint for a whole session of tests, and loaders on it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import jax
import pytest

from flux_engine import FluxModelLoader, planning
from flux_engine.residency import Residency
from tests.tiny_checkpoint import write_tiny_checkpoint


@pytest.fixture(autouse=True, scope="module")
def compilation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Quick, but where a file says `optimised`. All others share their programs, which are compiled once.

    A program of the one kind is not used among those of the other: their last bits differ.
    """
    if request.node.get_closest_marker("optimised") is None:
        request.getfixturevalue("quick_compilation")
        yield
    else:
        jax.clear_caches()
        yield
        jax.clear_caches()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts that an engine of the test encodes are kept, and found again, in the test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    write_tiny_checkpoint(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_loader(checkpoint: Path) -> FluxModelLoader:
    """In float32, with whatever earlier tests left loaded."""
    return FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32")


@pytest.fixture
def compiled_alike() -> None:
    """For comparisons to the last bit: elsewhere a worker may have compiled some of the programs as for users."""
    jax.clear_caches()


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text encoders are read for every new prompt, and leave."""
    monkeypatch.setattr(planning, "RESIDENCIES", (Residency(encoders="disk"),) * len(planning.RESIDENCIES))


@pytest.fixture
def no_garbage_collection() -> Iterator[None]:
    """What is freed in the test is freed by the program itself, and nothing else is."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def live_bytes() -> int:
    """Of all arrays on all devices."""
    return sum(array.nbytes for array in jax.live_arrays())
