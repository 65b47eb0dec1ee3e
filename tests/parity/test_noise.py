"""Noise against the installed PyTorch and diffusers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline

from flux_engine.sampling.noise import gaussian, torch_randn

SEEDS = [0, 1, 42, 1234567, 2**31, 2**32 - 1]
SHAPES = [(1,), (2,), (7,), (15,), (16,), (17,), (31,), (33,), (100,), (5, 7, 3), (3, 16, 24, 16), (1, 16, 128, 128)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_torch_randn_without_torch(seed: int, shape: tuple[int, ...]) -> None:
    expected = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).numpy()
    np.testing.assert_allclose(torch_randn(seed, shape), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 3])
def test_packed_noise_is_that_of_diffusers(batch: int) -> None:
    rows, columns = 6, 10
    latents = torch.randn((batch, 16, 2 * rows, 2 * columns), generator=torch.Generator().manual_seed(11))
    expected = FluxPipeline._pack_latents(latents, batch, 16, 2 * rows, 2 * columns).numpy()
    noise = np.asarray(gaussian("torch", 11, batch, rows, columns)).reshape(batch, rows * columns, 64)
    np.testing.assert_allclose(noise, expected, rtol=0, atol=1e-6)
