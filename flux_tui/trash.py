"""Pictures that were thrown away: moved within the gallery, so that they can come back, until somebody empties it.

    <gallery>/.trash/2025-11-23/223900-1-42.png

No file is ever overwritten or deleted here.
"""

from __future__ import annotations

import os
from pathlib import Path

from flux_engine.errors import OutputError

TRASH = ".trash"


def discard(root: Path, path: Path) -> None:
    """Move a picture of the gallery at `root` to its trash.

    Raises:
        OutputError: it is gone, cannot be moved, or one of that name is there.
    """
    _move(path, _place(root, path))


def restore(root: Path, path: Path) -> None:
    """Move a picture back to `path`, where it was before it was discarded.

    Raises:
        OutputError: it is gone, cannot be moved, or another has taken its name.
    """
    _move(_place(root, path), path)


def holds(root: Path, path: Path) -> bool:
    """Whether a picture that was at `path` is in the trash."""
    return _place(root, path).exists()


def _place(root: Path, path: Path) -> Path:
    return root / TRASH / path.relative_to(root)


def _move(source: Path, target: Path) -> None:
    if target.exists():
        raise OutputError(f"{source} was not moved: {target} is there.", hint="Move that one away.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(source, target)
    except OSError as error:
        fault = f"{source} could not be moved to {target.parent}: {error.strerror}."
        raise OutputError(fault, hint="Is it still there, and its folder yours to write?") from error
