"""How near a result is to another, in one number. Knows NumPy only."""

from __future__ import annotations

import numpy as np


def psnr(reference: np.ndarray, other: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB, infinite where nothing differs.

    The peak is 255 for pictures uint8, else the distance from the reference's smallest number to its largest.
    """
    reach = 255.0 if reference.dtype == np.uint8 else float(np.ptp(reference))
    error = float(np.square(reference.astype(np.float64) - other.astype(np.float64)).mean())
    return float(10 * np.log10(reach**2 / error)) if error else float("inf")
