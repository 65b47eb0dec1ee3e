"""Pictures become half-block cells with the right aspect and the right colours."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux_engine.png import PictureRecord, encode_png
from flux_engine.request import GenerationRequest, RGBImage
from flux_tui.preview import fitted_size, half_blocks, read_image
from tests.tui.fakes import gradient


@pytest.mark.parametrize(
    ("picture", "room", "cells"),
    [
        ((128, 128), (40, 20), (40, 20)),
        ((128, 128), (80, 20), (40, 20)),
        ((128, 128), (20, 20), (20, 10)),
        ((192, 128), (60, 40), (60, 20)),
        ((128, 192), (60, 30), (40, 30)),
        ((8192, 16), (40, 20), (40, 1)),
        ((128, 128), (0, 20), (0, 0)),
    ],
)
def test_the_aspect_is_kept(picture: tuple[int, int], room: tuple[int, int], cells: tuple[int, int]) -> None:
    assert fitted_size(*picture, *room) == cells


sides = st.integers(1, 300)


@given(sides, sides, sides, sides)
def test_a_picture_never_leaves_its_room(width: int, height: int, columns: int, lines: int) -> None:
    fitted = fitted_size(width, height, columns, lines)
    assert 1 <= fitted[0] <= columns and 1 <= fitted[1] <= lines


def test_each_cell_holds_the_upper_and_the_lower_pixel() -> None:
    red, green, blue, white = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    image = RGBImage(2, 2, bytes([*red, *green, *blue, *white]))
    cells = half_blocks(image, 2, 1)
    assert cells.rows == (((red, blue), (green, white)),)
    assert (cells.width, cells.height) == (2, 1)


def test_a_small_preview_is_enlarged_smoothly() -> None:
    image = RGBImage(2, 1, bytes([0, 0, 0, 255, 255, 255]))
    row = half_blocks(image, 16, 8).rows[0]
    greys = [upper[0] for upper, _ in row]
    assert greys == sorted(greys) and greys[0] == 0 and greys[-1] == 255 and len(set(greys)) > 4


def test_a_saved_picture_comes_back_pixel_for_pixel(tmp_path: Path) -> None:
    image = gradient(32, 16)
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(image, PictureRecord(request=GenerationRequest(prompt="a"))))
    assert read_image(str(path)) == image


def test_no_picture_raises_oserror(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(OSError, match="cannot identify"):
        read_image(str(tmp_path / "a.png"))
