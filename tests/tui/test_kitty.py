"""What is written for kitty is read back by a terminal of the test's own: chunks, PNG, placement, cells."""

from __future__ import annotations

import io
import random
import re
import unicodedata
from base64 import standard_b64decode
from collections.abc import Iterator

import pytest
from PIL import Image
from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip

from flux_engine.request import RGBImage
from flux_tui.terminal import kitty, tmux
from tests.tui.fakes import gradient

ESCAPE = re.compile(r"\x1b_G([^;\x1b]*)(?:;([^\x1b]*))?\x1b\\")
ID = kitty.picture_id(4711, 2)


class Kitty:
    """Keeps pictures and virtual placements as the protocol says."""

    def __init__(self) -> None:
        self.pictures: dict[int, Image.Image] = {}
        self.placements: dict[tuple[int, int], tuple[int, int]] = {}
        self._loading: tuple[dict[str, str], str] | None = None

    def feed(self, text: str) -> None:
        assert ESCAPE.sub("", text) == ""
        for head, payload in ESCAPE.findall(text):
            keys = dict(pair.split("=") for pair in head.split(","))
            assert len(payload) <= 4096
            if self._loading or keys.get("a") == "t":
                self._load(keys, payload)
            elif keys["a"] == "p":
                assert int(keys["i"]) in self.pictures and keys["U"] == "1" and keys["q"] == "2"
                self.placements[int(keys["i"]), int(keys["p"])] = int(keys["c"]), int(keys["r"])
            else:
                assert (keys["a"], keys["d"], keys["q"]) == ("d", "I", "2")
                self._free(int(keys["i"]))

    def _load(self, keys: dict[str, str], payload: str) -> None:
        first, before = self._loading or (keys, "")
        if self._loading:
            assert set(keys) <= {"m", "q"}
        if keys["m"] == "1":
            assert len(payload) % 4 == 0
            self._loading = first, before + payload
            return
        self._loading = None
        assert (first["f"], first["q"]) == ("100", "2")
        self._free(int(first["i"]))
        self.pictures[int(first["i"])] = Image.open(io.BytesIO(standard_b64decode(before + payload)))

    def _free(self, number: int) -> None:
        self.pictures.pop(number, None)
        self.placements = {key: size for key, size in self.placements.items() if key[0] != number}


def unwrapped(text: str) -> Iterator[str]:
    """What tmux passes on."""
    wrapped = re.compile(r"\x1bPtmux;((?:[^\x1b]|\x1b\x1b)*)\x1b\\")
    assert wrapped.sub("", text) == ""
    return (inner.replace("\x1b\x1b", "\x1b") for inner in wrapped.findall(text))


def pixels(image: RGBImage) -> Image.Image:
    return Image.frombytes("RGB", (image.width, image.height), image.data)


def noise(width: int, height: int) -> RGBImage:
    return RGBImage(width, height, random.Random(0).randbytes(width * height * 3))


@pytest.mark.parametrize("size", [(8, 8), (32, 16), (96, 64)])
def test_the_picture_arrives_pixel_for_pixel_in_chunks_and_is_placed(size: tuple[int, int]) -> None:
    terminal, image = Kitty(), noise(*size)
    terminal.feed(kitty.show(image, ID, 40, 20))
    assert terminal.pictures[ID].convert("RGB").tobytes() == image.data
    assert terminal.placements == {(ID, 1): (40, 20)}


def test_a_next_picture_takes_the_place_of_the_last_and_nothing_gathers() -> None:
    terminal = Kitty()
    for hue in (0.1, 0.5, 0.9):
        image = gradient(24, 24, hue)
        terminal.feed(kitty.show(image, ID, 12, 6))
        assert terminal.pictures[ID].convert("RGB").tobytes() == image.data
    assert len(terminal.pictures) == len(terminal.placements) == 1


def test_forgetting_frees_the_picture_and_its_placement() -> None:
    terminal = Kitty()
    terminal.feed(kitty.show(gradient(8, 8), ID, 4, 2) + kitty.show(gradient(8, 8), ID + 1, 4, 2))
    terminal.feed(kitty.forget(ID))
    assert list(terminal.pictures) == [ID + 1] and list(terminal.placements) == [(ID + 1, 1)]


