"""Thumbnails: pictures of at most 40 pixels a side, and the cache that keeps them between sessions.

The cache is one SQLite file, and a cache only: whatever is wrong with it costs time and never a picture. A hundred
thousand small files would take 400 MB of blocks; as rows they take 130 MB, of which the newest 64 MB are kept.
A row is a JPEG without chroma subsampling: 1.2 KB and 0.09 ms to read (WebP: 0.6 KB, but 0.25 ms to write and 2 dB
worse), where decoding a 1024 x 1024 PNG takes 17 ms. Each call opens the file anew, which takes 0.07 ms and leaves
nothing to share between threads and nothing to close.

Knows pixels and files; knows no screen. Pillow and sqlite3 are imported when the first thumbnail is asked for.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flux_engine.request import MAX_SIZE_PX, RGBImage

if TYPE_CHECKING:
    import sqlite3

    from PIL import Image

log = logging.getLogger(__name__)

SIDE_PX = 40
MAX_CACHE_BYTES = 64 * 1024 * 1024
SCHEMA = 1
BUSY_S = 0.2  # another program writes: rather no thumbnail from the cache than a long wait for it

Key = tuple[bytes, int, int]
T = TypeVar("T")


class Thumbnails:
    """Small pictures of picture files.

    Args:
        file: the cache; its folder is made when the first thumbnail is kept. None keeps nothing.
        max_bytes: how large the cache may grow; the oldest thumbnails go first.
    """

    def __init__(self, file: Path | None = None, max_bytes: int = MAX_CACHE_BYTES) -> None:
        self._file = file
        self._max_bytes = max_bytes

    def get(self, path: Path) -> RGBImage:
        """The thumbnail of a PNG file, from the cache or made now and kept.

        Raises:
            OSError: the file is gone, or is no picture that can be shown.
        """
        key = _key(path)
        data = self._use(lambda database: _select(database, key))
        if data is not None and (image := _decoded(data)):
            return image
        image = _shrunk_file(path)
        self._put(key, image)
        return image

    def keep(self, path: Path, image: RGBImage) -> None:
        """Remember the thumbnail of a file that was just written with these pixels; a faulty cache is passed over."""
        if self._file is None:
            return
        try:
            key = _key(path)
        except OSError:
            return
        self._put(key, _shrunk(image))

    def _put(self, key: Key, image: RGBImage) -> None:
        if self._file is not None:
            data = _encoded(image)
            self._use(lambda database: _insert(database, key, data, self._max_bytes))

    def _use(self, use: Callable[[sqlite3.Connection], T]) -> T | None:
        """Do something with the cache; None where there is none, or none that works now."""
        import sqlite3

        if self._file is None:
            return None
        try:
            with closing(_opened(self._file)) as database:
                return use(database)
        except sqlite3.Error as error:
            if _is_broken(error):
                log.warning("%s is damaged (%s) and is made anew", self._file, error)
                _delete(self._file)
        except OSError as error:  # the folder cannot be made
            log.debug("no cache: %s", error)
        return None


def stat_of_file(path: Path) -> os.stat_result:
    """What the disk tells of a file.

    Raises:
        OSError: it is gone, or is no regular file: one who opens a pipe waits until somebody writes into it.
    """
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise OSError(f"{path} is no regular file")
    return about


def _key(path: Path) -> Key:
    """What a thumbnail is filed under: a file that was written again has another key."""
    about = stat_of_file(path)
    return os.fsencode(os.path.abspath(path)), about.st_mtime_ns, about.st_size


# The cache


def _opened(file: Path) -> sqlite3.Connection:
    import sqlite3

    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = sqlite3.connect(file, timeout=BUSY_S, isolation_level=None)
    try:
        database.execute("PRAGMA synchronous=OFF")  # a cache need not survive a power cut
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            _create(database)
        elif version != SCHEMA:
            raise sqlite3.DatabaseError(f"schema {version}, expected {SCHEMA}")
    except BaseException:
        database.close()
        raise
    return database


def _create(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.execute(
        "CREATE TABLE IF NOT EXISTS thumbnails (path BLOB PRIMARY KEY, mtime_ns INTEGER, size INTEGER, jpeg BLOB)"
    )
    database.execute(f"PRAGMA user_version={SCHEMA}")
    database.execute("COMMIT")


def _select(database: sqlite3.Connection, key: Key) -> bytes | None:
    found = database.execute("SELECT jpeg FROM thumbnails WHERE path=? AND mtime_ns=? AND size=?", key).fetchone()
    return found[0] if found and isinstance(found[0], bytes) else None


def _insert(database: sqlite3.Connection, key: Key, data: bytes, max_bytes: int) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?, ?)", (*key, data))
    if _used_bytes(database) > max_bytes:  # a tenth goes at once, so that this is rare
        database.execute(
            "DELETE FROM thumbnails WHERE rowid IN (SELECT rowid FROM thumbnails ORDER BY rowid"
            " LIMIT (SELECT 1 + count(*) / 10 FROM thumbnails))"
        )
    database.execute("COMMIT")


def _used_bytes(database: sqlite3.Connection) -> int:
    """Pages in use; those of deleted rows stay in the file and are used again."""
    pages, free, page_bytes = (
        database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * page_bytes)


def _is_broken(error: sqlite3.Error) -> bool:
    """Whether the file is no cache of ours, rather than busy, full or not ours to write."""
    import sqlite3

    code = getattr(error, "sqlite_errorcode", None)  # None: raised here, for another schema
    return code is None or code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def _delete(file: Path) -> None:
    for name in (file, file.with_name(f"{file.name}-journal")):
        try:
            name.unlink(missing_ok=True)
        except OSError as error:
            log.debug("%s stays: %s", name, error)


# The pixels


def _shrunk_file(path: Path) -> RGBImage:
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as file:
            if file.width * file.height > MAX_SIZE_PX**2:
                raise OSError(f"{path} is {file.width} x {file.height} pixels; expected at most {MAX_SIZE_PX} a side")
            return _small(file.convert("RGB"))
    except OSError:
        raise
    except Exception as error:  # Pillow has no one type for a damaged file: SyntaxError, ValueError, struct.error...
        raise OSError(f"{path} is no picture: {error}") from error


def _shrunk(image: RGBImage) -> RGBImage:
    from PIL import Image

    return _small(Image.frombytes("RGB", (image.width, image.height), image.data))


def _small(picture: Image.Image) -> RGBImage:
    picture.thumbnail((SIDE_PX, SIDE_PX))
    return RGBImage(picture.width, picture.height, picture.tobytes())


def _encoded(image: RGBImage) -> bytes:
    from PIL import Image

    buffer = BytesIO()
    picture = Image.frombytes("RGB", (image.width, image.height), image.data)
    picture.save(buffer, format="JPEG", quality=85, subsampling=0)
    return buffer.getvalue()


def _decoded(data: bytes) -> RGBImage | None:
    from PIL import Image

    try:
        with Image.open(BytesIO(data), formats=("JPEG",)) as file:
            if max(file.size) > SIDE_PX:
                return None
            return RGBImage(file.width, file.height, file.convert("RGB").tobytes())
    except Exception:  # as above; a thumbnail is made anew
        return None
