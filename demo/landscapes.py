"""Seeded procedural landscapes: what the demo model learns to paint.

Knows what a scene is, and how sky, terrains and objects are put together from back to front.
Knows no captions, no files and no network; `stage` knows places and colours, `painting` the shapes.

Nothing is smaller than about 4 px at 128 px, because finer detail (glitter, window grids, small
flakes) comes back from a small VAE as noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo import painting
from demo.painting import Canvas, Point, mix, rgb
from demo.stage import LOW_SUN, SKY, Layout, Stage

TIMES = ("dawn", "noon", "sunset", "night")
TERRAINS = ("mountains", "hills", "forest", "desert", "sea", "city")
WEATHERS = ("clear", "cloudy", "fog", "snow")
OBJECTS = ("none", "tree", "house", "lighthouse", "boat")

LAMPS = {"sunset": 0.5, "night": 0.7}  # when windows are lit, and how far a lighthouse shines


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The four things that a caption can say about a picture.

    Raises ValueError for a name that is not in TIMES, TERRAINS, WEATHERS or OBJECTS.
    """

    time: str
    terrain: str
    weather: str
    object: str

    def __post_init__(self):
        known = {"time": TIMES, "terrain": TERRAINS, "weather": WEATHERS, "object": OBJECTS}
        for field, names in known.items():
            if (got := getattr(self, field)) not in names:
                raise ValueError(f"{field}: got {got!r}, expected one of {', '.join(names)}")


def random_scene(rng: np.random.Generator) -> Scene:
    """Any combination; each name of an attribute equally likely, but 'none' a quarter of the objects."""
    weights = (0.25, *[0.75 / (len(OBJECTS) - 1)] * (len(OBJECTS) - 1))
    return Scene(
        time=str(rng.choice(TIMES)),
        terrain=str(rng.choice(TERRAINS)),
        weather=str(rng.choice(WEATHERS)),
        object=str(rng.choice(OBJECTS, p=weights)),
    )


def draw(scene: Scene, rng: np.random.Generator, width: int = 128, height: int = 128) -> np.ndarray:
    """Paint one picture of `scene`.

    Args:
        scene: what it shows.
        rng: where its parts are; the number of draws does not depend on scene or size.
        width, height: pixels, 96 to 256 each.

    Returns: uint8 [height, width, 3]. Raises ValueError for a size out of range.
    """
    for name, got in (("width", width), ("height", height)):
        if not 96 <= got <= 256:
            raise ValueError(f"{name}: got {got}, expected 96 to 256 pixels")
    stage = Stage(scene, Layout.random(rng), Canvas(width, height))
    _sky(stage)
    _TERRAIN[scene.terrain](stage)
    if scene.object != "none":
        _OBJECT[scene.object](stage)
    if scene.weather == "snow":
        _flakes(stage)
    return stage.canvas.finished()


# Sky


def _sky(stage: Stage) -> None:
    stops = [stage.palette[name] for name in SKY]
    greyer = {"cloudy": ("cloud_under", 0.3), "snow": ("snow_sky", 0.5)}
    if stage.scene.weather in greyer:
        name, share = greyer[stage.scene.weather]
        stops = [mix(stop, stage.palette[name], share) for stop in stops]
    if stage.scene.weather == "fog":
        shares = (0.45, 0.6, 0.75, 0.88)
        stops = [mix(s, stage.palette["fog"], share) for s, share in zip(stops, shares, strict=True)]
    w, low = stage.width, stage.horizon + 0.07 * stage.rise
    stage.canvas.shaded([(-1, -1), (w + 1, -1), (w + 1, low), (-1, low)], stops)
    if stage.scene.time == "night" and stage.scene.weather == "clear":
        _stars(stage)
    _sun(stage)
    if stage.scene.weather == "cloudy":
        _clouds(stage)


def _sun(stage: Stage) -> None:
    x, y, radius = stage.sun()
    colour, weather = stage.palette["sun"], stage.scene.weather
    if weather == "fog":
        colour = mix(colour, stage.palette["fog"], 0.45)
    if weather == "snow":
        colour = mix(colour, stage.palette["snow_sky"], 0.25)
    reach = 4.2 if stage.scene.time in LOW_SUN else 3
    stage.canvas.glow(x, y, reach * radius, reach * radius, colour, 0.55 if weather == "clear" else 0.35)
    stage.canvas.ellipse(x, y, radius, radius, colour)


