"""Several pictures of one request: which seed each of them gets. stdlib only."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Literal

from flux_engine.errors import RequestError
from flux_engine.request import MAX_SEED, GenerationRequest, is_whole

SeedUse = Literal["random", "fixed", "increment"]

MAX_COUNT = 1000


def random_seed() -> int:
    """A seed nobody chose."""
    return secrets.randbelow(MAX_SEED + 1)


def series(request: GenerationRequest, count: int = 1, seed_use: SeedUse = "fixed") -> list[GenerationRequest]:
    """`count` requests that differ in their seeds only.

    With "random", each has a seed nobody chose. Else the first keeps the request's own and each next one adds 1 (after
    2**32 - 1 comes 0): the same picture twice would help nobody.

    Args:
        count: 1 to 1000.

    Raises:
        RequestError: the count is out of range.
    """
    if not is_whole(count) or not 1 <= count <= MAX_COUNT:
        raise RequestError(f"count is {count!r}; expected a whole number from 1 to {MAX_COUNT}.")
    if seed_use == "random":
        return [replace(request, seed=random_seed()) for _ in range(count)]
    return [replace(request, seed=(request.seed + place) % (MAX_SEED + 1)) for place in range(count)]


def next_seed(seed: int, count: int, seed_use: SeedUse) -> int:
    """The seed that stands in the form once a series of `count` has been asked for."""
    return (seed + count) % (MAX_SEED + 1) if seed_use == "increment" else seed
