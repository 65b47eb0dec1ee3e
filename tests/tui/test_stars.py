"""Stars stay beside the pictures, survive damage, and are shared with other programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from flux_engine.errors import OutputError
from flux_tui.gallery import Gallery
from flux_tui.stars import STARS_FILE, read_stars, write_star


def picture(root: Path, seed: int) -> Path:
    return root / "2025-11-23" / f"120000-1-{seed}.png"


def test_a_star_is_kept_and_can_be_taken_away(gallery: Gallery) -> None:
    first, second = picture(gallery.root, 1), picture(gallery.root, 2)
    assert gallery.starred == frozenset()
    assert gallery.star(first) == {first}
    assert gallery.star(second) == {first, second}
    assert Gallery(gallery.root).starred == {first, second}
    assert gallery.star(first, False) == {second}
    assert (gallery.root / STARS_FILE).read_text() == "2025-11-23/120000-1-2.png\n"


def test_a_star_that_changes_nothing_writes_nothing(gallery: Gallery) -> None:
    assert write_star(gallery.root, picture(gallery.root, 1), False) == frozenset()
    assert not gallery.root.exists()


def test_the_stars_of_another_program_stay(gallery: Gallery) -> None:
    other = Gallery(gallery.root)
    gallery.star(picture(gallery.root, 1))
    other.star(picture(gallery.root, 2))
    assert gallery.star(picture(gallery.root, 3)) == {picture(gallery.root, seed) for seed in (1, 2, 3)}


@pytest.mark.parametrize(
    "noise", [b"\xff\xfe\n", b"../../etc/passwd\n", b"/etc/1.png\n", b"2025-11-23/\x1b[2J1.png\n", b"\n"]
)
def test_damage_costs_the_damaged_line_only(gallery: Gallery, noise: bytes) -> None:
    gallery.star(picture(gallery.root, 1))
    file = gallery.root / STARS_FILE
    file.write_bytes(noise + file.read_bytes() + b"2025-11-2")
    assert gallery.starred == {picture(gallery.root, 1)}
    assert gallery.star(picture(gallery.root, 2)) == {picture(gallery.root, 1), picture(gallery.root, 2)}


def test_a_file_that_cannot_be_read_is_not_overwritten(gallery: Gallery) -> None:
    (gallery.root / STARS_FILE).mkdir(parents=True)
    assert read_stars(gallery.root) == frozenset()
    with pytest.raises(OutputError, match=r"\.stars could not be read: Is a directory") as raised:
        gallery.star(picture(gallery.root, 1))
    assert raised.value.hint


def test_a_gallery_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    gallery = Gallery(tmp_path / "file")
    assert gallery.starred == frozenset()
    with pytest.raises(OutputError, match="could not be"):
        gallery.star(picture(gallery.root, 1))


def test_stars_are_no_day_of_the_gallery(gallery: Gallery) -> None:
    gallery.star(picture(gallery.root, 1))
    assert gallery.days() == []
