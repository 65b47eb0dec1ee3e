"""What a gallery holds, all of it read."""

from __future__ import annotations

from flux_tui.gallery import Gallery, SavedPicture


def saved_pictures(gallery: Gallery) -> list[SavedPicture]:
    """The pictures of a gallery, newest first, without the files that are none."""
    paths = [day.folder / name for day in gallery.days() for name in day.names]
    return [SavedPicture(path, record) for path in paths if path.is_file() and (record := gallery.record(path))]