def test_the_placement_comes_after_the_last_chunk() -> None:
    heads = [head for head, _ in ESCAPE.findall(kitty.show(noise(96, 64), ID, 40, 20))]
    assert len(heads) > 3 and "U=1" in heads[-1] and not any("U=1" in head for head in heads[:-1])


def test_a_preview_has_64_colours_and_fits_into_one_chunk() -> None:
    terminal, image = Kitty(), gradient(64, 64)
    text = kitty.show(image, ID, 64, 32, colours=kitty.PREVIEW_COLOURS)
    terminal.feed(text)
    picture = terminal.pictures[ID]
    assert picture.mode == "P" and len(picture.getcolors() or ()) <= 64
    shown = picture.convert("RGB").tobytes()
    assert sum((a - b) ** 2 for a, b in zip(shown, image.data, strict=True)) / len(shown) < 65  # 30 dB
    assert len(text) < 5000


@pytest.mark.parametrize(("room_px", "size"), [((50, 100), (50, 25)), ((100, 30), (60, 30)), ((500, 500), (200, 100))])
def test_no_more_pixels_are_sent_than_there_is_room_for(room_px: tuple[int, int], size: tuple[int, int]) -> None:
    terminal = Kitty()
    terminal.feed(kitty.show(gradient(200, 100), ID, 10, 5, room_px=room_px))
    assert terminal.pictures[ID].size == size


def test_through_tmux_each_chunk_is_wrapped_by_itself() -> None:
    image = noise(96, 64)
    codes = list(unwrapped(kitty.show(image, ID, 40, 20, passthrough=True)))
    assert "".join(codes) == kitty.show(image, ID, 40, 20) and max(map(len, codes)) < 4200
    assert list(unwrapped(kitty.forget(ID, passthrough=True))) == [kitty.forget(ID)]
    assert tmux.through("\x1b_Gx\x1b\\") == "\x1bPtmux;\x1b\x1b_Gx\x1b\x1b\\\x1b\\"


def test_the_marks_are_the_protocols_table() -> None:
    marks = kitty._marks()
    assert len(marks) == kitty.MAX_CELLS == 297
    assert marks[:3] == "\u0305\u030d\u030e" and marks[-1] == "\U0001d244"  # the specification's examples, and its end
    assert marks == "".join(sorted(set(marks)))
    # The table's rule: above the base, no decomposition, and none that fuses with its base; 110 of them in Unicode 3.2.
    old = unicodedata.ucd_3_2_0
    fusing = {*range(0x300, 0x305), *range(0x306, 0x30D), 0x30F, 0x311, 0x313, 0x314, 0x342, 0x653, 0x654}
    rule = [
        code
        for code in range(0x110000)
        if old.category(chr(code)) == "Mn" and old.combining(chr(code)) == 230 and not old.decomposition(chr(code))
    ]
    assert [ord(mark) for mark in marks if old.category(mark) != "Cn"] == [code for code in rule if code not in fusing]
    assert all(unicodedata.category(mark) == "Mn" and unicodedata.combining(mark) == 230 for mark in marks)


def test_each_cell_says_its_line_and_its_column() -> None:
    rows = kitty.placeholder_rows(297, 3)
    marks = kitty._marks()
    for line, row in enumerate(rows):
        cells = re.findall("\U0010eeee(.)(.)", row)
        assert [(marks.index(first), marks.index(second)) for first, second in cells] == [(line, c) for c in range(297)]


def test_the_rows_are_as_wide_as_they_have_columns_and_can_be_cropped() -> None:
    (row,) = kitty.placeholder_rows(297, 1)
    assert cell_len(row) == 297
    for start, end in ((0, 3), (7, 40), (150, 297)):
        assert Strip([Segment(row)]).crop(start, end).text == row[3 * start : 3 * end]


def test_too_many_cells_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got 298 x 2 cells; .* at most 297"):
        kitty.placeholder_rows(298, 2)


def test_numbers_are_the_programs_own_and_fit_into_a_colour() -> None:
    numbers = {kitty.picture_id(pid, slot) for pid in (0, 1, 4711, 65534, 4194304) for slot in range(256)}
    assert len(numbers) == 5 * 256 and all(0 < number < 1 << 24 for number in numbers)
    red, green, blue = kitty.id_colour(0x123456)
    assert (red, green, blue) == (0x12, 0x34, 0x56)
