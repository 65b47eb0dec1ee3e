"""A thread that reads what the history pane needs to show: records out of picture files, and their thumbnails.

What is wanted is told anew whenever the view moves, and only the latest wish counts: rows that went by are never read.
Words come before pictures, and pictures only after a moment of quiet: a screen of thumbnails is 50 KB, which takes half
a second over a 100 kB/s link and would trail behind every key held down. Knows files and cells; knows no widget.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flux_tui.gallery import Gallery, SavedPicture
from flux_tui.preview import CellImage, half_blocks

log = logging.getLogger(__name__)

QUIET_S = 0.08
BATCH_S = 0.1  # what comes within this time is told, and painted, together

GONE = "gone"
UNREADABLE = "cannot be read"
FOREIGN = "no prompt"


@dataclass(frozen=True)
class RecordRead:
    """What a picture file says of itself, or why it says nothing."""

    path: Path
    picture: SavedPicture | str


@dataclass(frozen=True)
class ThumbnailDrawn:
    """A picture in at most `room` (columns, lines); empty when it cannot be drawn."""

    path: Path
    room: tuple[int, int]
    cells: CellImage


Found = RecordRead | ThumbnailDrawn


class Loader:
    """One daemon thread, started by the first wish.

    Args:
        gallery: reads the files.
        deliver: receives what was found, in the loader's thread.
    """

    def __init__(self, gallery: Gallery, deliver: Callable[[list[Found]], None]) -> None:
        self._gallery = gallery
        self._deliver = deliver
        self._changed = threading.Condition()
        self._records: deque[Path] = deque()
        self._thumbnails: deque[Path] = deque()
        self._room = (0, 0)
        self._quiet_at_s = 0.0
        self._stopped = False
        self._thread: threading.Thread | None = None

    def want(self, records: Sequence[Path], thumbnails: Sequence[Path] = (), room: tuple[int, int] = (0, 0)) -> None:
        """Read these next, the first ones first, in place of all that was wanted before.

        Args:
            records: pictures whose records are wanted.
            thumbnails: pictures to draw.
            room: the columns and lines to draw them in.
        """
        with self._changed:
            self._records, self._thumbnails, self._room = deque(records), deque(thumbnails), room
            self._quiet_at_s = time.monotonic() + QUIET_S
            if self._thread is None and (records or thumbnails) and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="flux-history", daemon=True)
                self._thread.start()
            self._changed.notify()

    def stop(self, timeout_s: float = 1.0) -> bool:
        """Want nothing more, ever; False when a file still holds the thread up after `timeout_s` seconds."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        batch: list[Found] = []
        since_s = 0.0
        while not self._stopped:
            task = self._next(wait=not batch)
            if task is not None:
                since_s = since_s if batch else time.monotonic()
                batch.append(task())
            if batch and (task is None or time.monotonic() - since_s > BATCH_S):
                self._deliver(batch)
                batch = []

    def _next(self, *, wait: bool) -> Callable[[], Found] | None:
        """What to do now; None when there is nothing to do without waiting, or nothing ever."""
        with self._changed:
            while not self._stopped:
                if self._records:
                    path = self._records.popleft()
                    return lambda: self._read(path)
                quiet_in_s = self._quiet_at_s - time.monotonic()
                if self._thumbnails and quiet_in_s <= 0:
                    path, room = self._thumbnails.popleft(), self._room
                    return lambda: self._draw(path, room)
                if not wait:
                    return None
                self._changed.wait(quiet_in_s if self._thumbnails else None)
        return None

    def _read(self, path: Path) -> RecordRead:
        try:
            record = self._gallery.record(path)
        except FileNotFoundError:
            return RecordRead(path, GONE)
        except OSError:
            return RecordRead(path, UNREADABLE)
        return RecordRead(path, SavedPicture(path, record) if record else FOREIGN)

    def _draw(self, path: Path, room: tuple[int, int]) -> ThumbnailDrawn:
        try:
            cells = half_blocks(self._gallery.thumbnails.get(path), *room)
        except OSError as error:
            log.debug("no thumbnail: %s", error)
            cells = CellImage(())
        return ThumbnailDrawn(path, room, cells)
