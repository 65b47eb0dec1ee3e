"""A stack of blocks' weights [N, ...] of which each block is an array of its own.

A scan takes a block out of one array by copying it: on an H100, at 1024x1024 pixels, those copies were 9 % of a step.
With arrays of their own, blocks are run one after another by a program of theirs. (All of them written out in a single
program took 44 s to compile instead of 8, and in a model of 12 blocks were no faster.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np


@jax.tree_util.register_pytree_node_class
class Apart:
    """Looks like an array [N, ...] as far as a stack is looked at: its shape, its type, one block.

    Args:
        blocks: arrays of one shape, type and kind of memory.
    """

    def __init__(self, blocks: Iterable[Any]) -> None:
        self.blocks = tuple(blocks)

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        return self.blocks, None

    @classmethod
    def tree_unflatten(cls, _: None, blocks: Iterable[Any]) -> Apart:
        return cls(blocks)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.blocks), *self.blocks[0].shape)

    @property
    def dtype(self) -> Any:
        return self.blocks[0].dtype

    @property
    def sharding(self) -> jax.sharding.Sharding:
        """Where each block lies."""
        sharding: jax.sharding.Sharding = self.blocks[0].sharding
        return sharding

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, place: Any) -> Any:
        """One block, or for `...` all of it, as a stack."""
        return self if place is ... else self.blocks[place]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.stack([np.asarray(block, dtype) for block in self.blocks])

    def delete(self) -> None:
        for block in self.blocks:
            block.delete()


def is_apart(leaf: Any) -> bool:
    """For `is_leaf` of JAX's trees, too."""
    return isinstance(leaf, Apart)