def _stars(stage: Stage) -> None:
    x0, y0, _ = stage.sun()
    for i, (dx, dy) in enumerate(stage.layout.stars.tolist()):
        x = stage.width * (i + 0.2 + 0.6 * dx) / 7
        y = stage.height * (0.05 + 0.11 * (i * 2 % 3) + 0.06 * dy)
        if np.hypot(x - x0, y - y0) > 0.2 * stage.size:
            radius = 0.0125 * stage.size
            stage.canvas.ellipse(x, y, radius, radius, rgb("#dfe6ff"))


def _clouds(stage: Stage) -> None:
    top, bottom = stage.palette["cloud"], stage.palette["cloud_under"]
    count = 3 if stage.width <= 1.2 * stage.size else 4
    for i, (dx, dy, wide) in enumerate(stage.layout.clouds[:count].tolist()):
        x = stage.width * (i + 0.2 + 0.6 * dx) / count
        y = stage.height * (0.12 + 0.1 * (i * 2 % 3) + 0.07 * dy)
        painting.cloud(stage.canvas, x, y, (0.34 + 0.14 * wide) * stage.size, top, bottom)
    x, y, radius = stage.sun()
    painting.cloud(stage.canvas, x + 0.9 * radius, y + 0.9 * radius, 4.6 * radius, top, bottom)


