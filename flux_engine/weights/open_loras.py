"""LoRA files that are in use: opened and hashed once, as long as they stay the same. Knows no device and no network."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from flux_engine.configs import Component, NetworkConfig
from flux_engine.errors import CheckpointNotFound, WeightsMismatch
from flux_engine.request import LoraUse
from flux_engine.weights.checkpoint import stored_shapes
from flux_engine.weights.deltas import KernelDelta, VectorDelta
from flux_engine.weights.lora_files import Lora, open_lora
from flux_engine.weights.names import LeafPath
from flux_engine.weights.opening import opened

Stamp = tuple[str, int, int]
"""A file as it is now: its path, its size in bytes and when it was changed, in nanoseconds."""


@dataclass(frozen=True, eq=False)
class OpenLora:
    """A file whose header is read.

    Attributes:
        lora: what it changes.
        sha256: of the file, in lower-case hex.
        stamp: of the file when it was opened.
        lenient: whether what does not fit was left out.
    """

    lora: Lora
    sha256: str
    stamp: Stamp
    lenient: bool

    def changes(self, component: Component) -> tuple[list[KernelDelta], list[VectorDelta]]:
        """What it changes in one network."""
        kernels, vectors = self.lora.kernels, self.lora.vectors
        return [d for d in kernels if d.component == component], [d for d in vectors if d.component == component]


class OpenLoras:
    """Opens LoRAs, and knows those that are open.

    Args:
        configs: of every network that a LoRA may change.
    """

    def __init__(self, configs: Mapping[Component, NetworkConfig]) -> None:
        self._configs = configs
        self._open: tuple[OpenLora, ...] = ()
        self._hashes: dict[Stamp, str] = {}

    @cached_property
    def _shapes(self) -> dict[Component, dict[LeafPath, tuple[int, ...]]]:
        """Of all leaves as they are stored; found out when the first file is opened, for it takes a second."""
        return {component: stored_shapes(component, config) for component, config in self._configs.items()}

    def find(self, use: LoraUse, *, lenient: bool) -> OpenLora | None:
        """The open file, if it is one and has not changed since.

        Raises:
            CheckpointNotFound: it is not there.
            WeightsMismatch: it has another hash than it should.
        """
        stamp = _stamp(use)
        for lora in self._open:
            if (lora.stamp, lora.lenient) == (stamp, lenient):
                _check_hash(use, lora.sha256)
                return lora
        return None

    def open(self, use: LoraUse, *, lenient: bool) -> OpenLora:
        """Hash a file and read its header. Raises as `find` and `lora_files.open_lora` do."""
        stamp = _stamp(use)
        if stamp not in self._hashes:
            self._hashes[stamp] = _sha256(use)
        _check_hash(use, self._hashes[stamp])
        lora = open_lora(_path(use), self._shapes, lenient=lenient)
        return OpenLora(lora, self._hashes[stamp], stamp, lenient)

    def keep(self, loras: Iterable[OpenLora]) -> None:
        """These are open from now on, and no others."""
        self._open = tuple(loras)


def _path(use: LoraUse) -> Path:
    return Path(os.path.expanduser(use.file))


def _stamp(use: LoraUse) -> Stamp:
    try:
        found = _path(use).stat()
    except (OSError, ValueError) as error:  # ValueError: a name with a NUL
        raise _unreadable(use, error) from error
    return use.file, found.st_size, found.st_mtime_ns


def _sha256(use: LoraUse) -> str:
    try:
        with opened(_path(use)) as its:
            return hashlib.file_digest(its, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(use, error) from error


def _unreadable(use: LoraUse, error: Exception) -> CheckpointNotFound:
    reason = getattr(error, "strerror", None) or str(error)
    return CheckpointNotFound(
        f"The LoRA {use.file} cannot be read: {reason}.", hint="Choose another file, or leave this LoRA out."
    )


def _check_hash(use: LoraUse, sha256: str) -> None:
    if use.sha256 and use.sha256 != sha256:
        raise WeightsMismatch(
            f"The LoRA {use.file} has the SHA-256 {sha256}; expected {use.sha256}.",
            hint="It is another file than the one that was used: put that one back, or choose this one anew.",
        )
