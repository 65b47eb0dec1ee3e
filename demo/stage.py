"""Where the parts of a landscape stand, and in which light: a seed's layout and a scene's colours.

Knows the random numbers of a picture, the palette of each hour and what fog, cloud and snow do to it.
Knows no shapes: what a ridge or a boat looks like is up to `landscapes` and `painting`.

Every random number is drawn into a `Layout` before the scene is looked at, always as many and in
the same order: the same seed with another time of day is the same place in another light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from demo.painting import Canvas, Colour, Point, mix, multiply, rgb

if TYPE_CHECKING:
    from demo.landscapes import Scene

HORIZON = 0.6  # of the height
HOURS = ("dawn", "noon", "sunset", "night")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Every random number of a picture, uniform in [0, 1)."""

    spot: float  # where the object stands
    sun: np.ndarray  # [2]
    clouds: np.ndarray  # [4, 3] x, y, width
    stars: np.ndarray  # [7, 2]
    flakes: np.ndarray  # [14, 3] x, y, radius
    far: np.ndarray  # [12, 3] peaks, firs, dunes or towers at the back: place, height, shape
    near: np.ndarray  # [12, 3] and in front of them
    waves: np.ndarray  # [3, 4] the curves of hills and shores

    @classmethod
    def random(cls, rng: np.random.Generator) -> Layout:
        """Always the same draws in the same order."""
        return cls(
            spot=float(rng.random()),
            sun=rng.random(2),
            clouds=rng.random((4, 3)),
            stars=rng.random((7, 2)),
            flakes=rng.random((14, 3)),
            far=rng.random((12, 3)),
            near=rng.random((12, 3)),
            waves=rng.random((3, 4)),
        )


MATERIALS = {  # the columns are HOURS
    "zenith": ("#a3b5e6", "#2b86e3", "#43266b", "#111d4d"),
    "upper_sky": ("#d9c3e4", "#5aaef3", "#96336f", "#1d2f6c"),
    "lower_sky": ("#f8cdd6", "#96d0fa", "#e4543f", "#2f468c"),
    "skyline": ("#ffe6cf", "#d4f0fd", "#ffa63d", "#4a64ad"),
    "sun": ("#fff6dc", "#fffbd0", "#ffdf70", "#f8f3d6"),
    "cloud": ("#fff1f1", "#ffffff", "#ef7a5a", "#5d72b4"),
    "cloud_under": ("#d9bcd8", "#bdd3e6", "#8c2f63", "#3a4b8a"),
    "fog": ("#f1dfe4", "#dfe9ee", "#dd9672", "#6c7cb2"),
    "snow": ("#fbf0f6", "#fafdff", "#e6a29a", "#a6b6e2"),
    "snow_sky": ("#d3c4de", "#b0c6da", "#c2627a", "#3f5290"),
    "peak": ("#b3a6d2", "#8db2de", "#9c4472", "#4a5fa6"),
    "peak_shade": ("#9489bd", "#6a92c6", "#74305f", "#374a8b"),
    "cap": ("#fff4f4", "#ffffff", "#ffbe8a", "#b4c4f2"),
    "ridge": ("#8886b5", "#4f7fae", "#532555", "#2a3a78"),
    "meadow": ("#b4cba2", "#8ed05a", "#8a6a2f", "#33706a"),
    "meadow_near": ("#8fb08a", "#55a83c", "#4e4426", "#1f4c55"),
    "hill_far": ("#c6cdc6", "#aadf9b", "#b5603f", "#3f6a93"),
    "hill": ("#a9c3a6", "#7fca63", "#86602f", "#33667a"),
    "fir_far": ("#a3aec6", "#7db8a0", "#8f3f5a", "#33508c"),
    "fir": ("#7795a3", "#3f9469", "#5c2c4b", "#22406f"),
    "fir_near": ("#4f7a80", "#1f6c47", "#38203d", "#163154"),
    "sand": ("#f6dbbb", "#fbdc8c", "#f08a45", "#8f88b4"),
    "sand_shade": ("#dbae9d", "#dfa650", "#a8433f", "#5f5a90"),
    "water": ("#ecd0dc", "#74c6f2", "#fb9a48", "#5670bb"),
    "water_near": ("#9fb0da", "#1f72c2", "#7b2f66", "#1e3174"),
    "foam": ("#fbeaea", "#d4f1fd", "#ffc177", "#8fa8e6"),
    "tower_far": ("#d0bedb", "#b7d3ec", "#b0446a", "#3c519a"),
    "tower": ("#a294c4", "#86a9cf", "#742c5f", "#2b3c80"),
    "tower_near": ("#857bb0", "#5f82ab", "#4b1f50", "#1d2b66"),
    "quay": ("#cbbccb", "#b9c2c6", "#7d4256", "#3b4a80"),
    "window": ("#ffe9bd", "#d3ebf9", "#ffd05e", "#ffd873"),
}
SKY = ("zenith", "upper_sky", "lower_sky", "skyline")
AMBIENT = {"dawn": (1.0, 0.91, 0.95), "noon": (1.0, 1.0, 1.0), "sunset": (1.0, 0.72, 0.62), "night": (0.6, 0.67, 0.93)}
SUN_RADIUS = {"dawn": 0.07, "noon": 0.085, "sunset": 0.115, "night": 0.08}  # of the shorter side
LOW_SUN = ("dawn", "sunset")
SNOWED = {  # how much of a surface a snowfall covers
    "meadow": 0.93, "meadow_near": 0.9, "hill_far": 0.7, "hill": 0.8, "sand": 0.85, "sand_shade": 0.3, "quay": 0.9,
    "peak": 0.35, "peak_shade": 0.2, "ridge": 0.25, "fir_far": 0.3, "fir": 0.2, "fir_near": 0.1,
    "tower_far": 0.3, "tower": 0.2, "water": 0.15, "water_near": 0.1,
}  # fmt: skip
FOGGED = (0.08, 0.27, 0.46, 0.6, 0.74)  # by distance: 0 the object, 1 its ground, 4 the farthest ridge
SKYLINE = {  # how high above the horizon a low sun sits
    "mountains": 0.2, "hills": 0.13, "forest": 0.2, "desert": 0.1, "sea": 0.02, "city": 0.22,
}  # fmt: skip


