"""A comparison with diffusers as far as it goes without it; with it, see `tests/parity/test_verify.py`."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from flux_engine.configs import Component, NetworkConfig
from flux_engine.loader import DEMO_CHECKPOINT
from flux_engine.weights.comparing import NotCompared, compare_checkpoint
from flux_engine.weights.names import LeafPath, is_stacked, stored_path
from flux_engine.weights.reference import LIBRARIES, their_format, their_tensors
from flux_engine.weights.sides import Compared
from tests.foreign_files import CLIP, TRANSFORMER, VAE, diffusers_tensors
from tests.tiny import tiny_leaves
from tests.tiny_checkpoint import T5

CONFIGS: dict[Component, NetworkConfig] = {"transformer": TRANSFORMER, "vae": VAE, "clip_text": CLIP, "t5_text": T5}


def stored_leaves(config: NetworkConfig) -> dict[LeafPath, np.ndarray]:
    leaves = {}
    for name, leaf in tiny_leaves(config).items():
        path = tuple(name.split("."))
        if is_stacked(config.component, path):
            leaves |= {stored_path(config.component, path, block): part for block, part in enumerate(leaf)}
        else:
            leaves[stored_path(config.component, path)] = leaf
    return leaves


@pytest.mark.parametrize("component", CONFIGS)
def test_the_references_tensors_are_found_again_in_the_leaves_made_of_them(component: Component) -> None:
    expected = diffusers_tensors(CONFIGS[component])
    shapes = {name: array.shape for name, array in expected.items()}
    found = their_tensors(their_format(component), shapes, stored_leaves(CONFIGS[component]).__getitem__)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert np.array_equal(found[name], array), name


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_that_is_not_installed_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIBRARIES:
        monkeypatch.setitem(sys.modules, name, sys)  # anything that can be imported
    monkeypatch.setitem(sys.modules, library, None)
    assert list(compare_checkpoint(DEMO_CHECKPOINT)) == [
        NotCompared(reason=f"{library} is not installed; the extra 'parity' brings it")
    ]


def test_a_library_that_fails_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in LIBRARIES:
        monkeypatch.setitem(sys.modules, name, sys)
    (told,) = compare_checkpoint(DEMO_CHECKPOINT)
    assert told == NotCompared(reason="module 'sys' has no attribute 'device'")


def test_what_is_no_number_does_not_agree() -> None:
    row = Compared(component="vae", module="encode", difference=1e-6, relative=1e-6, bound=1e-4)
    for relative, agrees in ((1e-6, True), (1e-4, True), (1.1e-4, False), (np.inf, False), (np.nan, False)):
        found = Compared(**{**row.__dict__, "relative": relative})
        assert found.agrees == agrees
