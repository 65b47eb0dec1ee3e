"""What a LoRA changes, whatever program wrote it: one term for each weight, in the orientation of the networks here.

A term is added to a kernel [in, out], or to a stretch of its outputs: x W becomes x W + strength * x term. Knows no
file, no names of other programs and no device; arrays are NumPy's, read when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flux_engine.configs import Component
from flux_engine.weights.names import LeafPath


@dataclass(frozen=True, eq=False)
class LowRank:
    """down @ up: [in, rank] and [rank, out], float32, with alpha / rank multiplied into `up`."""

    down: np.ndarray
    up: np.ndarray

    def dense(self) -> np.ndarray:
        """[in, out]."""
        return self.down @ self.up


@dataclass(frozen=True, eq=False)
class Kronecker:
    """kron(left, right): [a, c] and [b, d] with a b = in and c d = out, float32, its factor multiplied into `left`."""

    left: np.ndarray
    right: np.ndarray

    def dense(self) -> np.ndarray:
        """[in, out]."""
        return np.kron(self.left, self.right)


@dataclass(frozen=True, eq=False)
class Dense:
    """A whole difference [in, out], float32."""

    delta: np.ndarray

    def dense(self) -> np.ndarray:
        """[in, out]."""
        return self.delta


Term = LowRank | Kronecker | Dense


@dataclass(frozen=True, eq=False)
class KernelDelta:
    """A change of one kernel.

    Attributes:
        component: the network.
        module: the path of its module as it is stored: ("double_blocks", "0", "attn", "img_qkv").
        start, stop: which of the kernel's outputs it changes.
        read: reads the term, for inputs `in` and outputs `stop - start`.
        magnitude: reads DoRA's magnitudes (Liu et al. 2024, arXiv:2402.09353): float32 [1, stop - start], one for each
            output, or [in, 1]. The changed weight W + term is then scaled so that its columns (rows) have these
            lengths, and strength s gives W + s (scaled - W). None where it is no DoRA.
    """

    component: Component
    module: LeafPath
    start: int
    stop: int
    read: Callable[[], Term]
    magnitude: Callable[[], np.ndarray] | None = None


@dataclass(frozen=True, eq=False)
class VectorDelta:
    """A change of a bias or of a norm's scale.

    Attributes:
        component: the network.
        leaf: the leaf's path as it is stored: ("single_blocks", "3", "query_norm", "scale").
        start, stop: which of its numbers it changes.
        read: reads them, float32 [stop - start].
        replaces: whether they stand for the leaf itself (strength s gives v + s (new - v)) or are added to it.
    """

    component: Component
    leaf: LeafPath
    start: int
    stop: int
    read: Callable[[], np.ndarray]
    replaces: bool = False
