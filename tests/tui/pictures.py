"""What is put into a gallery, and what it holds, all of it read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from flux_engine.request import GenerationRequest, PicturesReady
from flux_tui.gallery import Gallery, SavedPicture
from tests.tui.fakes import gradient

NOON = datetime(2025, 11, 23, 12, 0, tzinfo=UTC)


def saved_pictures(gallery: Gallery) -> list[SavedPicture]:
    """The pictures of a gallery, newest first, without the files that are none."""
    paths = [day.folder / name for day in gallery.days() for name in day.names]
    return [SavedPicture(path, record) for path in paths if path.is_file() and (record := gallery.record(path))]


def save(gallery: Gallery, seed: int, prompt: str | None = None, *, days: int = 0, count: int = 1) -> list[Path]:
    """A picture for each minute after noon, some days ago."""
    request = GenerationRequest(
        prompt=prompt or f"hill number {seed}", width=48, height=32, seed=seed, batch_size=count
    )
    ready = PicturesReady(request, (gradient(48, 32),) * count, {}, "demo")
    return [picture.path for picture in gallery.save(ready, NOON - timedelta(days=days) + timedelta(minutes=seed))]
