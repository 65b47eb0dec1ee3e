"""Leaves come in order, a few ahead of their use and no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from flux_engine.weights import reading as module
from flux_engine.weights.names import LeafPath
from flux_engine.weights.reading import Wanted, reading
from flux_engine.weights.stored import Weights

FLOAT32 = np.dtype(np.float32)


class Numbered:
    """Weights that know which of their leaves are read: the leaf ("n",) is n numbers n."""

    def __init__(self, sizes: Sequence[int], on_read: Callable[[int], None] = lambda size: None) -> None:
        self.leaves: Mapping[LeafPath, Any] = {(str(size),): SimpleNamespace(shape=(size,)) for size in sizes}
        self.read_sizes: list[int] = []
        self._on_read = on_read

    def read_into(self, path: LeafPath, target: np.ndarray) -> None:
        (name,) = path
        self._on_read(int(name))
        self.read_sizes.append(int(name))
        target[...] = int(name)

    def as_weights(self) -> Weights:
        return cast(Weights, self)


def asked(weights: Numbered) -> list[Wanted]:
    return [Wanted(path, FLOAT32) for path in weights.leaves]


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("weights")]


def test_leaves_come_in_the_order_asked_for_whichever_is_read_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "THREADS", 2)
    second = threading.Event()

    def on_read(size: int) -> None:
        if size == 9:
            assert second.wait(60)
        else:
            second.set()

    weights = Numbered([9, 4, 6], on_read)
    with reading(weights.as_weights(), asked(weights)) as arrays:
        assert [array.size for array in arrays] == [9, 4, 6]
    assert weights.read_sizes[0] == 4


class AtOnce(Executor):
    """Does what it is given before it is asked for: as far ahead as threads could ever be."""

    def __init__(self, threads: int, **options: Any) -> None: ...

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(function(*arguments))
        return done


def test_no_more_is_read_ahead_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ThreadPoolExecutor", AtOnce)
    monkeypatch.setattr(module, "AHEAD_BYTES", 100 * FLOAT32.itemsize)
    weights = Numbered([40, 41, 42, 500, 43, 44])
    ahead = []
    with reading(weights.as_weights(), asked(weights)) as arrays:
        used = 0
        for array in arrays:
            used += array.size
            ahead.append(sum(weights.read_sizes) - used)
    assert ahead == [41, 42, 0, 0, 44, 0]  # the large one is read alone


def test_a_leaf_that_cannot_be_read_is_told_in_its_turn() -> None:
    def on_read(size: int) -> None:
        if size == 2:
            raise OSError("torn")

    weights = Numbered([1, 2, 3], on_read)
    with reading(weights.as_weights(), asked(weights)) as arrays:
        assert next(arrays).size == 1
        with pytest.raises(OSError, match="torn"):
            next(arrays)


def test_nothing_reads_any_more_when_the_block_ends_early() -> None:
    weights = Numbered(range(1, 1000))
    with pytest.raises(KeyError), reading(weights.as_weights(), asked(weights)) as arrays:
        next(arrays)
        raise KeyError
    assert readers() == []


def test_a_leaf_is_read_to_where_it_is_wanted() -> None:
    weights, stack = Numbered([3]), np.zeros((2, 3), np.float32)
    with reading(weights.as_weights(), [Wanted(("3",), FLOAT32, stack[1])]) as arrays:
        assert np.shares_memory(next(arrays), stack)
    assert stack.tolist() == [[0, 0, 0], [3, 3, 3]]
