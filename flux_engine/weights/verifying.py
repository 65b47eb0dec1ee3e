"""Whether a checkpoint is whole: every leaf is read once, and what is not a number is counted.

Its hash is of the weights, not of files: the same numbers in the same types have the same one in every layout.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flux_engine.configs import Component
from flux_engine.tokenizers import load_tokenizers
from flux_engine.weights.checkpoint import check_leaves
from flux_engine.weights.reading import Wanted, reading
from flux_engine.weights.sources import COMPONENTS, open_checkpoint
from flux_engine.weights.stored import Weights

Watch = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What was found of one network, all of whose leaves are there and have the shapes of its config.

    Attributes:
        origin: file or folder.
        leaves, parameters: how many.
        dtypes: how many leaves are stored as each type.
        nans, infinities: how many numbers are none.
        sha256: of all leaves by their paths, with types and shapes.
    """

    component: Component
    origin: str
    leaves: int
    parameters: int
    dtypes: dict[str, int]
    nans: int
    infinities: int
    sha256: str

    @property
    def is_sound(self) -> bool:
        return not (self.nans or self.infinities)


def verify_checkpoint(path: Path, watch: Watch = lambda component, fraction: None) -> Iterator[Verified]:
    """Read all weights of all four networks, a few leaves in memory at a time.

    Args:
        path: anything that `open_checkpoint` takes.
        watch: told of each leaf the network and the fraction of its leaves that are read.

    Raises:
        CheckpointError: as `open_checkpoint` and `load_network` do.
        TokenizerError: a tokenizer is missing or unreadable.
    """
    checkpoint = open_checkpoint(path)
    for component in COMPONENTS:
        yield _verified(checkpoint.parts[component].open(), watch)
    load_tokenizers(checkpoint.folder, guidance_embeds=checkpoint.variant == "dev")


def _verified(weights: Weights, watch: Watch) -> Verified:
    paths = sorted(check_leaves(weights))
    whole, nans, infinities = hashlib.sha256(), 0, 0
    with reading(weights, [Wanted(path, weights.leaves[path].dtype) for path in paths]) as arrays:
        for place, (path, array) in enumerate(zip(paths, arrays, strict=True)):
            watch(weights.component, place / len(paths))
            whole.update(f"{'.'.join(path)} {array.dtype.name} {array.shape}\n".encode())
            whole.update(np.ascontiguousarray(array).view(np.uint8).data)
            nans += int(np.isnan(array).sum())
            infinities += int(np.isinf(array).sum())
    return Verified(
        component=weights.component,
        origin=weights.origin,
        leaves=len(paths),
        parameters=sum(math.prod(weights.leaves[path].shape) for path in paths),
        dtypes=dict(Counter(weights.leaves[path].kind for path in paths)),
        nans=nans,
        infinities=infinities,
        sha256=whole.hexdigest(),
    )
