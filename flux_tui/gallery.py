"""The gallery: a folder of days, each a folder of pictures. Files are the truth; there is no index to go stale.

    <gallery>/2025-11-23/223900-1-42.png      local time of saving, place among those of that second, seed
    <gallery>/.stars                          which of them are starred
    <gallery>/.trash/2025-11-23/...           those that were thrown away, see `flux_tui.trash`

Knows file names and PNG headers; knows no screen and no engine.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flux_engine.errors import OutputError
from flux_engine.png import PictureRecord, check_folder, encode_png, records_of, write_file
from flux_engine.request import PicturesReady
from flux_tui.metadata import read_record
from flux_tui.stars import read_stars, write_star
from flux_tui.thumbnails import Thumbnails, stat_of_file

DAY_FORMAT = "%Y-%m-%d"
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
NAME = re.compile(r"(?P<time>\d{6})-(?P<n>\d+)-(?P<seed>\d+)\.png")


@dataclass(frozen=True)
class Day:
    """A day's folder and the names of its pictures, newest first. Names, not paths: a hundred thousand of those take
    0.3 s to make and 0.2 s to compare.
    """

    folder: Path
    names: list[str]


@dataclass(frozen=True)
class SavedPicture:
    """A picture of the gallery: its file and what the file says of itself."""

    path: Path
    record: PictureRecord

    @property
    def day(self) -> str:
        """The day it was saved, "2025-11-23"; its folder's name."""
        return self.path.parent.name

    @property
    def time(self) -> str:
        """The time of day it was saved, "22:39"; its file's name says it."""
        return time_of(self.path)


class BatchNotSaved(OutputError):
    """A picture of a batch could not be written; `saved` are those before it."""

    def __init__(self, cause: OutputError, saved: tuple[SavedPicture, ...]) -> None:
        super().__init__(str(cause), hint=cause.hint)
        self.saved = saved


class Gallery:
    """Pictures in day folders under `root`. Making one touches no disk.

    Args:
        root: the folder.
        thumbnails: makes and keeps their thumbnails; None keeps none between sessions.
    """

    def __init__(self, root: Path, thumbnails: Thumbnails | None = None) -> None:
        self.root = root
        self.thumbnails = thumbnails or Thumbnails()
        self._starring = threading.Lock()

    def check(self) -> None:
        """Raises OutputError when no picture can be saved here today; makes the folder."""
        check_folder(self.root)
        if os.path.lexists(today := self.root / datetime.now().astimezone().strftime(DAY_FORMAT)):
            check_folder(today)

    def save(self, ready: PicturesReady, now: datetime | None = None) -> tuple[SavedPicture, ...]:
        """Write the pictures of a batch, each with its record inside.

        Args:
            ready: what the engine painted.
            now: the time of saving, with a zone; this moment, here, if None.

        Raises:
            BatchNotSaved: the folder cannot be written or the disk is full.
        """
        now = now or datetime.now().astimezone()
        created_at = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        stem = now.strftime("%H%M%S")
        folder = self.root / now.strftime(DAY_FORMAT)
        saved: list[SavedPicture] = []
        n = max((order_of(name)[1] for name in _names(folder, NAME) if name.startswith(stem)), default=0)
        for image, record in zip(ready.images, records_of(ready, created_at), strict=True):
            data = encode_png(image, record)
            n += 1
            try:
                while not write_file(path := folder / f"{stem}-{n}-{record.request.seed}.png", data, replace=False):
                    n += 1  # another program has just taken it
            except OutputError as error:
                raise BatchNotSaved(error, tuple(saved)) from error
            saved.append(SavedPicture(path, record))
            self.thumbnails.keep(path, image)
        return tuple(saved)

    def record(self, path: Path) -> PictureRecord | None:
        """What a picture's file says of itself; None when it says nothing.

        Raises:
            OSError: the file is gone or cannot be opened, or is none: a pipe could be read without end.
        """
        stat_of_file(path)
        return read_record(path)

    def days(self) -> list[Day]:
        """Every day and its files, newest first, without opening one; empty when the gallery is not there."""
        return list(self._days())

    @property
    def starred(self) -> frozenset[Path]:
        """The starred pictures; whether they still are there is not asked."""
        return read_stars(self.root)

    def star(self, path: Path, starred: bool = True) -> frozenset[Path]:
        """Star a picture or take its star away; returns all that are starred then.

        Raises:
            OutputError: this cannot be written.
        """
        with self._starring:  # two in a burst read and write one after another
            return write_star(self.root, path, starred)

    def _days(self) -> Iterator[Day]:
        for day in sorted(_names(self.root, DAY), reverse=True):
            yield Day(self.root / day, sorted(_names(self.root / day, NAME), key=order_of, reverse=True))


def time_of(path: Path) -> str:
    """The time of day a picture was saved, "22:39", out of its name."""
    return f"{path.name[:2]}:{path.name[2:4]}"


def _names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir() if pattern.fullmatch(entry.name)]
    except OSError:  # not there yet, or not ours to read
        return []


def order_of(name: str) -> tuple[str, int, str]:
    """What the pictures of a day are sorted by; the one that was saved last has the highest."""
    match = NAME.fullmatch(name)
    assert match is not None, name
    return match["time"], int(match["n"]), name