class Stage:
    """One picture under way: the scene, its layout and canvas, and the light that falls on it."""

    def __init__(self, scene: Scene, layout: Layout, canvas: Canvas):
        self.scene, self.layout, self.canvas = scene, layout, canvas
        self.width, self.height = canvas.width, canvas.height
        self.size = min(canvas.width, canvas.height)
        self.rise = (self.size * self.height) ** 0.5  # scale of what rises from the horizon
        self.horizon = HORIZON * self.height
        self.ground = self.height - self.horizon
        hour = HOURS.index(scene.time)
        self.palette = {material: rgb(colours[hour]) for material, colours in MATERIALS.items()}
        margin = 0.22 * self.size
        self.spot = margin + layout.spot * (self.width - 2 * margin)
        self.sun_x = self.width * (0.14 + 0.72 * ((layout.spot + 0.3 + 0.4 * layout.sun[0]) % 1))

    def colour(self, material: str, distance: int) -> Colour:
        """A material of the palette under this weather, seen from `distance` (see FOGGED)."""
        base = self.palette[material]
        if self.scene.weather == "snow":
            base = mix(base, self.palette["snow"], SNOWED.get(material, 0))
        return self._veiled(base, distance)

    def tint(self, code: str) -> Colour:
        """The colour of a thing in the foreground, given as it is at noon."""
        return self._veiled(multiply(rgb(code), AMBIENT[self.scene.time]), 0)

    def snow_cover(self, distance: int = 0) -> Colour | None:
        """The colour of fresh snow where it snows, else None."""
        return self._veiled(self.palette["snow"], distance) if self.scene.weather == "snow" else None

    def _veiled(self, base: Colour, distance: int) -> Colour:
        if self.scene.weather == "fog":
            return mix(base, self.palette["fog"], FOGGED[distance])
        if self.scene.weather == "cloudy":
            return mix(base, self.palette["cloud_under"], 0.08)
        return base

    def sun(self) -> tuple[float, float, float]:
        """x, y and radius: low suns sit on the skyline of their terrain, high ones in the upper sky."""
        radius = SUN_RADIUS[self.scene.time] * self.size
        if self.scene.time not in LOW_SUN:
            return self.sun_x, self.height * (0.15 + 0.05 * self.layout.sun[1]), radius
        skyline = self.horizon - SKYLINE[self.scene.terrain] * self.rise
        return self.sun_x, skyline - radius * (0.7 + 0.5 * self.layout.sun[1]), radius

    def down_to_bottom(self, line: list[Point]) -> list[Point]:
        """Close a line that crosses the picture into the area below it."""
        return [*line, (self.width + 9, self.height + 9), (-9, self.height + 9)]

    def curve(self, wave: int, y: float, swing: float) -> list[Point]:
        """A smooth line across the picture around height `y`."""
        a, b, c, d = self.layout.waves[wave]
        x = np.linspace(-4, self.width + 4, 40)
        t = x / self.size
        shape = np.sin(2 * np.pi * (a + (0.55 + 0.3 * b) * t)) + 0.4 * np.sin(2 * np.pi * (c + (1.1 + 0.4 * d) * t))
        return list(zip(x.tolist(), (y - swing * shape / 1.4).tolist(), strict=True))

    def along(self, cells: np.ndarray, step: float, jitter: float) -> list[tuple[float, float, float]]:
        """(x, height, shape) of each cell; `step` and `jitter` in shorter sides."""
        return [((i - 0.3 + jitter * (p - 0.5)) * step * self.size, h, s) for i, (p, h, s) in enumerate(cells.tolist())]
