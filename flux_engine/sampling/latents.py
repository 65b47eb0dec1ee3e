"""How latents become image tokens and back, and where each token stands. Knows shapes only: no network, no noise.

The autoencoder's latents are [B, h, w, C], channels last. The transformer reads them in patches of 2 x 2, one token
each. Here tokens stay on their grid, [B, rows, columns, 4C]; `x.reshape(B, L, 4 * C)` makes the sequence, row by row.
Reference: `prepare` and `unpack` in BFL's `sampling.py`.
"""

from __future__ import annotations

from typing import TypeVar

import jax
import numpy as np
from einops import rearrange

from flux_engine.errors import RequestError
from flux_engine.request import is_whole

Array = TypeVar("Array", jax.Array, np.ndarray)

PATCH = 2


def pack(latents: Array) -> Array:
    """Gather each 2 x 2 patch into one token.

    Args:
        latents: [B, h, w, C], h and w even.

    Returns:
        [B, h/2, w/2, 4C] of the same type; features run over channel, then row, then column in the patch.
    """
    return rearrange(latents, "B (rows ph) (columns pw) C -> B rows columns (C ph pw)", ph=PATCH, pw=PATCH)


def unpack(tokens: Array) -> Array:
    """Undo `pack`: [B, h/2, w/2, 4C] -> [B, h, w, C]."""
    return rearrange(tokens, "B rows columns (C ph pw) -> B (rows ph) (columns pw) C", ph=PATCH, pw=PATCH)


def image_ids(rows: int, columns: int) -> np.ndarray:
    """Positions (0, row, column) of the image tokens, row by row: float32 [L, 3] with L = rows * columns."""
    ids = np.zeros((rows, columns, 3), np.float32)
    ids[..., 1] = np.arange(rows)[:, None]
    ids[..., 2] = np.arange(columns)[None, :]
    return ids.reshape(rows * columns, 3)


def text_ids(length: int) -> np.ndarray:
    """Positions of `length` text tokens: float32 zeros [T, 3], for text stands nowhere."""
    return np.zeros((length, 3), np.float32)


def token_grid(height_px: int, width_px: int, downsampling: int = 8) -> tuple[int, int]:
    """Rows and columns of image tokens in a picture.

    Args:
        height_px, width_px: multiples of `2 * downsampling`.
        downsampling: pixels per latent cell along each axis; FLUX's autoencoder has 8.

    Raises:
        RequestError: a size is not such a multiple, or not positive.
    """
    token_px = PATCH * downsampling
    for name, value in (("height", height_px), ("width", width_px)):
        if not is_whole(value):
            raise RequestError(f"{name} is {value!r}; expected a whole number of pixels.")
        if value < token_px or value % token_px:
            low = value - value % token_px
            raise RequestError(
                f"{name} is {value} pixels; expected a positive multiple of {token_px}.",
                hint=f"Nearest: {low} or {low + token_px}." if low > 0 else f"The smallest is {token_px}.",
            )
    return height_px // token_px, width_px // token_px
