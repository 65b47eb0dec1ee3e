"""What a network's weights look like wherever they lie: in a folder of this layout, or in a file of another program."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from flux_engine.configs import Component, NetworkConfig
from flux_engine.weights.names import LeafPath


class Weights(Protocol):
    """One network's weights, wherever they lie: shapes and types at once, arrays when they are asked for.

    Attributes:
        component: which network.
        config: its sizes.
        origin: the file or folder, for messages.
        files: that hold the weights, as far as they are files of their own.
        leaves: what is stored, by its path in this layout.
        scales: the shapes of those that others of them need beside them, and no network has.
        unknown: names of what is stored and has no path in this layout.
    """

    @property
    def component(self) -> Component: ...
    @property
    def config(self) -> NetworkConfig: ...
    @property
    def origin(self) -> str: ...
    @property
    def files(self) -> Collection[Path]: ...
    @property
    def leaves(self) -> Mapping[LeafPath, StoredLeaf]: ...
    @property
    def scales(self) -> Mapping[LeafPath, tuple[int, ...]]: ...
    @property
    def unknown(self) -> Sequence[str]: ...
    def read(self, paths: Sequence[LeafPath], dtype: np.dtype) -> list[np.ndarray]:
        """Arrays at `paths`, as `dtype`."""

    def read_into(self, path: LeafPath, target: np.ndarray) -> None:
        """The array at `path` into another of its shape and any type, C-contiguous; threads may do so at once."""


class StoredLeaf(Protocol):
    """Shape and type of an array that can be read, and what it is stored as, for people: "int8"."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype: ...
    @property
    def kind(self) -> str: ...
