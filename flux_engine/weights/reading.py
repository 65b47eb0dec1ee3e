"""Leaves in the order asked for, read by threads while the one before is used. Bounded: it knows bytes, and no file."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from flux_engine.weights.casting import empty
from flux_engine.weights.names import LeafPath
from flux_engine.weights.stored import Weights

THREADS = min(4, os.cpu_count() or 1)
AHEAD_BYTES = 256 * 2**20  # of leaves that are read and not yet used, or being read; a leaf may be larger


class Wanted(NamedTuple):
    """A leaf, and the type that it is wanted as; `into` is an array of that type to be filled, None a new one."""

    path: LeafPath
    dtype: np.dtype
    into: np.ndarray | None = None


@contextmanager
def reading(weights: Weights, leaves: Iterable[Wanted]) -> Iterator[Iterator[np.ndarray]]:
    """The arrays of these leaves, in this order; when the block ends, nothing reads any more.

    The iterator raises what `weights.read_into` does.
    """
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="weights")
    try:
        yield _in_order(pool, weights, leaves)
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool: ThreadPoolExecutor, weights: Weights, leaves: Iterable[Wanted]) -> Iterator[np.ndarray]:
    waiting: deque[tuple[int, Future[np.ndarray]]] = deque()
    ahead = 0
    for wanted in leaves:
        size = math.prod(weights.leaves[wanted.path].shape) * wanted.dtype.itemsize
        while waiting and ahead + size > AHEAD_BYTES:
            ahead -= waiting[0][0]
            yield waiting.popleft()[1].result()
        waiting.append((size, pool.submit(_read, weights, wanted)))
        ahead += size
    while waiting:
        yield waiting.popleft()[1].result()


def _read(weights: Weights, wanted: Wanted) -> np.ndarray:
    array = empty(weights.leaves[wanted.path].shape, wanted.dtype) if wanted.into is None else wanted.into
    weights.read_into(wanted.path, array)
    return array
