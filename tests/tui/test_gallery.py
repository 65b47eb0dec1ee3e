"""Pictures are filed by day and time, never overwrite one another, and come back newest first."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from flux_engine.errors import OutputError
from flux_engine.png import write_file
from flux_engine.request import GenerationRequest, PicturesReady
from flux_tui.gallery import Gallery
from flux_tui.thumbnails import Thumbnails
from tests.tui.fakes import gradient
from tests.tui.pictures import saved_pictures

NOON = datetime(2025, 11, 23, 12, 0, 5, tzinfo=timezone(timedelta(hours=2)))


def ready(seed: int = 42, count: int = 1) -> PicturesReady:
    request = GenerationRequest(prompt="a hill", width=16, height=16, seed=seed, batch_size=count)
    return PicturesReady(request, tuple(gradient(16, 16) for _ in range(count)), {"denoising": 0.25}, "demo")


def names(gallery: Gallery) -> list[str]:
    return [str(picture.path.relative_to(gallery.root)) for picture in saved_pictures(gallery)]


def test_a_picture_is_named_by_local_day_time_place_and_seed(gallery: Gallery) -> None:
    (picture,) = gallery.save(ready(), NOON)
    assert picture.path == gallery.root / "2025-11-23" / "120005-1-42.png"
    assert (picture.day, picture.time) == ("2025-11-23", "12:00")
    assert picture.record.created_at == "2025-11-23T10:00:05Z"
    assert saved_pictures(gallery) == [picture]


def test_a_batch_is_numbered_and_nothing_is_overwritten(gallery: Gallery) -> None:
    gallery.save(ready(count=2), NOON)
    before = {path: path.read_bytes() for path in gallery.root.rglob("*.png")}
    (third,) = gallery.save(ready(), NOON)
    assert third.path.name == "120005-3-42.png"
    assert {path: path.read_bytes() for path in before} == before


def test_newest_comes_first_across_days_and_within_a_second(gallery: Gallery) -> None:
    gallery.save(ready(1), NOON - timedelta(days=1))
    gallery.save(ready(2, count=11), NOON)
    gallery.save(ready(3), NOON + timedelta(seconds=1))
    found = names(gallery)
    assert found[:3] == ["2025-11-23/120006-1-3.png", "2025-11-23/120005-11-2.png", "2025-11-23/120005-10-2.png"]
    assert found[-1] == "2025-11-22/120005-1-1.png"


def test_what_was_saved_last_comes_first_whatever_its_seed_and_however_quick_it_came(gallery: Gallery) -> None:
    saved = [picture for seed in (9, 77, 8) for picture in gallery.save(ready(seed, count=2), NOON)]
    assert saved_pictures(gallery) == saved[::-1]
    assert [picture.path.name for picture in saved[2:4]] == ["120005-3-77.png", "120005-4-77.png"]
    assert [picture.record.picture for picture in saved] == [1, 2] * 3


def test_the_days_are_listed_newest_first_without_opening_a_file(gallery: Gallery) -> None:
    gallery.save(ready(1), NOON - timedelta(days=1))
    (good, *_) = gallery.save(ready(2, count=2), NOON)
    (good.path.parent / "120007-1-1.png").write_bytes(b"no picture")
    (good.path.parent / "notes.txt").write_text("hello")
    (good.path.parent / "holiday.png").write_bytes(good.path.read_bytes())
    (gallery.root / "notes.txt").write_text("hello")
    newest, oldest = gallery.days()
    assert (newest.folder, oldest.folder) == (gallery.root / "2025-11-23", gallery.root / "2025-11-22")
    assert newest.names == ["120007-1-1.png", "120005-2-2.png", "120005-1-2.png"]
    assert oldest.names == ["120005-1-1.png"]
    assert gallery.record(good.path) == good.record
    assert gallery.record(newest.folder / newest.names[0]) is None


def test_a_saved_picture_has_a_thumbnail_before_it_is_seen(gallery: Gallery, tmp_path: Path) -> None:
    gallery = Gallery(gallery.root, Thumbnails(tmp_path / "cache.sqlite3"))
    (picture,) = gallery.save(ready(), NOON)
    about = picture.path.stat()
    picture.path.write_bytes(b"x" * about.st_size)
    os.utime(picture.path, ns=(about.st_atime_ns, about.st_mtime_ns))  # only the cache can know how it looked
    assert gallery.thumbnails.get(picture.path).width == 16


def test_a_picture_is_saved_where_no_thumbnail_can_be(gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    gallery = Gallery(gallery.root, Thumbnails(tmp_path / "file" / "cache.sqlite3"))
    assert gallery.save(ready(), NOON)[0].path.exists()


def test_a_gallery_that_is_not_there_is_empty_and_listing_makes_no_folder(gallery: Gallery) -> None:
    assert saved_pictures(gallery) == [] and gallery.days() == []
    assert not gallery.root.exists()


def test_no_temporary_file_stays_behind(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery.save(ready(), NOON)

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device") as raised:
        gallery.save(ready(7), NOON)
    assert "disk is full" in raised.value.hint
    assert [path.name for path in (gallery.root / "2025-11-23").iterdir()] == ["120005-1-42.png"]


def test_a_gallery_inside_a_file_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written") as raised:
        Gallery(tmp_path / "file" / "gallery").save(ready(), NOON)
    assert "Choose another folder" in raised.value.hint


def test_a_gallery_is_checked_down_to_the_folder_of_the_day(gallery: Gallery) -> None:
    gallery.check()
    assert list(gallery.root.iterdir()) == []
    (gallery.root / f"{datetime.now().astimezone():%Y-%m-%d}").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        gallery.check()


def test_a_folder_that_may_not_be_written_is_refused(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(OutputError, match="Permission denied") as raised:
        gallery.save(ready(), datetime.now(UTC))
    assert "not yours to write in" in raised.value.hint


def test_file_systems_without_hard_links_still_never_overwrite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "a.png"
    assert write_file(path, b"one", replace=False)
    assert not write_file(path, b"two", replace=False)
    assert path.read_bytes() == b"one"
    assert write_file(path, b"three", replace=True)
    assert path.read_bytes() == b"three"
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".png", ".tmp")] == ["a.png"]
