"""When to look: the noise levels that a sampler visits. Knows no integrator and no network.

sigma is the share of noise in x = (1 - sigma) * clean + sigma * noise; it is also the time that FLUX's transformer is
told. A timer's list falls strictly from its first sigma, at most 1, to exactly 0.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flux_engine.errors import RequestError
from flux_engine.request import is_whole

MAX_MU = 700.0  # a float64's exponential ends there; float32 sigmas stop falling long before


class Timer(abc.ABC):
    """A list of sigmas, as a value. `timer(step)` is the sigma at which step number `step` begins."""

    n_steps: int

    @abc.abstractmethod
    def sigmas(self) -> np.ndarray:
        """float32 [n_steps + 1], strictly decreasing, the last exactly 0."""

    def __call__(self, step: int) -> float:
        """sigma before step `step`, 0 to n_steps; at n_steps it is 0."""
        return float(self.sigmas()[step])


@dataclass(frozen=True)
class LinearTimer(Timer):
    """Equal steps from 1 to 0, as FLUX.1-schnell is sampled."""

    n_steps: int

    def __post_init__(self) -> None:
        _check_steps(self.n_steps)

    def sigmas(self) -> np.ndarray:
        return _falling(np.linspace(1, 0, self.n_steps + 1))


@dataclass(frozen=True, init=False)
class ExplicitTimer(Timer):
    """The sigmas of a caller, say for a run that starts half-way from a picture.

    Args:
        sigmas: strictly decreasing numbers in (0, 1]; a closing 0 is added where it is missing.

    Raises:
        RequestError: the numbers are not such a list.
    """

    values: tuple[float, ...]
    n_steps: int

    def __init__(self, sigmas: Sequence[float]) -> None:
        values = tuple(float(sigma) for sigma in sigmas)
        if values and values[-1] != 0:
            values = (*values, 0.0)
        _check_steps(max(len(values) - 1, 0))
        if not 0 < values[0] <= 1:
            raise RequestError(f"The first sigma is {values[0]:g}; expected a number above 0, at most 1.")
        _falling(np.array(values))
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "n_steps", len(values) - 1)

    def sigmas(self) -> np.ndarray:
        return _falling(np.array(self.values))


@dataclass(frozen=True)
class FluxTimer(Timer):
    """FLUX.1's schedule: equal steps, then moved towards noise by a Möbius shift, the more so the larger the picture.

    s' = shift * s / (1 + (shift - 1) * s), with shift = e**mu when it is dynamic. mu is linear in the number of image
    tokens and not clamped outside the two anchors. Reference: `get_schedule` in BFL's `sampling.py`, section 5.3.2 of
    Esser et al. 2024, "Scaling Rectified Flow Transformers".

    Args:
        n_steps: at least 1.
        shift: above 0; 1 leaves the steps equal. Not used with `use_dynamic_shift`.
        use_dynamic_shift: take the shift from `image_seq_len`.
        base_seq_len, max_seq_len: the anchors of mu, in image tokens.
        base_shift, max_shift: mu at the anchors.
        image_seq_len: image tokens L of the picture; needed before a dynamic timer is asked for its sigmas.

    Raises:
        RequestError: a value is out of range, or the steps are so many and the shift so strong that float32 cannot
            tell two sigmas apart.
    """

    n_steps: int
    shift: float = 1.15
    use_dynamic_shift: bool = False
    base_seq_len: int = 256
    max_seq_len: int = 4096
    base_shift: float = 0.5
    max_shift: float = 1.15
    image_seq_len: int | None = None

    def __post_init__(self) -> None:
        _check_steps(self.n_steps)
        if not (math.isfinite(self.shift) and self.shift > 0):
            raise RequestError(f"shift is {self.shift}; expected a number above 0.", hint="1 is no shift.")
        if self.image_seq_len is not None and self.image_seq_len < 1:
            raise RequestError(f"image_seq_len is {self.image_seq_len}; expected at least 1 token.")
        if self.base_seq_len >= self.max_seq_len:
            raise RequestError(f"base_seq_len is {self.base_seq_len}; expected less than {self.max_seq_len}.")

    def with_image_seq_len(self, seq_len: int) -> FluxTimer:
        """This timer for a picture of `seq_len` image tokens."""
        return replace(self, image_seq_len=seq_len)

    def set_image_seq_len(self, seq_len: int) -> None:
        """Change this very timer, as callers of the original example do; `with_image_seq_len` makes another one."""
        object.__setattr__(self, "image_seq_len", self.with_image_seq_len(seq_len).image_seq_len)

    @property
    def mu(self) -> float:
        """The log of the dynamic shift.

        Raises:
            RequestError: the timer has not been told the picture's size.
        """
        if self.image_seq_len is None:
            raise RequestError(
                "A dynamic FluxTimer needs the number of image tokens.",
                hint="Call with_image_seq_len(height // 16 * (width // 16)).",
            )
        slope = (self.max_shift - self.base_shift) / (self.max_seq_len - self.base_seq_len)
        return self.base_shift + slope * (self.image_seq_len - self.base_seq_len)

    def sigmas(self) -> np.ndarray:
        shift = math.exp(min(self.mu, MAX_MU)) if self.use_dynamic_shift else self.shift
        even = np.linspace(1, 0, self.n_steps + 1)
        return _falling(shift * even / (shift * even + (1 - even)))


def _check_steps(n_steps: int) -> None:
    if not is_whole(n_steps) or n_steps < 1:
        raise RequestError(f"A schedule of {n_steps} steps was asked for; expected a whole number, at least 1.")


def _falling(sigmas: np.ndarray) -> np.ndarray:
    """The same numbers in float32, once it is sure that they still fall strictly."""
    rounded = sigmas.astype(np.float32)
    stuck = ~(rounded[1:] < rounded[:-1])
    if stuck.any():
        step = int(stuck.argmax())
        raise RequestError(
            f"sigma goes from {rounded[step]:.9g} to {rounded[step + 1]:.9g} in step {step + 1}; "
            "expected it to fall strictly.",
            hint="Take fewer steps or a smaller shift.",
        )
    return rounded
