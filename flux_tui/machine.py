"""How much this machine's disks have left, asked without waiting for one that does not answer."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path


def free_disk_bytes(folder: Path) -> int | None:
    """Bytes left on the disk that holds a folder, or will once it is made."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None


class DiskWatch:
    """Measures a disk in a thread of its own: a folder whose server is gone answers when it comes back, or never.

    Args:
        folder: one on the disk, or one that will be.
        tell: receives the bytes left, None where nothing is known, from the thread; must not raise.
    """

    def __init__(self, folder: Path, tell: Callable[[int | None], object]) -> None:
        self._folder = folder
        self._tell = tell
        self._lock = threading.Lock()
        self._is_asked = self._is_measuring = False

    def ask(self) -> None:
        """Have it measured, once more if that is under way; returns at once."""
        with self._lock:
            self._is_asked = True
            if self._is_measuring:
                return
            self._is_measuring = True
        threading.Thread(target=self._measure, name="flux-disk", daemon=True).start()

    def _measure(self) -> None:
        while self._take():
            self._tell(free_disk_bytes(self._folder))

    def _take(self) -> bool:
        with self._lock:
            self._is_measuring, self._is_asked = self._is_asked, False
            return self._is_measuring
