"""Sixels are read back by a decoder of the test's own, pixel for pixel."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable

import pytest

from flux_engine.request import RGBImage
from flux_tui.terminal.sixel import quantised, sixels
from tests.tui.fakes import gradient

Percent = tuple[int, int, int]
TOKEN = re.compile(r'"(\d+);(\d+);(\d+);(\d+)|#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|([$-])')


def decode(text: str) -> tuple[int, int, dict[tuple[int, int], Percent]]:
    """The width and height that it announces, and the colour, in per cent, of each pixel that it sets."""
    head = re.match(r"\x1bP0;1q", text)
    assert head and text.endswith("\x1b\\")
    registers: dict[int, Percent] = {}
    pixels: dict[tuple[int, int], Percent] = {}
    x = top = colour = width = height = 0
    body, at = text[head.end() : -2], 0
    while at < len(body):
        token = TOKEN.match(body, at)
        assert token, body[at : at + 20]
        at = token.end()
        if token[1]:
            assert (token[1], token[2]) == ("1", "1")
            width, height = int(token[3]), int(token[4])
        elif token[5]:
            colour = int(token[5])
            if token[6]:
                registers[colour] = int(token[6]), int(token[7]), int(token[8])
        elif token[12]:
            x, top = 0, top + (6 if token[12] == "-" else 0)
        else:
            bits, run = ord(token[10] or token[11]) - 63, int(token[9] or 1)
            new = {
                (x + step, top + row): registers[colour] for step in range(run) for row in range(6) if bits >> row & 1
            }
            assert not new.keys() & pixels.keys(), "set twice"
            pixels |= new
            x += run
    return width, height, pixels


def percent(value: int) -> int:
    return math.floor(value * 100 / 255 + 0.5)


def noise(width: int, height: int) -> RGBImage:
    return RGBImage(width, height, random.Random(0).randbytes(width * height * 3))


@pytest.mark.parametrize("size", [(12, 6), (7, 5), (1, 1), (31, 13), (64, 48), (5, 100)])
@pytest.mark.parametrize("colours", [2, 64, 256])
@pytest.mark.parametrize("paint", [gradient, noise])
def test_every_pixel_is_that_of_the_quantised_picture(
    size: tuple[int, int], colours: int, paint: Callable[[int, int], RGBImage]
) -> None:
    image = paint(*size)
    width, height, pixels = decode(sixels(image, colours=colours))
    assert (width, height) == size
    expected = quantised(image, None, colours).convert("RGB")
    assert len(expected.getcolors(65536) or ()) <= colours
    assert pixels == {
        (x, y): tuple(map(percent, expected.getpixel((x, y)))) for x in range(width) for y in range(height)
    }


def test_the_picture_is_close_to_the_original() -> None:
    image = gradient(96, 64)
    _, _, pixels = decode(sixels(image))
    shown = [value * 255 / 100 for y in range(64) for x in range(96) for value in pixels[x, y]]
    error = sum((a - b) ** 2 for a, b in zip(shown, image.data, strict=True)) / len(shown)
    assert 10 * math.log10(255**2 / error) > 35


def test_runs_are_packed() -> None:
    image = RGBImage(500, 12, bytes([200, 30, 30]) * 6000)
    text = sixels(image)
    assert "!500~" in text and len(text) < 100
    assert len(decode(text)[2]) == 6000


def test_short_runs_are_written_out() -> None:
    white, black = bytes([255] * 3), bytes(3)
    text = sixels(RGBImage(9, 1, (white * 3 + black * 6)))
    assert "@@@" in text and "!3?!6@" not in text and "???!6@" in text
    assert len(decode(text)[2]) == 9


@pytest.mark.parametrize("size", [(200, 100), (20, 10)])
def test_a_picture_is_scaled_into_its_room(size: tuple[int, int]) -> None:
    width, height, pixels = decode(sixels(gradient(*size), (50, 50)))
    assert (width, height, len(pixels)) == (50, 25, 1250)


def test_a_picture_as_thin_as_a_thread_keeps_a_line_of_pixels() -> None:
    assert decode(sixels(gradient(256, 1), (10, 20)))[:2] == (10, 1)
