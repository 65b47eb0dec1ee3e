"""A picture as half-block cells: each cell is two pixels, the upper one drawn over the lower one.

Knows pixels and cells; knows no widget. Pillow is imported when the first picture is drawn, after the first screen.
"""

from __future__ import annotations

from dataclasses import dataclass

from flux_engine.request import RGBImage

RGB = tuple[int, int, int]
Cell = tuple[RGB, RGB]


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
    from PIL import Image

    width, height = fitted_size(image.width, image.height, columns, lines)
    if not width:
        return CellImage(())
    picture = Image.frombytes("RGB", (image.width, image.height), image.data)
    resample = Image.Resampling.BICUBIC if width > image.width else Image.Resampling.LANCZOS
    data = picture.resize((width, 2 * height), resample).tobytes()
    pixels = list(zip(data[0::3], data[1::3], data[2::3], strict=True))
    lines_px = [pixels[start : start + width] for start in range(0, len(pixels), width)]
    pairs = zip(lines_px[::2], lines_px[1::2], strict=True)
    return CellImage(tuple(tuple(zip(upper, lower, strict=True)) for upper, lower in pairs))


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
