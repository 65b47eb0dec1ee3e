"""Schedules against closed forms and the numbers that FLUX publishes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from flux_engine.errors import RequestError
from flux_engine.sampling.timers import ExplicitTimer, FluxTimer, LinearTimer, Timer


def dynamic(n_steps: int, seq_len: int) -> FluxTimer:
    return FluxTimer(n_steps, use_dynamic_shift=True).with_image_seq_len(seq_len)


@pytest.mark.parametrize(
    "timer",
    [
        LinearTimer(1),
        LinearTimer(7),
        LinearTimer(1000),
        FluxTimer(1),
        FluxTimer(30),
        FluxTimer(30, shift=0.2),
        FluxTimer(1000, shift=20.0),
        dynamic(1, 64),
        dynamic(30, 64),
        dynamic(50, 16384),
        ExplicitTimer([1.0, 0.3, 0.01]),
    ],
    ids=repr,
)
def test_sigmas_fall_strictly_from_one_to_exactly_zero(timer: Timer) -> None:
    sigmas = timer.sigmas()
    assert (sigmas.dtype, sigmas.shape) == (np.float32, (timer.n_steps + 1,))
    assert (sigmas[0], sigmas[-1]) == (1, 0)
    assert (np.diff(sigmas) < 0).all()
    assert [timer(step) for step in range(timer.n_steps + 1)] == sigmas.tolist()


def test_linear_steps_are_equal() -> None:
    np.testing.assert_array_equal(LinearTimer(4).sigmas(), [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_array_equal(FluxTimer(4, shift=1.0).sigmas(), LinearTimer(4).sigmas())


def test_a_static_shift_is_a_moebius_map() -> None:
    np.testing.assert_allclose(FluxTimer(4, shift=3.0).sigmas(), [1, 0.9, 0.75, 0.5, 0], rtol=1e-7)
    np.testing.assert_allclose(FluxTimer(2, shift=1.15).sigmas(), [1, 1.15 * 0.5 / 1.075, 0], rtol=1e-7)


@pytest.mark.parametrize(
    ("seq_len", "mu"), [(256, 0.5), (1024, 0.63), (4096, 1.15), (16384, 3.23), (64, 0.4675)], ids=str
)
def test_mu_is_linear_in_the_tokens_and_goes_on_beyond_its_anchors(seq_len: int, mu: float) -> None:
    timer = dynamic(8, seq_len)
    assert timer.mu == pytest.approx(mu, abs=1e-12)
    assert timer(4) == pytest.approx(1 / (1 + math.exp(-mu)), rel=1e-7)  # the middle, s = 1/2


@pytest.mark.parametrize("n_steps", [4, 28, 50])
@pytest.mark.parametrize("seq_len", [1024, 4096, 16384])
def test_the_schedule_of_diffusers_is_the_same(n_steps: int, seq_len: int) -> None:
    """diffusers spaces n sigmas from 1 to 1/n, shifts them by e^mu / (e^mu + 1/s - 1), then appends the 0."""
    mu = 0.5 + (seq_len - 256) * (1.15 - 0.5) / (4096 - 256)
    spaced = np.linspace(1.0, 1 / n_steps, n_steps)
    expected = np.append(math.exp(mu) / (math.exp(mu) + (1 / spaced - 1)), 0)
    np.testing.assert_allclose(dynamic(n_steps, seq_len).sigmas(), expected, rtol=0, atol=2e-7)


def test_a_dynamic_timer_must_know_the_size() -> None:
    with pytest.raises(RequestError, match="number of image tokens") as caught:
        FluxTimer(n_steps=30, use_dynamic_shift=True).sigmas()
    assert "with_image_seq_len" in caught.value.hint


def test_the_size_is_told_to_a_copy_or_to_the_timer_itself() -> None:
    timer = FluxTimer(n_steps=30, use_dynamic_shift=True)
    copy = timer.with_image_seq_len(1024)
    assert timer.image_seq_len is None
    timer.set_image_seq_len(1024)
    assert timer == copy
    np.testing.assert_array_equal(timer.sigmas(), copy.sigmas())
    with pytest.raises(RequestError, match="image_seq_len is 0"):
        timer.set_image_seq_len(0)


def test_explicit_sigmas_get_their_closing_zero_once() -> None:
    assert ExplicitTimer([0.6, 0.3]) == ExplicitTimer((0.6, 0.3, 0.0))
    timer = ExplicitTimer([0.6, 0.3])
    assert timer.n_steps == 2
    np.testing.assert_array_equal(timer.sigmas(), np.array([0.6, 0.3, 0], np.float32))


@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        ([], "0 steps"),
        ([0.0], "0 steps"),
        ([1.5, 0.5], "first sigma is 1.5"),
        ([math.nan, 0.5], "first sigma is nan"),
        ([-0.5], "first sigma is -0.5"),
        ([0.5, 0.6], "from 0.5 to 0.6"),
        ([0.5, 0.5], "from 0.5 to 0.5"),
        ([1.0, -0.1], "from -0.1"),
        ([1.0, math.nan, 0.1], "to nan"),
        ([1.0, 0.0, 0.0], "from 0 to 0"),
    ],
    ids=str,
)
def test_explicit_sigmas_that_do_not_fall_within_bounds_are_refused(sigmas: list[float], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        ExplicitTimer(sigmas)


@pytest.mark.parametrize("n_steps", [0, -3, 2.5])
def test_a_schedule_has_a_whole_number_of_steps(n_steps: Any) -> None:
    for timer in (LinearTimer, FluxTimer):
        with pytest.raises(RequestError, match=f"{n_steps} steps"):
            timer(n_steps)


@pytest.mark.parametrize("shift", [0.0, -1.0, math.inf, math.nan])
def test_an_impossible_shift_is_refused(shift: float) -> None:
    with pytest.raises(RequestError, match="shift is"):
        FluxTimer(4, shift=shift)


def test_a_schedule_too_steep_for_float32_says_so() -> None:
    # 8192 x 8192 px: mu is 44.8, every sigma but the last rounds to 1; with ten million tokens not even e**mu exists
    for tokens in (512 * 512, 10**7):
        with pytest.raises(RequestError, match="fall strictly") as caught:
            dynamic(30, tokens).sigmas()
        assert caught.value.hint == "Take fewer steps or a smaller shift."


def test_anchors_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(RequestError, match="base_seq_len is 4096; expected less than 4096"):
        FluxTimer(4, use_dynamic_shift=True, base_seq_len=4096)
