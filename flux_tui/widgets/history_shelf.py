"""What the history pane has in hand: records and thumbnails that were read, as many as it may keep.

Asks a `Loader` for what is missing; knows no place, no cursor and no widget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from flux_tui.gallery import Gallery, SavedPicture
from flux_tui.loader import Found, Loader, RecordRead
from flux_tui.widgets.history_cells import Thumb, thumb_of

T = TypeVar("T")

MAX_RECORDS = 4096  # 2 kB each, with a long prompt
MAX_THUMBS = 512  # 20 kB each, as segments of 20 x 10 cells


class Shelf:
    """Records and thumbnails by path.

    Args:
        gallery: where they are read from.
        deliver: receives what the loader found, in the loader's thread; hand it to `take` in the widget's.
    """

    def __init__(self, gallery: Gallery, deliver: Callable[[list[Found]], None]) -> None:
        self._loader = Loader(gallery, deliver)
        self._records: dict[Path, SavedPicture | str] = {}
        self._thumbs: dict[Path, Thumb] = {}
        self._room = (0, 0)

    def record(self, path: Path) -> SavedPicture | str | None:
        """A picture, or what is wrong with it in words; None while it is not read."""
        return self._records.get(path)

    def thumb(self, path: Path) -> Thumb | None:
        """A picture's thumbnail; None while it is not drawn."""
        return self._thumbs.get(path)

    def put(self, pictures: Iterable[SavedPicture]) -> list[Path]:
        """Keep records that are known; returns their paths."""
        new = {picture.path: picture for picture in pictures}
        self._records |= new
        return list(new)

    def want(self, paths: Sequence[Path], room: tuple[int, int], *, again: bool = False) -> None:
        """Read what is missing of these, the first ones first, and nothing else.

        Args:
            paths: what is in view, then what is near.
            room: columns and lines of a thumbnail; (0, 0) for none.
            again: read the records anew: files may have come and gone.
        """
        if room != self._room:
            self._room = room
            self._thumbs.clear()
        _trim(self._records, MAX_RECORDS, paths)
        _trim(self._thumbs, MAX_THUMBS, paths)
        records = [path for path in paths if again or path not in self._records]
        thumbs = [path for path in paths if path not in self._thumbs] if any(room) else []
        self._loader.want(records, thumbs, room)

    def take(self, found: Iterable[Found]) -> set[Path]:
        """Keep what the loader found; returns the pictures that look different now."""
        changed = set()
        for item in found:
            if isinstance(item, RecordRead):
                if self._records.get(item.path) == item.picture:
                    continue
                self._records[item.path] = item.picture
            elif item.room == self._room:
                self._thumbs[item.path] = thumb_of(item.cells)
            changed.add(item.path)
        return changed

    def stop(self) -> None:
        """Read nothing more."""
        self._loader.stop()


def _trim(kept: dict[Path, T], most: int, near: Iterable[Path]) -> None:
    """Keep only what is near, once there is more than `most`."""
    if len(kept) > most:
        wanted = set(near)
        for path in [path for path in kept if path not in wanted]:
            del kept[path]
