"""A picture as sixels, for stills on terminals that draw them: one string, nothing is written here.

Source: DEC's VT330/VT340 manual, chapter 14. Six lines of pixels are one band; in a band, each colour is one line of
characters whose six low bits are the pixels that have it. Pillow chooses the colours; it and numpy are imported when
the first picture is drawn.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flux_engine.request import RGBImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

BAND_PX = 6
MAX_COLOURS = 256
_RUN = re.compile(rb"([?-~])\1{3,}")  # up to three are shorter written out: "!4~"


def sixels(image: RGBImage, room_px: tuple[int, int] | None = None, colours: int = MAX_COLOURS) -> str:
    """The escape code that draws `image` with its upper left corner in the cell of the cursor, one sixel pixel a pixel.

    Args:
        room_px: (width, height): the picture is made as large as fits into it, since sixel pixels do not scale.
        colours: 2 to 256; a photograph of 512 x 512 is 230 KB with 256 and 114 KB with 64.
    """
    picture = quantised(image, room_px, colours)
    palette = picture.getpalette() or []
    width, height = picture.size
    body = "-".join(_band(rows) for rows in _bands(picture))
    return f'\x1bP0;1q"1;1;{width};{height}{_registers(palette)}{body}\x1b\\'


def quantised(image: RGBImage, room_px: tuple[int, int] | None = None, colours: int = MAX_COLOURS) -> Image.Image:
    """The picture that is drawn: as large as fits into `room_px`, at most `colours` different ones, dithered."""
    from PIL import Image

    picture = Image.frombytes("RGB", (image.width, image.height), image.data)
    if room_px:
        scale = min(room_px[0] / image.width, room_px[1] / image.height)
        size = max(1, int(image.width * scale)), max(1, int(image.height * scale))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    palette = picture.quantize(colours, method=Image.Quantize.MEDIANCUT)
    return picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def _registers(palette: list[int]) -> str:
    """The colours, in per cent: sixels know 101 steps of each primary."""
    percent = [round(value * 100 / 255) for value in palette]
    colours = zip(percent[0::3], percent[1::3], percent[2::3], strict=True)
    return "".join(f"#{number};2;{red};{green};{blue}" for number, (red, green, blue) in enumerate(colours))


def _bands(picture: Image.Image) -> list[NDArray[np.uint8]]:
    import numpy as np

    pixels = np.asarray(picture)
    return [pixels[top : top + BAND_PX] for top in range(0, len(pixels), BAND_PX)]


def _band(rows: NDArray[np.uint8]) -> str:
    """Each colour's characters, from the left again for the next colour ($)."""
    import numpy as np

    weights = (1 << np.arange(len(rows), dtype=np.uint8))[:, None]
    lines = []
    for colour in np.unique(rows):
        line = ((rows == colour) * weights).sum(axis=0, dtype=np.uint8) + np.uint8(ord("?"))
        lines.append(f"#{colour}{_packed(line.tobytes())}")
    return "$".join(lines)


def _packed(line: bytes) -> str:
    packed = _RUN.sub(lambda run: b"!%d%c" % (len(run[0]), run[0][0]), line.rstrip(b"?"))
    return packed.decode("ascii")
