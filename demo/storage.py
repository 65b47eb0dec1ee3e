"""Weights between the stages, as plain npz files keyed by leaf path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def save_state(path: Path, state: Any) -> None:
    """Write every leaf under its path; the file appears whole or not at all."""
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **{name: np.asarray(leaf) for name, leaf in _leaves(state)})
    partial.rename(path)


def load_state(path: Path, like: Any) -> Any:
    """A tree shaped as `like` with the leaves of the file."""
    stored = np.load(path)
    leaves = [jnp.asarray(stored[name]) for name, _ in _leaves(like)]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _leaves(state: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state)]
