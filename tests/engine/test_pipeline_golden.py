"""A prompt becomes, pixel for pixel, the picture that diffusers' FluxPipeline makes of the same weights and seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flux_engine import FluxModelLoader
from tests.tiny_checkpoint import PICTURES, greatest_difference, paint, write_tiny_checkpoint

GOLDEN = Path(__file__).parent.parent / "golden" / "pipeline.npz"


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> FluxModelLoader:
    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    write_tiny_checkpoint(folder)
    return FluxModelLoader(checkpoint_dir=folder, dtype="float32")


@pytest.mark.parametrize("name", PICTURES)
def test_picture(loader: FluxModelLoader, name: str) -> None:
    with np.load(GOLDEN) as golden:
        expected = golden[name]
    assert expected.std() > 20  # a picture, not a flat field that anything would match
    assert greatest_difference(paint(loader, PICTURES[name]), expected) <= 1
