"""Whether the networks here compute what diffusers and transformers compute with the same weights, module by module.

A checkpoint that is wrong in itself is wrong on both sides: what is seen is a fault of the names, the layouts and the
mathematics here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flux_engine.weights.chains import CHAINS
from flux_engine.weights.checkpoint import check_leaves
from flux_engine.weights.reference import ReferenceFault
from flux_engine.weights.sides import Compared, Sides, Watch
from flux_engine.weights.sources import COMPONENTS, open_checkpoint


@dataclass(frozen=True, kw_only=True)
class NotCompared:
    """Why there is no comparison, or no more of it. It says nothing about the checkpoint."""

    reason: str


def compare_checkpoint(path: Path, watch: Watch = lambda component, fraction: None) -> Iterator[Compared | NotCompared]:
    """Run all four networks beside the reference's, with the same weights, on small inputs that are always the same.

    Args:
        path: anything that `open_checkpoint` takes.
        watch: told of each module the network and the fraction of its weights that have been used.

    Raises:
        CheckpointError: as `open_checkpoint` and `load_network` do.
    """
    checkpoint = open_checkpoint(path)
    try:
        for component in COMPONENTS:
            weights = checkpoint.parts[component].open()
            check_leaves(weights)
            yield from CHAINS[component](Sides(weights, watch), weights.config)
    except ReferenceFault as fault:
        yield NotCompared(reason=str(fault))
