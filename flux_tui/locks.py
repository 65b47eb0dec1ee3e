"""Locks between programs that share a folder; the system drops them when their program ends, however it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, made if it is missing, for a moment: no other program that does so changes a file in it meanwhile.

    Nor does another thread; who holds it already would wait for itself.

    Raises:
        OSError: it cannot be made or opened.
    """
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a network share may refuse; then there is none
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


class Claim:
    """Whether this program is the first of those that claim a file; it is until `release`, or its end.

    Where a disk knows no locks, or takes no file, every program is the first.

    Args:
        path: the file, made if it is missing; it stays empty.
    """

    def __init__(self, path: Path) -> None:
        import fcntl

        self.is_ours = True
        self._handle: int | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.is_ours = False
        except OSError:
            pass

    def release(self) -> None:
        """Let another program be the first."""
        self.is_ours = False
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)
