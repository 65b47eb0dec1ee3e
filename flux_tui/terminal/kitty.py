"""Pictures by kitty's graphics protocol, standing in text cells: escape codes as strings, nothing is written here.

A picture is sent once under a number, and placed "virtually"; it then appears wherever cells with U+10EEEE stand whose
foreground colour is that number. The cells are text, so the app, and a tmux in between, move and clip them as such.
Source: the protocol's specification, sw.kovidgoyal.net/kitty/graphics-protocol, "Unicode placeholders".
"""

from __future__ import annotations

import functools
import io
from base64 import standard_b64encode
from collections.abc import Iterable

from flux_engine.request import RGBImage
from flux_tui.preview import RGB
from flux_tui.terminal import tmux

PLACEHOLDER = "\U0010eeee"
MAX_CELLS = 297  # columns or lines of one picture: there are no more marks to count with
CHUNK_CHARS = 4096
PREVIEW_COLOURS = 64  # a preview of 64 x 64 pixels is then 1 to 2 KB, where 24 bits take 13
STILL_COLOURS = 256  # on a thin link: 256 x 256 pixels are 30 KB

# The marks that count lines and columns, in their order: the protocol's table rowcolumn-diacritics.txt, as ranges.
_MARKS = """
305 30d-30e 310 312 33d-33f 346 34a-34c 350-352 357 35b 363-36f 483-487 592-595 597-599 59c-5a1 5a8-5a9 5ab-5ac 5af 5c4
610-617 657-65b 65d-65e 6d6-6dc 6df-6e2 6e4 6e7-6e8 6eb-6ec 730 732-733 735-736 73a 73d 73f-741 743 745 747 749-74a
7eb-7f1 7f3 816-819 81b-823 825-827 829-82d 951 953-954 f82-f83 f86-f87 135d-135f 17dd 193a 1a17 1a75-1a7c 1b6b
1b6d-1b73 1cd0-1cd2 1cda-1cdb 1ce0 1dc0-1dc1 1dc3-1dc9 1dcb-1dcc 1dd1-1de6 1dfe 20d0-20d1 20d4-20d7 20db-20dc 20e1 20e7
20e9 20f0 2cef-2cf1 2de0-2dff a66f a67c-a67d a6f0-a6f1 a8e0-a8f1 aab0 aab2-aab3 aab7-aab8 aabe-aabf aac1 fe20-fe26 10a0f
10a38 1d185-1d189 1d1aa-1d1ad 1d242-1d244
"""


def picture_id(pid: int, slot: int) -> int:
    """A number for a picture that is the program's own among all that run in one terminal: 24 bits, never 0.

    Args:
        pid: of the process; two apps in two panes of one tmux share the terminal's numbers.
        slot: 0 to 255, which of the app's pictures.
    """
    return (pid % 0xFFFF + 1) << 8 | slot % 0x100


def id_colour(image_id: int) -> RGB:
    """The foreground colour that makes placeholder cells show that picture. A tint or a dimmed style breaks it."""
    return image_id >> 16 & 0xFF, image_id >> 8 & 0xFF, image_id & 0xFF


def show(
    image: RGBImage,
    image_id: int,
    columns: int,
    lines: int,
    *,
    room_px: tuple[int, int] | None = None,
    colours: int | None = None,
    passthrough: bool = False,
) -> str:
    """The escape codes that make the cells of `image_id` show `image` from now on, whatever they showed before.

    tmux loses what it should pass on when it comes while it redraws all (seen with 3.5a, right after it switched to the
    alternate screen), and nobody is told: there, send a still again when the screen has been at rest for half a second.

    Args:
        columns, lines: the cells it stands in, 1 to 297; its aspect is kept inside them.
        room_px: (width, height) of those cells in pixels: a larger picture is scaled down to it before it is sent.
        colours: None sends all 24 bits; for previews see `PREVIEW_COLOURS`.
        passthrough: wrap for tmux.
    """
    escapes = [*transmit(encode(image, room_px, colours), image_id), place(image_id, columns, lines)]
    return _wrapped(escapes, passthrough)


def fit(image_id: int, columns: int, lines: int, *, passthrough: bool = False) -> str:
    """The escape code that gives the picture that is there other cells, until `show` sends the one meant for them."""
    return _wrapped([place(image_id, columns, lines)], passthrough)


def forget(image_id: int, *, passthrough: bool = False) -> str:
    """The escape code that frees the picture in the terminal: `d=I`, since without it virtual placements stay."""
    return _wrapped([f"\x1b_Ga=d,d=I,i={image_id},q=2\x1b\\"], passthrough)


def placeholder_rows(columns: int, lines: int) -> list[str]:
    """The text of the cells, line by line, to be drawn in `id_colour`; 8 to 12 bytes a cell, once.

    Each cell says its line and its column itself, so that any part of it may be drawn alone.

    Raises:
        ValueError: more than 297 columns or lines.
    """
    if max(columns, lines) > MAX_CELLS:
        raise ValueError(f"got {columns} x {lines} cells; a kitty picture has at most {MAX_CELLS} either way")
    marks = _marks()
    return ["".join(PLACEHOLDER + marks[line] + marks[column] for column in range(columns)) for line in range(lines)]


def encode(image: RGBImage, room_px: tuple[int, int] | None = None, colours: int | None = None) -> bytes:
    """The picture as PNG, no larger than `room_px`, with a palette of at most `colours` (None: 24 bits)."""
    from PIL import Image

    picture = Image.frombytes("RGB", (image.width, image.height), image.data)
    if room_px:
        picture.thumbnail(room_px, Image.Resampling.LANCZOS)
    if colours:
        picture = picture.quantize(colours, method=Image.Quantize.FASTOCTREE)  # 0.2 ms, where MEDIANCUT takes 1.5
    file = io.BytesIO()
    # 960 x 960 pixels take 50 ms at level 1, where the usual 6 takes 180; with a palette, 1 ms at either.
    picture.save(file, "PNG", compress_level=6 if colours else 1)
    return file.getvalue()


def transmit(png: bytes, image_id: int) -> list[str]:
    """The escape codes that store a PNG under a number, in the place of what was there, and ask for no reply."""
    text = standard_b64encode(png).decode("ascii")
    chunks = [text[start : start + CHUNK_CHARS] for start in range(0, len(text), CHUNK_CHARS)]
    heads = [f"a=t,f=100,i={image_id},q=2,", *[""] * (len(chunks) - 1)]
    more = [1] * (len(chunks) - 1) + [0]
    return [f"\x1b_G{head}m={m};{chunk}\x1b\\" for head, m, chunk in zip(heads, more, chunks, strict=True)]


def place(image_id: int, columns: int, lines: int) -> str:
    """The escape code that ties a stored picture to its cells.

    Storing it anew takes its placement away, so this follows each time. It has a number (p=1) because Ghostty before
    August 2026 keeps the old placement, and would gather one a frame.
    """
    return f"\x1b_Ga=p,U=1,i={image_id},p=1,c={columns},r={lines},q=2\x1b\\"


def _wrapped(escapes: Iterable[str], passthrough: bool) -> str:
    return "".join(map(tmux.through, escapes) if passthrough else escapes)


@functools.cache
def _marks() -> str:
    ranges = (entry.partition("-") for entry in _MARKS.split())
    return "".join(chr(code) for low, _, high in ranges for code in range(int(low, 16), int(high or low, 16) + 1))
