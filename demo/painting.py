"""Flat, soft-edged shapes on a small canvas: the brush of the demo's landscapes.

Knows colours, polygons, glows and how a tree, a house, a lighthouse or a boat is built from them.
Knows nothing of scenes, of the time of day or of the weather: whoever calls passes the colours in.

Coordinates are pixels of the finished picture (floats, y down). The canvas is `OVERSAMPLE` times
larger and a triangle filter brings it down, which leaves every edge about 1.5 px soft: crisp to
the eye, and within reach of a VAE of three million parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

OVERSAMPLE = 2

Colour = tuple[int, int, int]
Point = tuple[float, float]
Tint = Callable[[str], Colour]


@cache
def rgb(code: str) -> Colour:
    """'#ff8000' -> (255, 128, 0)."""
    return int(code[1:3], 16), int(code[3:5], 16), int(code[5:7], 16)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with `share` (0 to 1) of it replaced by `b`."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))


def multiply(a: Colour, light: Sequence[float]) -> Colour:
    """`a` lit by a coloured light whose channels are around 1."""
    return tuple(min(255, round(x * y)) for x, y in zip(a, light, strict=True))


def ramp(stops: Sequence[Colour], length: int) -> np.ndarray:
    """Float [length, 3] that runs smoothly through evenly spaced `stops`."""
    at = np.linspace(0, len(stops) - 1, length)
    table = np.asarray(stops, float)
    return np.stack([np.interp(at, range(len(stops)), table[:, c]) for c in range(3)], axis=1)


@cache
def _disc_of_light(size: int) -> Image.Image:
    """A mask that fades smoothly from 255 at the middle to 0 at the rim."""
    axis = np.linspace(-1, 1, size)
    distance = np.hypot(axis[:, None], axis[None, :]).clip(0, 1)
    return Image.fromarray((255 * (0.5 + 0.5 * np.cos(np.pi * distance)) ** 1.5).astype(np.uint8))


class Canvas:
    """A picture under way; the methods paint over what is there."""

    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        self.image = Image.new("RGB", (width * OVERSAMPLE, height * OVERSAMPLE))
        self._pen = ImageDraw.Draw(self.image)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """One flat colour within a closed line."""
        self._pen.polygon(_scaled(points), fill=colour)

    def shaded(self, points: Sequence[Point], stops: Sequence[Colour]) -> None:
        """A polygon whose colour runs through `stops` from its highest to its lowest visible row."""
        rows = [min(max(y, 0), self.height) * OVERSAMPLE for _, y in points]
        top, bottom = int(min(rows)), int(np.ceil(max(rows)))
        if bottom - top < 2:
            return
        width = self.image.width
        mask = Image.new("L", (width, bottom - top))
        ImageDraw.Draw(mask).polygon([(x, y - top) for x, y in _scaled(points)], fill=255)
        column = ramp(stops, bottom - top).round().astype(np.uint8)
        fill = Image.fromarray(np.repeat(column[:, None], width, axis=1))
        self.image.paste(fill, (0, top), mask)

    def box(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """A rectangle from its upper left corner."""
        self.polygon([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """An ellipse around (x, y)."""
        s = OVERSAMPLE
        self._pen.ellipse([(x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s], fill=colour)

    def bar(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """A flat bar with round ends around (x, y)."""
        s = OVERSAMPLE
        corners = [(x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s]
        self._pen.rounded_rectangle(corners, radius=ry * s, fill=colour)

    def glow(self, x: float, y: float, rx: float, ry: float, colour: Colour, strength: float) -> None:
        """Light that fades from (x, y) outwards; `strength` (0 to 1) is its cover in the middle."""
        s = OVERSAMPLE
        size = max(2, round(2 * rx * s)), max(2, round(2 * ry * s))
        mask = _disc_of_light(128).resize(size, Image.Resampling.BILINEAR)
        mask = mask.point([round(v * strength) for v in range(256)])
        self.image.paste(colour, (round((x - rx) * s), round((y - ry) * s)), mask)

    def finished(self) -> np.ndarray:
        """The picture, uint8 [height, width, 3]."""
        return np.asarray(self.image.resize((self.width, self.height), Image.Resampling.BILINEAR))


def _scaled(points: Sequence[Point]) -> list[Point]:
    return [(x * OVERSAMPLE, y * OVERSAMPLE) for x, y in points]


# Things that stand in a landscape. `x, y` is the middle of the foot, `size` the picture's shorter side.


def tree(canvas: Canvas, x: float, y: float, size: float, tint: Tint, snow: Colour | None) -> None:
    """A round-crowned tree, 0.42 of the shorter side tall."""
    trunk = 0.022 * size
    stem = [(x - 1.5 * trunk, y), (x - trunk, y - 0.2 * size), (x + trunk, y - 0.2 * size), (x + 1.5 * trunk, y)]
    canvas.polygon(stem, tint("#7a4a2c"))
    for dx, dy, radius, code in _CROWN:
        r = radius * size
        canvas.ellipse(x + dx * size, y - dy * size, r, 0.95 * r, tint(code))
    if snow:
        canvas.ellipse(x - 0.005 * size, y - 0.372 * size, 0.09 * size, 0.052 * size, snow)
        canvas.ellipse(x - 0.095 * size, y - 0.282 * size, 0.055 * size, 0.032 * size, snow)


_CROWN = (  # dx, height, radius, colour
    (0.085, 0.205, 0.085, "#3c8a3a"),
    (-0.085, 0.205, 0.085, "#4b9c3f"),
    (0.0, 0.285, 0.135, "#4b9c3f"),
    (-0.035, 0.305, 0.085, "#76bf4e"),
)


def house(canvas: Canvas, x: float, y: float, size: float, tint: Tint, window: Colour, snow: Colour | None) -> None:
    """A cottage seen from a corner, 0.32 of the shorter side wide: gable with door, side with window."""
    u = 0.32 * size
    left, corner, right = x - 0.5 * u, x - 0.08 * u, x + 0.5 * u
    eaves, ridge = y - 0.36 * u, y - 0.74 * u
    peak = (left + corner) / 2
    canvas.polygon([(left, y), (left, eaves), (peak, ridge), (corner, eaves), (corner, y)], tint("#f7dfb2"))
    canvas.box(corner, eaves, right - corner, y - eaves, tint("#dcb583"))
    roof = [(peak - 0.01 * u, ridge - 0.02 * u), (right - 0.16 * u, ridge - 0.02 * u)]
    roof += [(right + 0.06 * u, eaves + 0.04 * u), (corner + 0.03 * u, eaves + 0.04 * u)]
    canvas.polygon(roof, snow or tint("#c8402f"))
    gable = [(left - 0.06 * u, eaves + 0.05 * u), (peak, ridge - 0.06 * u), (corner + 0.06 * u, eaves + 0.05 * u)]
    gable += [(corner - 0.02 * u, eaves + 0.07 * u), (peak, ridge + 0.1 * u), (left + 0.02 * u, eaves + 0.07 * u)]
    canvas.polygon(gable, tint("#96281f"))
    canvas.box(peak - 0.09 * u, y - 0.28 * u, 0.18 * u, 0.28 * u, tint("#7c3d24"))
    canvas.box(corner + 0.17 * u, y - 0.265 * u, 0.24 * u, 0.18 * u, window)


def lighthouse(canvas: Canvas, x: float, y: float, size: float, tint: Tint, lamp: Colour, glow: float) -> None:
    """A red and white tower, 0.54 of the shorter side tall; `glow` (0 to 1) is how far its lamp shines."""
    foot, neck, tall = 0.068 * size, 0.045 * size, 0.4 * size
    canvas.polygon(_cut(x, y, foot * 1.5, foot * 1.25, 0.035 * size), tint("#8b8d97"))
    base = y - 0.03 * size
    for band in range(5):
        low, high = (foot + (neck - foot) * share for share in (band / 5, (band + 1) / 5))
        canvas.polygon(_cut(x, base - tall * band / 5, low, high, tall / 5), tint(("#d8372f", "#fbf6ee")[band % 2]))
    top = base - tall
    canvas.box(x - 1.35 * neck, top - 0.022 * size, 2.7 * neck, 0.026 * size, tint("#4a4c5c"))
    if glow:
        canvas.glow(x, top - 0.05 * size, 0.3 * size, 0.2 * size, lamp, glow)
    canvas.box(x - 0.8 * neck, top - 0.078 * size, 1.6 * neck, 0.058 * size, lamp)
    roof = [(x - 1.15 * neck, top - 0.075 * size), (x, top - 0.135 * size), (x + 1.15 * neck, top - 0.075 * size)]
    canvas.polygon(roof, tint("#b32a28"))


def boat(canvas: Canvas, x: float, y: float, size: float, tint: Tint, foam: Colour) -> None:
    """A sailing boat, 0.34 of the shorter side long; `y` is the water line."""
    u = 0.34 * size
    canvas.bar(x, y + 0.02 * size, 0.62 * u, 0.018 * size, foam)
    deck, top = y - 0.15 * u, y - 1.12 * u
    canvas.box(x - 0.035 * u, top, 0.07 * u, deck - top, tint("#6b4630"))
    boom, main, jib = deck - 0.07 * u, x + 0.02 * u, x - 0.06 * u
    canvas.polygon([(main, top), (main, boom), (x + 0.46 * u, boom)], tint("#fffaf0"))
    canvas.polygon([(jib, top + 0.16 * u), (jib, boom), (x - 0.4 * u, boom)], tint("#f29a3d"))
    hull = [(x - 0.5 * u, deck), (x + 0.5 * u, deck), (x + 0.36 * u, y + 0.06 * u), (x - 0.34 * u, y + 0.06 * u)]
    canvas.polygon(hull, tint("#b5382c"))
    rail = [(x - 0.5 * u, deck), (x + 0.5 * u, deck), (x + 0.45 * u, deck + 0.07 * u), (x - 0.45 * u, deck + 0.07 * u)]
    canvas.polygon(rail, tint("#fbf0dc"))


def conifer(
    canvas: Canvas, x: float, y: float, width: float, height: float, colour: Colour, snow: Colour | None
) -> None:
    """A fir of two tiers."""
    half = width / 2
    low = [(x - half, y), (x, y - 0.78 * height), (x + half, y)]
    high = [(x - 0.72 * half, y - 0.4 * height), (x, y - height), (x + 0.72 * half, y - 0.4 * height)]
    canvas.polygon(low, colour)
    canvas.polygon(high, colour)
    if snow:
        cap = [(x - 0.42 * half, y - 0.65 * height), (x, y - height), (x + 0.42 * half, y - 0.65 * height)]
        canvas.polygon(cap, snow)


def cloud(canvas: Canvas, x: float, y: float, width: float, top: Colour, bottom: Colour) -> None:
    """A flat-bottomed cloud: three humps on a bar, its underside in another colour."""
    for dx, rise, radius in ((-0.2, 0.1, 0.15), (0.04, 0.17, 0.21), (0.25, 0.08, 0.13)):
        canvas.ellipse(x + dx * width, y - rise * width, radius * width, radius * width * 0.9, top)
    canvas.bar(x, y - 0.06 * width, 0.5 * width, 0.085 * width, top)
    canvas.bar(x + 0.02 * width, y - 0.015 * width, 0.43 * width, 0.042 * width, bottom)


def _cut(x: float, y: float, low: float, high: float, height: float) -> list[Point]:
    """An upright trapezoid with half widths `low` at its foot (x, y) and `high` at its top."""
    return [(x - low, y), (x + low, y), (x + high, y - height), (x - high, y - height)]
