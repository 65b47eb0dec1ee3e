"""A picture as half-block cells: each cell is two pixels, the upper one drawn over the lower one.

Knows pixels and cells; knows no widget. Pillow is imported when the first picture is drawn, after the first screen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flux_engine.request import RGBImage

RGB = tuple[int, int, int]
Cell = tuple[RGB, RGB]
PixelLines = tuple[bytes, bytes]
"""The upper and the lower pixels of a row of cells, from the left, three bytes each."""


@dataclass(frozen=True)
class CellImage:
    """Rows of (upper, lower) colour pairs, from the top; all rows are equally wide."""

    rows: tuple[tuple[Cell, ...], ...]

    @property
    def width(self) -> int:
        """In cells."""
        return len(self.rows[0]) if self.rows else 0

    @property
    def height(self) -> int:
        """In cells."""
        return len(self.rows)


def fitted_size(width: int, height: int, columns: int, lines: int) -> tuple[int, int]:
    """The largest (columns, lines) with the picture's aspect inside the given cells; a cell is as tall as two are wide.

    Returns (0, 0) when there is no room.
    """
    if min(width, height, columns, lines) < 1:
        return 0, 0
    scale = min(columns / width, 2 * lines / height)
    return max(1, min(columns, round(width * scale))), max(1, min(lines, round(height * scale / 2)))


def half_blocks(image: RGBImage, columns: int, lines: int) -> CellImage:
    """Draw a picture into at most `columns` x `lines` cells, keeping its aspect; small ones are smoothly enlarged."""
    return CellImage(tuple(cells_of(*row) for row in pixel_lines(image, columns, lines)))


def pixel_lines(image: RGBImage, columns: int, lines: int) -> list[PixelLines]:
    """The same without an object for each cell, of which a large preview has 4,200: row by row, from the top."""
    from PIL import Image

    width, height = fitted_size(image.width, image.height, columns, lines)
    if not width:
        return []
    picture = Image.frombytes("RGB", (image.width, image.height), image.data)
    resample = Image.Resampling.BICUBIC if width > image.width else Image.Resampling.LANCZOS
    data, line = picture.resize((width, 2 * height), resample).tobytes(), 3 * width
    starts = range(0, len(data), 2 * line)
    return [(data[start : start + line], data[start + line : start + 2 * line]) for start in starts]


def cells_of(upper: bytes, lower: bytes) -> tuple[Cell, ...]:
    """A row of cells from its pixels."""
    return tuple(zip(_colours(upper), _colours(lower), strict=True))


def _colours(pixels: bytes) -> Iterator[RGB]:
    return zip(pixels[0::3], pixels[1::3], pixels[2::3], strict=True)


def read_image(path: str) -> RGBImage:
    """The pixels of a picture file.

    Raises:
        OSError: the file is gone, or is no picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            picture = file.convert("RGB")
    except Image.DecompressionBombError as error:
        raise OSError(f"{path} is too large: {error}") from error
    return RGBImage(picture.width, picture.height, picture.tobytes())
