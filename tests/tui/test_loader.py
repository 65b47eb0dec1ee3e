"""The loader reads what is wanted now, words before pictures, and lets go of what is not wanted any more."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flux_engine.png import PictureRecord
from flux_engine.request import GenerationRequest, PicturesReady
from flux_tui import loader as loader_module
from flux_tui.gallery import Gallery
from flux_tui.loader import FOREIGN, GONE, UNREADABLE, Found, Loader, RecordRead, ThumbnailDrawn
from tests.tui.fakes import gradient
from tests.tui.pictures import saved_pictures

WAIT_S = 30.0


class WatchedGallery(Gallery):
    """Says which files were opened; `gate` lets one through for each `gate.release()`."""

    def __init__(self, root: Path, gate: threading.Semaphore | None = None) -> None:
        super().__init__(root)
        self.gate = gate
        self.opened: list[Path] = []
        self.asked = threading.Semaphore(0)

    def record(self, path: Path) -> PictureRecord | None:
        self.opened.append(path)
        self.asked.release()
        if self.gate is not None:
            assert self.gate.acquire(timeout=WAIT_S)
        return super().record(path)


def save(gallery: Gallery, count: int) -> list[Path]:
    request = GenerationRequest(prompt="a hill", width=32, height=16, batch_size=count)
    ready = PicturesReady(request, (gradient(32, 16),) * count, {}, "demo")
    return [picture.path for picture in gallery.save(ready)]


class Inbox:
    """What a loader delivered."""

    def __init__(self) -> None:
        self.batches: queue.SimpleQueue[list[Found]] = queue.SimpleQueue()
        self.found: list[Found] = []

    def until(self, count: int) -> list[Found]:
        """All that was found, once it is so much."""
        while len(self.found) < count:
            self.found += self.batches.get(timeout=WAIT_S)
        return self.found


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def watched(tmp_path: Path) -> WatchedGallery:
    return WatchedGallery(tmp_path / "gallery")


@pytest.fixture
def loader(watched: WatchedGallery, inbox: Inbox) -> Iterator[Loader]:
    loader = Loader(watched, inbox.batches.put)
    yield loader
    if watched.gate is not None:
        watched.gate.release(1000)
    assert loader.stop(WAIT_S)


def test_records_come_first_and_both_in_the_order_they_were_wanted(
    watched: WatchedGallery, loader: Loader, inbox: Inbox
) -> None:
    paths = save(watched, 3)
    loader.want(paths[::-1], paths, (8, 4))
    found = inbox.until(6)
    assert [type(item) for item in found] == [RecordRead] * 3 + [ThumbnailDrawn] * 3
    assert [item.path for item in found] == [*paths[::-1], *paths]
    drawn = [item for item in found if isinstance(item, ThumbnailDrawn)]
    assert {(item.room, item.cells.width, item.cells.height) for item in drawn} == {((8, 4), 8, 2)}


def test_pictures_wait_for_quiet_and_words_do_not(
    watched: WatchedGallery, loader: Loader, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = save(watched, 3)
    monkeypatch.setattr(loader_module, "QUIET_S", 1000.0)
    for path in paths:  # as when a key is held down
        loader.want([path], paths, (8, 4))
        inbox.until(paths.index(path) + 1)
    assert {type(item) for item in inbox.found} == {RecordRead}
    monkeypatch.setattr(loader_module, "QUIET_S", 0.0)
    loader.want([], paths, (8, 4))
    assert [type(item) for item in inbox.until(6)[3:]] == [ThumbnailDrawn] * 3


def test_a_pipe_that_is_named_as_a_picture_holds_nothing_up(
    watched: WatchedGallery, loader: Loader, inbox: Inbox
) -> None:
    (path,) = save(watched, 1)
    pipe = path.with_name("140000-1-1.png")
    os.mkfifo(pipe)
    loader.want([pipe, path], [pipe, path], (8, 4))
    found = inbox.until(4)
    assert found[0] == RecordRead(pipe, UNREADABLE)
    assert [item.cells.width for item in found if isinstance(item, ThumbnailDrawn)] == [0, 8]


def test_a_record_is_what_the_file_says(watched: WatchedGallery, loader: Loader, inbox: Inbox) -> None:
    (path,) = save(watched, 1)
    loader.want([path])
    assert inbox.until(1) == [RecordRead(path, saved_pictures(watched)[0])]


def test_only_the_latest_wish_counts(watched: WatchedGallery, loader: Loader, inbox: Inbox) -> None:
    watched.gate = threading.Semaphore(0)
    paths = save(watched, 6)
    loader.want(paths[:4])
    assert watched.asked.acquire(timeout=WAIT_S)  # it reads the first one, and is held there
    loader.want(paths[4:])
    watched.gate.release(3)
    assert [item.path for item in inbox.until(3)] == [paths[0], paths[4], paths[5]]
    loader.want([])
    loader.want(paths[1:2])
    watched.gate.release(1)
    inbox.until(4)
    assert watched.opened == [paths[0], paths[4], paths[5], paths[1]]


def test_what_cannot_be_read_is_said_in_words(watched: WatchedGallery, loader: Loader, inbox: Inbox) -> None:
    gone, folder, foreign = (watched.root / name for name in ("gone.png", "folder.png", "foreign.png"))
    folder.mkdir(parents=True)
    foreign.write_bytes(b"no picture")
    loader.want([gone, folder, foreign], [gone, folder, foreign], (8, 4))
    found = inbox.until(6)
    assert found[:3] == [RecordRead(gone, GONE), RecordRead(folder, UNREADABLE), RecordRead(foreign, FOREIGN)]
    assert all(isinstance(item, ThumbnailDrawn) and not item.cells.rows for item in found[3:])


def test_there_is_no_thread_before_the_first_wish_and_none_after_the_end(tmp_path: Path, inbox: Inbox) -> None:
    gallery = WatchedGallery(tmp_path / "gallery")
    paths = save(gallery, 1)
    loader = Loader(gallery, inbox.batches.put)
    loader.want([])
    assert threads() == []
    loader.want(paths)
    inbox.until(1)
    assert [thread.daemon for thread in threads()] == [True]
    assert loader.stop(WAIT_S)
    loader.want(paths)
    assert threads() == [] and loader.stop(0)


def test_stopping_does_not_wait_for_a_file_that_hangs(tmp_path: Path, inbox: Inbox) -> None:
    gallery = WatchedGallery(tmp_path / "gallery", gate=threading.Semaphore(0))
    loader = Loader(gallery, inbox.batches.put)
    loader.want(save(gallery, 1))
    assert gallery.asked.acquire(timeout=WAIT_S)
    assert not loader.stop(0.01)
    assert gallery.gate is not None
    gallery.gate.release()
    assert loader.stop(WAIT_S)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "flux-history"]
