"""Thumbnails are small, come back from the cache, and come all the same where there is none."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from PIL import Image

from flux_engine.png import PictureRecord, encode_png
from flux_engine.request import GenerationRequest, RGBImage
from flux_tui.thumbnails import Thumbnails
from tests.tui.fakes import gradient


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "thumbnails.sqlite3"


def write_picture(path: Path, width: int = 96, height: int = 64) -> Path:
    path.write_bytes(encode_png(gradient(width, height), PictureRecord(request=GenerationRequest(prompt="a"))))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_picture(tmp_path / "a.png")


def spoil(path: Path) -> None:
    """Make it no picture, of the same size and time: only a cache can know how it looked."""
    about = path.stat()
    path.write_bytes(b"x" * about.st_size)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def is_cached(cache: Path, path: Path) -> bool:
    spoil(path)
    try:
        return bool(Thumbnails(cache).get(path))
    except OSError:
        return False


def difference(one: RGBImage, other: RGBImage) -> float:
    """In steps of 255, on average."""
    assert (one.width, one.height) == (other.width, other.height)
    return sum(abs(a - b) for a, b in zip(one.data, other.data, strict=True)) / len(one.data)


@pytest.mark.parametrize(
    ("size", "small"), [((96, 64), (40, 27)), ((64, 96), (27, 40)), ((16, 16), (16, 16)), ((800, 16), (40, 1))]
)
def test_a_thumbnail_keeps_the_aspect_within_forty_pixels(
    tmp_path: Path, size: tuple[int, int], small: tuple[int, int]
) -> None:
    image = Thumbnails().get(write_picture(tmp_path / "a.png", *size))
    assert (image.width, image.height) == small


def test_what_was_seen_once_comes_from_the_cache(cache: Path, path: Path) -> None:
    fresh = Thumbnails(cache).get(path)
    spoil(path)
    assert difference(Thumbnails(cache).get(path), fresh) < 5


def test_what_was_just_saved_is_never_decoded(cache: Path, path: Path) -> None:
    fresh = Thumbnails().get(path)
    Thumbnails(cache).keep(path, gradient(96, 64))
    spoil(path)
    assert difference(Thumbnails(cache).get(path), fresh) < 5


def test_a_file_that_was_written_again_is_read_again(cache: Path, path: Path) -> None:
    thumbnails = Thumbnails(cache)
    thumbnails.get(path)
    write_picture(path, 64, 96)
    assert thumbnails.get(path).height == 40
    path.write_bytes(b"no picture")
    with pytest.raises(OSError, match="cannot identify"):
        thumbnails.get(path)


def test_without_a_file_nothing_is_kept(tmp_path: Path, path: Path) -> None:
    Thumbnails().keep(path, gradient(96, 64))
    Thumbnails().get(path)
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["a.png", "home"]


def test_a_cache_stays_within_its_bounds_and_drops_the_oldest(cache: Path, tmp_path: Path) -> None:
    thumbnails = Thumbnails(cache, max_bytes=128 * 1024)
    paths = [write_picture(tmp_path / f"{number}.png", 16, 16) for number in range(300)]
    for path in paths:
        thumbnails.keep(path, gradient(40, 40))
    assert 100 * 1024 < cache.stat().st_size <= 136 * 1024
    assert not is_cached(cache, paths[0]) and is_cached(cache, paths[-1])


def _garbage(cache: Path) -> None:
    cache.write_bytes(b"garbage " * 1000)


def _cut(cache: Path) -> None:
    with cache.open("r+b") as file:
        file.truncate(cache.stat().st_size // 2)


def _other_schema(cache: Path) -> None:
    with closing(sqlite3.connect(cache)) as database:
        database.execute("PRAGMA user_version=99")


def _no_table(cache: Path) -> None:
    with closing(sqlite3.connect(cache)) as database:
        database.execute("DROP TABLE thumbnails")


@pytest.mark.parametrize("damage", [_garbage, _cut, _other_schema, _no_table])
def test_a_broken_cache_is_made_anew(cache: Path, path: Path, damage: object) -> None:
    Thumbnails(cache).get(path)
    assert callable(damage)
    damage(cache)
    assert Thumbnails(cache).get(path).width == 40
    assert Thumbnails(cache).get(path).width == 40  # the first one found the damage
    assert is_cached(cache, path)


def test_a_damaged_thumbnail_is_made_anew(cache: Path, path: Path) -> None:
    Thumbnails(cache).get(path)
    with closing(sqlite3.connect(cache, isolation_level=None)) as database:
        database.execute("UPDATE thumbnails SET jpeg=?", (b"no jpeg",))
    assert Thumbnails(cache).get(path).width == 40
    assert is_cached(cache, path)


@contextmanager
def locked(cache: Path) -> Iterator[None]:
    with closing(sqlite3.connect(cache, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield


def test_a_cache_that_another_program_holds_is_passed_over_and_left_alone(cache: Path, tmp_path: Path) -> None:
    first, second = (write_picture(tmp_path / name) for name in ("1.png", "2.png"))
    thumbnails = Thumbnails(cache)
    thumbnails.get(first)
    with locked(cache):
        assert thumbnails.get(second).width == 40
        thumbnails.keep(second, gradient(96, 64))
    assert is_cached(cache, first) and not is_cached(cache, second)


def test_a_folder_that_cannot_be_made_means_no_cache(tmp_path: Path, path: Path) -> None:
    (tmp_path / "file").write_text("")
    thumbnails = Thumbnails(tmp_path / "file" / "cache.sqlite3")
    thumbnails.keep(path, gradient(96, 64))
    assert thumbnails.get(path).width == 40


def test_a_cache_that_may_not_be_written_is_read_and_stays(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (write_picture(tmp_path / name) for name in ("1.png", "2.png"))
    Thumbnails(cache).get(first)
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda file, **rest: connect(f"file:{file}?mode=ro", uri=True, **rest))
    assert is_cached(cache, first)
    assert Thumbnails(cache).get(second).width == 40
    assert not is_cached(cache, second) and is_cached(cache, first)


def test_a_path_that_is_no_utf_8_is_cached_too(cache: Path, tmp_path: Path) -> None:
    path = write_picture(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.png")))
    Thumbnails(cache).get(path)
    assert is_cached(cache, path)


def test_a_picture_that_vanished_before_it_could_be_kept_is_no_fault(cache: Path, tmp_path: Path) -> None:
    Thumbnails(cache).keep(tmp_path / "gone.png", gradient(16, 16))
    with pytest.raises(FileNotFoundError):
        Thumbnails(cache).get(tmp_path / "gone.png")


def png_with(width: int, height: int, path: Path) -> bytes:
    """A file that claims another size."""
    import struct
    import zlib

    data = bytearray(write_picture(path).read_bytes())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def test_whatever_is_wrong_with_a_file_is_an_oserror(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    whole = write_picture(path).read_bytes()
    for data in (
        *(b"", b"no picture", whole[:60], whole[:-40], whole[:200] + b"\xff" * 300 + whole[500:]),
        *(png_with(9000, 9000, path), png_with(50_000, 50_000, path), png_with(0, 0, path)),
        b"\xff\xd8\xff\xe0" + b"\0" * 50,
    ):
        path.write_bytes(data)
        with pytest.raises(OSError):
            Thumbnails().get(path)


def test_a_picture_too_large_to_decode_is_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("1", (9008, 8192)).save(path)
    with pytest.raises(OSError, match="9008 x 8192 pixels; expected at most 8192 a side"):
        Thumbnails().get(path)
