"""Whole pictures against diffusers' FluxPipeline, with the same weights, prompts and seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flux_engine import FluxModelLoader
from tests.reference_pipeline import reference_picture, reference_pipeline
from tests.tiny_checkpoint import PICTURES, TRANSFORMER, Picture, greatest_difference, paint, write_tiny_checkpoint


@pytest.mark.parametrize("guidance_embeds", [True, False], ids=["dev", "schnell"])
def test_pictures(tmp_path: Path, guidance_embeds: bool) -> None:
    transformer = replace(TRANSFORMER, guidance_embeds=guidance_embeds)
    write_tiny_checkpoint(tmp_path / "tiny", transformer)
    loader = FluxModelLoader(checkpoint_dir=tmp_path / "tiny", dtype="float32")
    pipeline = reference_pipeline(transformer)
    for picture in (*PICTURES.values(), Picture(height=64, width=16, num_steps=9, prompt="", seed=2**32 - 1)):
        assert greatest_difference(paint(loader, picture), reference_picture(pipeline, picture)) <= 1, picture
