"""What XLA has compiled is kept on the disk, so that a second start compiles nothing. Knows JAX's settings alone."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import jax
import platformdirs

MAX_BYTES = 2**30  # of FLUX.1's programs some dozens of MB for each size; the oldest go first


def keep_compiled(folder: Path | None = None) -> None:
    """Have JAX keep compiled programs, whatever their size, unless a folder of the user's own is set already.

    A user sets one, or none, by JAX's own variables: JAX_COMPILATION_CACHE_DIR, JAX_ENABLE_COMPILATION_CACHE. Entries
    are of one JAX, one device and one machine's abilities; JAX passes over all others. It warns of damaged ones.

    Args:
        folder: where; by default `compiled` in the user's cache folder. Where it cannot be made, nothing is kept.
    """
    if jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return
    folder = folder or platformdirs.user_cache_path("flux-tui", appauthor=False) / "compiled"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".flux-tui").touch()  # not in a folder that is closed to writing: JAX would warn of each program
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)  # with it, JAX locks the folder
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def keeps_compiled() -> bool:
    """Whether what is compiled now is found there the next time."""
    config: Any = jax.config
    return bool(config.jax_enable_compilation_cache and config.jax_compilation_cache_dir)
