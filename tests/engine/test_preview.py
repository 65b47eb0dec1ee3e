"""The linear map from latents to colours: found exactly where there is one, kept in a file, refused if damaged."""

from __future__ import annotations

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from flux_engine.errors import CheckpointCorrupt
from flux_engine.preview import FILE, fit, fit_to_colour_fields, latent_rgb, load_factors, save_factors


def random_factors(channels: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(channels + 1, 3)).astype(np.float32)


def test_fit_finds_a_linear_map() -> None:
    factors = random_factors(4)
    latents = np.random.default_rng(0).normal(size=(2, 6, 5, 4)).astype(np.float32)
    cells = latents @ factors[:-1] + factors[-1]
    images = cells.repeat(8, axis=1).repeat(8, axis=2)
    images[:, ::8] += 0.3  # texture within a cell, which its mean does not see
    images[:, 1::8] -= 0.3

    found = fit(latents, images)

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, factors, rtol=0, atol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_latents_that_are_no_colours_are_shown_without_a_warning(value: float) -> None:
    """In tests, NumPy's warnings are errors."""
    assert latent_rgb(np.full((2, 3, 4), value, np.float32), random_factors(4)).shape == (2, 3, 3)


def test_an_autoencoder_that_keeps_colours_gets_a_map_that_shows_them() -> None:
    """Latents are the red, green and blue of each 8x8 cell, mixed, and one channel of nothing."""
    mix = np.array([[0.5, 1, 0, 0], [0, 2, -1, 0], [1, 0, 3, 0]], np.float32)

    def encode(images: jnp.ndarray) -> jnp.ndarray:
        assert images.min() >= -1 and images.max() <= 1 and images.min() < -0.9 and images.max() > 0.9
        N, H, W, _ = images.shape
        return images.reshape(N, H // 8, 8, W // 8, 8, 3).mean((2, 4)) @ mix

    factors = fit_to_colour_fields(encode)

    colours = np.random.default_rng(2).random((3, 5, 3)).astype(np.float32)
    shown = latent_rgb((colours * 2 - 1) @ mix, factors)
    assert np.abs(shown - colours * 255).max() <= 1


def test_colours_are_rounded_and_cut_to_bytes() -> None:
    factors = np.array([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0.25]], np.float32)
    latents = np.array([[[0.0, 0.0], [9.0, -9.0]]], np.float32)
    shown = latent_rgb(latents, factors)
    assert shown.dtype == np.uint8
    assert shown.tolist() == [[[128, 128, 64], [255, 0, 64]]]


def test_factors_come_back_from_their_file(tmp_path: Path) -> None:
    factors = random_factors(16)
    save_factors(tmp_path, factors)
    loaded = load_factors(tmp_path, 16)
    assert loaded is not None
    assert loaded.dtype == np.float32
    np.testing.assert_allclose(loaded, factors, rtol=0, atol=1e-5)


def test_a_checkpoint_without_factors_has_none(tmp_path: Path) -> None:
    assert load_factors(tmp_path, 16) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"null", b'{"a": 1}', b"[[1, 2, 3], [4, 5]]", b'[["a", "b", "c"]]', b"[[1, 2, 3]]"],
)
def test_a_damaged_file_is_one_clear_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(CheckpointCorrupt, match=FILE) as caught:
        load_factors(tmp_path, 4)
    assert "Delete it" in caught.value.hint


def test_factors_for_another_number_of_channels_are_refused(tmp_path: Path) -> None:
    save_factors(tmp_path, random_factors(16))
    with pytest.raises(CheckpointCorrupt, match=r"holds \(17, 3\); expected \(5, 3\)"):
        load_factors(tmp_path, 4)
    assert len(json.loads((tmp_path / FILE).read_text())) == 17