def _flakes(stage: Stage) -> None:
    colour = mix(stage.palette["snow"], (255, 255, 255), 0.6)
    for i, (dx, dy, large) in enumerate(stage.layout.flakes.tolist()):
        x = stage.width * (i % 4 + 0.15 + 0.7 * dx) / 4
        y = stage.height * (i // 4 + 0.15 + 0.7 * dy) / 4
        radius = (0.016 + 0.008 * large) * stage.size
        stage.canvas.ellipse(x, y, radius, radius, colour)


# Terrain


def _ground(stage: Stage, line: list[Point], far: str, near: str) -> None:
    stops = [stage.colour(far, 2), stage.colour(near, 1)]
    stage.canvas.shaded(stage.down_to_bottom(line), stops)


def _mountains(stage: Stage) -> None:
    peaks = stage.along(stage.layout.far, 0.42, 0.5)
    for x, height, shape in sorted(peaks, key=lambda peak: peak[1]):
        _peak(stage, x, (0.3 + 0.16 * height) * stage.rise, (0.3 + 0.1 * shape) * stage.size)
    line = [(-0.3 * stage.size, stage.horizon)]
    for x, height, _ in stage.along(stage.layout.near, 0.36, 0.5):
        line.append((x, stage.horizon - (0.09 + 0.07 * height) * stage.rise))
        line.append((x + 0.18 * stage.size, stage.horizon - 0.04 * stage.rise))
    ridge, meadow = stage.colour("ridge", 3), stage.colour("meadow", 2)
    stage.canvas.shaded(stage.down_to_bottom(line), [ridge, mix(ridge, meadow, 0.5)])
    _ground(stage, stage.curve(0, stage.horizon + 0.02 * stage.rise, 0.02 * stage.rise), "meadow", "meadow_near")


def _peak(stage: Stage, x: float, height: float, half: float) -> None:
    foot, top = stage.horizon + 2, stage.horizon - height
    away = 1 if stage.sun_x < x else -1  # the shaded side
    bend = x - 0.1 * away * half
    stage.canvas.polygon([(x - half, foot), (x, top), (x + half, foot)], stage.colour("peak", 4))
    shaded = [(x, top), (x + away * half, foot), (bend, foot), (x + 0.12 * away * half, foot - 0.45 * height)]
    stage.canvas.polygon(shaded, stage.colour("peak_shade", 4))
    low = top + 0.36 * height
    zigzag = [(x + 0.36 * half, low), (x + 0.16 * half, low - 0.09 * height), (x, low + 0.05 * height)]
    zigzag += [(x - 0.18 * half, low - 0.09 * height), (x - 0.36 * half, low)]
    stage.canvas.polygon([(x, top), *zigzag], stage.colour("cap", 4))


def _hills(stage: Stage) -> None:
    far = stage.curve(0, stage.horizon - 0.1 * stage.rise, 0.055 * stage.rise)
    middle = stage.curve(1, stage.horizon + 0.02 * stage.rise, 0.05 * stage.rise)
    near = stage.curve(2, stage.horizon + 0.3 * stage.ground, 0.035 * stage.rise)
    stage.canvas.shaded(stage.down_to_bottom(far), [stage.colour("hill_far", 4), stage.colour("hill", 3)])
    stage.canvas.shaded(stage.down_to_bottom(middle), [stage.colour("hill", 3), stage.colour("meadow", 2)])
    _ground(stage, near, "meadow", "meadow_near")


def _forest(stage: Stage) -> None:
    _firs(stage, stage.layout.far, 0.2, (0.34, 0.1), stage.horizon, "fir_far", 4)
    _firs(stage, stage.layout.near[::-1], 0.22, (0.27, 0.1), stage.horizon + 0.04 * stage.rise, "fir", 3)
    _ground(stage, stage.curve(0, stage.horizon + 0.03 * stage.rise, 0.012 * stage.rise), "meadow", "meadow_near")
    _firs(stage, stage.layout.near, 0.3, (0.2, 0.12), stage.horizon + 0.14 * stage.ground, "fir_near", 2)


def _firs(
    stage: Stage, cells: np.ndarray, step: float, tall: tuple[float, float], foot: float, material: str, distance: int
) -> None:
    colour = stage.colour(material, distance)
    snow = stage.snow_cover(distance)
    for x, height, shape in stage.along(cells, step, 0.6):
        wide = (0.19 + 0.07 * shape) * stage.size
        painting.conifer(stage.canvas, x, foot, wide, (tall[0] + tall[1] * height) * stage.rise, colour, snow)


def _desert(stage: Stage) -> None:
    for cells, step, tall, foot, distance in (
        (stage.layout.far, 0.6, 0.15, stage.horizon + 2, 4),
        (stage.layout.near, 0.8, 0.17, stage.horizon + 0.22 * stage.ground, 3),
    ):
        for x, height, shape in sorted(stage.along(cells, step, 0.6), key=lambda dune: -dune[1]):
            _dune(stage, x, foot, (0.5 + 0.2 * shape) * stage.size, tall * (0.7 + 0.6 * height) * stage.rise, distance)
        floor = [(-9, foot - 1), (stage.width + 9, foot - 1)]
        sand, shade = stage.colour("sand", distance), stage.colour("sand_shade", distance)
        stage.canvas.shaded(stage.down_to_bottom(floor), [mix(sand, shade, 0.25), sand])
    line = stage.curve(2, stage.horizon + 0.34 * stage.ground, 0.02 * stage.rise)
    sand, shade = stage.colour("sand", 1), stage.colour("sand_shade", 1)
    stage.canvas.shaded(stage.down_to_bottom(line), [sand, mix(sand, shade, 0.45)])


def _dune(stage: Stage, x: float, foot: float, half: float, height: float, distance: int) -> None:
    away = 1 if stage.sun_x < x else -1  # the shaded side
    t = np.linspace(0, 1, 9)
    fall = foot - height * (1 - t) ** 1.6
    lit = list(zip((x - away * half * t).tolist(), fall.tolist(), strict=True))
    shaded = list(zip((x + away * half * t).tolist(), fall.tolist(), strict=True))
    crest = [(x + away * half * (0.12 * np.sin(3.1 * s) - 0.22 * s), foot - height * (1 - s)) for s in t.tolist()]
    sand = stage.colour("sand", distance)
    stage.canvas.polygon([*lit[::-1], *crest], sand)
    stage.canvas.polygon([*shaded, *crest[::-1]], stage.colour("sand_shade", distance))


def _sea(stage: Stage) -> None:
    w, top = stage.width, stage.horizon
    middle = mix(stage.colour("water", 2), stage.colour("water_near", 2), 0.6)
    stops = [stage.colour("water", 3), middle, stage.colour("water_near", 1)]
    stage.canvas.shaded([(-9, top), (w + 9, top), (w + 9, stage.height), (-9, stage.height)], stops)
    _swell(stage)
    share = 0.74 if stage.scene.object == "boat" else 0.5
    shore = stage.curve(0, top + share * stage.ground, 0.02 * stage.rise)
    foam = [(x, y - 0.03 * stage.rise) for x, y in shore]
    stage.canvas.polygon(stage.down_to_bottom(foam), stage.colour("foam", 1))
    sand, shade = stage.colour("sand", 1), stage.colour("sand_shade", 1)
    stage.canvas.shaded(stage.down_to_bottom(shore), [sand, mix(sand, shade, 0.25)])


def _swell(stage: Stage) -> None:
    """Broad light bars under the sun."""
    foam, water = stage.colour("foam", 3), stage.colour("water", 3)
    for i, (x, wide) in enumerate(stage.layout.waves[:, 1:3].tolist()):
        y = stage.horizon + (0.1 + 0.14 * i) * stage.ground
        centre = stage.sun_x + 0.14 * (x - 0.5) * stage.size
        half = (0.24 - 0.05 * i + 0.06 * wide) * stage.size
        stage.canvas.bar(centre, y, half, 0.018 * stage.size, mix(foam, water, 0.25))


def _city(stage: Stage) -> None:
    rows = (
        (stage.layout.far, 0.24, 0.37, 0.12, "tower_far", 4),
        (stage.layout.near[::-1], 0.3, 0.28, 0.16, "tower", 3),
        (stage.layout.near, 0.33, 0.16, 0.2, "tower_near", 2),
    )
    for cells, step, low, more, material, distance in rows:
        for x, height, shape in stage.along(cells, step, 0.3):
            wide = (0.17 + 0.06 * shape) * stage.size
            tall = (low + more * height) * stage.rise
            _tower(stage, x + 0.4 * step * stage.size, wide, tall, material, distance)
    edge = stage.horizon + 0.1 * stage.ground
    _ground(stage, [(-9, edge), (stage.width + 9, edge)], "quay", "quay")


def _tower(stage: Stage, x: float, wide: float, tall: float, material: str, distance: int) -> None:
    foot, top = stage.horizon + 0.12 * stage.ground, stage.horizon - tall
    stage.canvas.box(x - wide / 2, top, wide, foot - top, stage.colour(material, distance))
    if distance > 2:  # half hidden roofs and windows would only be clutter
        return
    if snow := stage.snow_cover(distance):
        stage.canvas.box(x - wide / 2, top, wide, 0.036 * stage.size, snow)
    pane, gap = 0.048 * stage.size, 0.095 * stage.size
    dim = 0.1 if stage.scene.time in LAMPS else 0.45
    lit = mix(stage.colour("window", distance), stage.colour(material, distance), dim)
    for row in range(int((tall - 0.03 * stage.size) / gap)):
        for side in (-1, 1):
            stage.canvas.box(x + side * 0.24 * wide - pane / 2, top + 0.06 * stage.size + row * gap, pane, pane, lit)


_TERRAIN = {"mountains": _mountains, "hills": _hills, "forest": _forest, "desert": _desert, "sea": _sea, "city": _city}


# The object


def _foot(stage: Stage) -> float:
    return stage.horizon + 0.72 * stage.ground


def _shadow(stage: Stage, half: float) -> None:
    ground = {"desert": "sand_shade", "sea": "sand_shade", "city": "quay"}.get(stage.scene.terrain, "meadow_near")
    dark = mix(stage.colour(ground, 1), stage.tint("#303048"), 0.3)
    stage.canvas.ellipse(stage.spot, _foot(stage), half * stage.size, 0.024 * stage.size, dark)


def _tree(stage: Stage) -> None:
    _shadow(stage, 0.15)
    painting.tree(stage.canvas, stage.spot, _foot(stage), stage.size, stage.tint, stage.snow_cover())


def _house(stage: Stage) -> None:
    _shadow(stage, 0.2)
    window = rgb("#ffd766") if stage.scene.time in LAMPS else stage.tint("#8fc3e8")
    painting.house(stage.canvas, stage.spot, _foot(stage), stage.size, stage.tint, window, stage.snow_cover())


def _lighthouse(stage: Stage) -> None:
    _shadow(stage, 0.13)
    glow = LAMPS.get(stage.scene.time, 0.0)
    lamp = rgb("#ffe68a") if glow else stage.tint("#ffe9a0")
    painting.lighthouse(stage.canvas, stage.spot, _foot(stage), stage.size, stage.tint, lamp, glow)


def _boat(stage: Stage) -> None:
    at_sea = stage.scene.terrain == "sea"
    water_line = stage.horizon + (0.45 if at_sea else 0.66) * stage.ground
    if not at_sea:
        _lake(stage)
    painting.boat(stage.canvas, stage.spot, water_line, stage.size, stage.tint, stage.colour("foam", 1))


def _lake(stage: Stage) -> None:
    bank = stage.curve(1, stage.horizon + 0.46 * stage.ground, 0.012 * stage.rise)
    beach = stage.curve(2, stage.horizon + 0.9 * stage.ground, 0.015 * stage.rise)
    stage.canvas.shaded([*bank, *beach[::-1]], [stage.colour("water", 1), stage.colour("water_near", 1)])


_OBJECT = {"tree": _tree, "house": _house, "lighthouse": _lighthouse, "boat": _boat}
