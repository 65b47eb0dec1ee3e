"""Several pictures of one request differ in their seeds, and in nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flux_engine.errors import RequestError
from flux_engine.request import MAX_SEED, GenerationRequest
from flux_engine.series import next_seed, random_seed, series

REQUEST = GenerationRequest(prompt="a hill", seed=MAX_SEED - 1, num_steps=7)


@pytest.mark.parametrize("seed_use", ["fixed", "increment"])
def test_seeds_follow_one_another_and_start_again_after_the_last(seed_use: str) -> None:
    asked = series(REQUEST, 4, seed_use)
    assert [request.seed for request in asked] == [MAX_SEED - 1, MAX_SEED, 0, 1]
    assert {replace(request, seed=0) for request in asked} == {replace(REQUEST, seed=0)}


def test_random_seeds_are_all_new() -> None:
    asked = series(REQUEST, 8, "random")
    assert len({request.seed for request in asked} | {REQUEST.seed}) == 9
    assert len({random_seed() for _ in range(20)}) > 1


@pytest.mark.parametrize("count", [0, -1, 1001, 1.5, True])
def test_a_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(RequestError, match="from 1 to 1000"):
        series(REQUEST, count)


def test_only_an_incremented_seed_moves_on() -> None:
    assert next_seed(7, 3, "increment") == 10
    assert next_seed(MAX_SEED, 1, "increment") == 0
    assert [next_seed(7, 3, seed_use) for seed_use in ("fixed", "random")] == [7, 7]
