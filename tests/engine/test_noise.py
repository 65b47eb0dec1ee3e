"""A seed gives the same numbers everywhere: JAX's own, and PyTorch's without PyTorch."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from flux_engine.sampling.noise import gaussian, torch_randn

# torch 2.13.0+cpu (AVX2): randn(shape, generator=Generator().manual_seed(seed)), flattened.
# seed, shape, the values at 0, 1, -2, -1, and the float64 sum.
TORCH_RANDN = [
    (0, (3,), (1.54099607, -0.293428898, -0.293428898, -2.17878938), -0.9312222),
    (42, (15,), (0.336690366, 0.128809407, -1.68979895, -0.988959908), 1.6961163),
    (2**32 - 1, (15,), (1.21976304, -0.392979473, -0.180989012, 0.612868905), 0.958894692),
    (0, (16,), (-1.12583983, -1.1523602, 1.11677718, -0.247278154), -1.90911431),
    (0, (37,), (-1.12583983, -1.1523602, -0.00478573795, -0.518074811), -3.3029835),
    (42, (37,), (1.92691529, 1.48728406, 2.26671791, 1.17895091), 3.35617752),
    (2**32 - 1, (37,), (-2.66429758, -1.0910486, 0.96543932, -0.119139455), -4.43072569),
    (0, (1, 16, 16, 16), (-1.12583983, -1.1523602, -1.72884715, 0.601982117), -39.4462694),
    (42, (1, 16, 16, 16), (1.92691529, 1.48728406, 0.941619456, -0.0118428767), -4.41226103),
    (2**32 - 1, (1, 16, 16, 16), (-2.66429758, -1.0910486, -0.991500735, -0.780926645), 34.3170918),
]


@pytest.mark.parametrize(("seed", "shape", "values", "total"), TORCH_RANDN)
def test_torch_randn_gives_the_numbers_of_torch(
    seed: int, shape: tuple[int, ...], values: tuple[float, ...], total: float
) -> None:
    normals = torch_randn(seed, shape)
    assert (normals.dtype, normals.shape) == (np.float32, shape)
    np.testing.assert_allclose(normals.reshape(-1)[[0, 1, -2, -1]], values, rtol=0, atol=1e-6)
    assert normals.sum(dtype=np.float64) == pytest.approx(total, abs=1e-6 * max(1.0, normals.size**0.5))


def test_torch_noise_is_drawn_channels_first_and_then_packed() -> None:
    drawn = torch_randn(5, (2, 16, 8, 6))
    tokens = np.asarray(gaussian("torch", 5, batch=2, rows=4, columns=3))
    for batch, row, column, channel, ph, pw in [(0, 0, 0, 0, 0, 0), (1, 3, 2, 15, 1, 1), (1, 2, 0, 9, 1, 0)]:
        feature = channel * 4 + ph * 2 + pw
        assert tokens[batch, row, column, feature] == drawn[batch, channel, 2 * row + ph, 2 * column + pw]


def test_jax_noise_does_not_change_between_versions() -> None:
    values = np.asarray(gaussian("jax", 7, batch=1, rows=4, columns=5, channels=8))[0, 0, 0, :3]
    np.testing.assert_allclose(values, [0.45123515, 1.9534509, -0.51623946], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["jax", "torch"])
@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1])
def test_noise_is_standard_normal_and_belongs_to_its_seed(kind: str, seed: int) -> None:
    noise = gaussian(kind, seed, batch=1, rows=32, columns=24)
    assert (noise.dtype, noise.shape) == (jnp.float32, (1, 32, 24, 64))
    values = np.asarray(noise, np.float64)
    assert abs(values.mean()) < 0.02  # 49152 numbers: four and a half standard errors
    assert abs((values**2).mean() - 1) < 0.03
    assert abs((values**4).mean() - 3) < 0.2
    other = np.asarray(gaussian(kind, seed - 1 if seed else 1, batch=1, rows=32, columns=24), np.float64)
    assert abs((values * other).mean()) < 0.02


@pytest.mark.parametrize("kind", ["jax", "torch"])
def test_a_picture_has_the_same_noise_alone_and_first_in_a_batch(kind: str) -> None:
    alone = np.asarray(gaussian(kind, 3, batch=1, rows=2, columns=3))
    together = np.asarray(gaussian(kind, 3, batch=4, rows=2, columns=3))
    np.testing.assert_array_equal(together[:1], alone)
    assert not np.any(together[1] == together[0])
