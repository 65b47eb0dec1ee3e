"""Packing puts every latent where FLUX looks for it, and ids say where that is."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from flux_engine.errors import RequestError
from flux_engine.sampling.latents import image_ids, pack, text_ids, token_grid, unpack


def latents(batch: int = 3, h: int = 6, w: int = 10, channels: int = 16) -> np.ndarray:
    return np.arange(batch * h * w * channels, dtype=np.float32).reshape(batch, h, w, channels)


def test_a_token_holds_channel_then_row_then_column_of_its_patch() -> None:
    x = latents()
    tokens = pack(x)
    assert tokens.shape == (3, 3, 5, 64)
    for row, column, channel, ph, pw in [(0, 0, 0, 0, 0), (2, 4, 15, 1, 1), (1, 3, 7, 0, 1), (1, 3, 7, 1, 0)]:
        feature = channel * 4 + ph * 2 + pw
        np.testing.assert_array_equal(tokens[:, row, column, feature], x[:, 2 * row + ph, 2 * column + pw, channel])


@pytest.mark.parametrize(("batch", "h", "w", "channels"), [(1, 2, 2, 16), (3, 6, 10, 16), (2, 8, 4, 3)])
def test_unpack_undoes_pack(batch: int, h: int, w: int, channels: int) -> None:
    x = latents(batch, h, w, channels)
    np.testing.assert_array_equal(unpack(pack(x)), x)
    np.testing.assert_array_equal(np.asarray(unpack(pack(jnp.asarray(x)))), x)


def test_ids_name_row_and_column_in_the_order_of_the_flattened_tokens() -> None:
    rows, columns = 3, 5
    x = np.zeros((1, 2 * rows, 2 * columns, 2), np.float32)
    x[..., 0], x[..., 1] = np.mgrid[: 2 * rows, : 2 * columns] // 2
    tokens = pack(x).reshape(rows * columns, 8)
    ids = image_ids(rows, columns)
    assert (ids.dtype, ids.shape) == (np.float32, (15, 3))
    np.testing.assert_array_equal(ids[:, 0], np.zeros(15))
    np.testing.assert_array_equal(ids[:, 1], tokens[:, 0])
    np.testing.assert_array_equal(ids[:, 2], tokens[:, 4])


def test_text_stands_nowhere() -> None:
    ids = text_ids(7)
    assert (ids.dtype, ids.shape) == (np.float32, (7, 3))
    assert not ids.any()


def test_token_grid_counts_patches_of_a_picture() -> None:
    assert token_grid(1024, 768) == (64, 48)
    assert token_grid(16, 32) == (1, 2)
    assert token_grid(24, 16, downsampling=4) == (3, 2)


@pytest.mark.parametrize(
    ("height", "width", "message", "hint"),
    [
        (1000, 1024, "height is 1000 pixels; expected a positive multiple of 16.", "Nearest: 992 or 1008."),
        (1024, 1025, "width is 1025 pixels; expected a positive multiple of 16.", "Nearest: 1024 or 1040."),
        (8, 16, "height is 8 pixels; expected a positive multiple of 16.", "The smallest is 16."),
        (16, 0, "width is 0 pixels; expected a positive multiple of 16.", "The smallest is 16."),
        (-16, 16, "height is -16 pixels; expected a positive multiple of 16.", "The smallest is 16."),
    ],
)
def test_a_size_that_makes_no_whole_tokens_is_refused(height: int, width: int, message: str, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        token_grid(height, width)
    assert (str(caught.value), caught.value.hint) == (message, hint)
