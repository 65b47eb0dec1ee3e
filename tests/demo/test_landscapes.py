"""The pictures: the same seed is the same place, and each attribute shows."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from demo.landscapes import OBJECTS, TERRAINS, TIMES, WEATHERS, Scene, draw, random_scene

SEEDS = range(6)
PLAIN = Scene(time="noon", terrain="hills", weather="clear", object="none")


def picture(seed: int = 0, width: int = 128, height: int = 128, **attributes: str) -> np.ndarray:
    return draw(replace(PLAIN, **attributes), np.random.default_rng(seed), width, height)


def mean(part: np.ndarray) -> np.ndarray:
    return part.reshape(-1, 3).astype(float).mean(0)


def edges(part: np.ndarray) -> float:
    """How much neighbouring rows and columns differ."""
    part = part.astype(float)
    return float(np.abs(np.diff(part, axis=0)).mean() + np.abs(np.diff(part, axis=1)).mean())


@pytest.mark.parametrize("size", [(128, 128), (192, 128), (128, 192), (192, 192), (96, 256), (256, 96), (256, 256)])
def test_a_picture_has_the_asked_size_and_no_unpainted_spot(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    for terrain, weather in itertools.product(TERRAINS, WEATHERS):
        got = draw(replace(random_scene(rng), terrain=terrain, weather=weather), rng, *size)
        assert got.dtype == np.uint8
        assert got.shape == (size[1], size[0], 3)
        assert got.max(axis=2).min() > 12  # a bare canvas is black, and no palette is


@pytest.mark.parametrize("attribute", ["time", "terrain", "weather", "object"])
def test_unknown_names_are_refused_with_what_was_expected(attribute: str) -> None:
    with pytest.raises(ValueError, match=f"{attribute}: got 'cheese', expected one of"):
        replace(PLAIN, **{attribute: "cheese"})


@pytest.mark.parametrize("size", [(95, 128), (128, 257)])
def test_sizes_out_of_range_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected 96 to 256 pixels"):
        draw(PLAIN, np.random.default_rng(0), *size)


def test_the_same_seed_gives_the_same_picture_and_another_seed_another() -> None:
    assert np.array_equal(picture(3), picture(3))
    assert not np.array_equal(picture(3), picture(4))


def test_every_scene_and_size_takes_as_many_random_numbers() -> None:
    ends = set()
    for terrain, thing, weather in itertools.product(TERRAINS, OBJECTS, WEATHERS):
        rng = np.random.default_rng(5)
        draw(replace(PLAIN, terrain=terrain, object=thing, weather=weather), rng, 128, 96)
        ends.add(float(rng.random()))
    assert len(ends) == 1


def test_another_time_is_the_same_ridge_in_another_light() -> None:
    """The edges below the sky of one seed lie in the same places by day and by night."""

    def outline(time: str, seed: int) -> np.ndarray:
        rows = picture(seed, time=time, terrain="mountains")[40:110].astype(float)
        return (np.abs(np.diff(rows, axis=0)).sum(axis=2) > 12).ravel()

    for seed in SEEDS:
        noon, night, elsewhere = outline("noon", seed), outline("night", seed), outline("noon", seed + 100)
        assert np.corrcoef(noon, night)[0, 1] > 0.6
        assert np.corrcoef(noon, elsewhere)[0, 1] < 0.4


def test_every_combination_can_come_up_and_none_is_a_quarter_of_the_objects() -> None:
    rng = np.random.default_rng(0)
    scenes = [random_scene(rng) for _ in range(10_000)]
    assert len(set(scenes)) == len(TIMES) * len(TERRAINS) * len(WEATHERS) * len(OBJECTS)
    assert 0.22 < np.mean([scene.object == "none" for scene in scenes]) < 0.28
    for time in TIMES:
        assert 0.22 < np.mean([scene.time == time for scene in scenes]) < 0.28


@pytest.mark.parametrize("terrain", TERRAINS)
@pytest.mark.parametrize("weather", WEATHERS)
def test_the_hour_shows_under_every_weather(terrain: str, weather: str) -> None:
    for seed in SEEDS:
        dawn, noon, sunset, night = (mean(picture(seed, time=time, terrain=terrain, weather=weather)) for time in TIMES)
        assert min(dawn.mean(), noon.mean()) > sunset.mean() + 25
        assert sunset.mean() > night.mean()
        assert noon[1] > noon[0]
        assert night[2] > night[0] + 20
        assert sunset[0] > sunset[2] + 15
        assert abs(dawn[0] - dawn[2]) < 45  # pastel


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("terrain", TERRAINS)
def test_fog_takes_contrast_and_snow_whitens_the_ground(time: str, terrain: str) -> None:
    for seed in SEEDS:
        clear, fog, snow = (
            picture(seed, time=time, terrain=terrain, weather=name) for name in ("clear", "fog", "snow")
        )
        assert edges(fog[50:90]) < 0.85 * edges(clear[50:90])
        foreground = slice(112, 128)
        assert mean(snow[foreground]).min() > mean(clear[foreground]).min() + 15


@pytest.mark.parametrize("time", ["dawn", "noon", "sunset"])  # at night the clear sky has its stars
def test_clouds_are_in_the_sky_only(time: str) -> None:
    clear, cloudy = picture(2, time=time, terrain="sea"), picture(2, time=time, terrain="sea", weather="cloudy")
    assert edges(cloudy[:60]) > 1.3 * edges(clear[:60])
    assert abs(edges(cloudy[100:]) - edges(clear[100:])) < 0.5


def test_forest_is_green_desert_is_sand_and_sea_is_blue_at_noon() -> None:
    for seed in SEEDS:
        forest, desert, sea = (mean(picture(seed, terrain=name)[78:92]) for name in ("forest", "desert", "sea"))
        assert forest[1] > max(forest[0], forest[2]) + 15
        assert desert[0] > desert[2] + 60
        assert sea[2] > sea[0] + 60


@pytest.mark.parametrize("size", [(128, 128), (192, 128), (128, 192), (192, 192)])
@pytest.mark.parametrize("thing", ["tree", "house", "lighthouse", "boat"])
def test_an_object_is_large_and_stands_free_of_the_border(thing: str, size: tuple[int, int]) -> None:
    shorter = min(size)
    least = {"tree": 0.38, "house": 0.2, "lighthouse": 0.5, "boat": 0.34}[thing]
    for seed in SEEDS:
        without, with_it = (picture(seed, *size, terrain="desert", object=name) for name in ("none", thing))
        changed = np.abs(with_it.astype(int) - without).max(axis=2) > 30
        if thing == "boat":  # its lake crosses the whole picture
            changed = _unlike_its_row(with_it) & changed
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        assert columns[0] > 1
        assert columns[-1] < size[0] - 2
        assert rows[-1] < size[1] - 2
        assert np.ptp(rows) >= least * shorter


def _unlike_its_row(image: np.ndarray) -> np.ndarray:
    """Where the red hull is: red well above green and blue, as no sand or water is."""
    image = image.astype(int)
    warm = image[..., 0] - np.maximum(image[..., 1], image[..., 2])
    sail = (image.min(axis=2) > 225) | ((image[..., 0] > 225) & (image[..., 2] < 90))
    return (warm > 90) | sail


def test_a_lighthouse_has_red_and_white_bands() -> None:
    for seed, terrain in itertools.product(SEEDS, TERRAINS):
        picked = picture(seed, terrain=terrain, object="lighthouse").astype(int)
        red = (picked[..., 0] > 180) & (picked[..., 1] < 90) & (picked[..., 2] < 90)
        column = red[:, red.sum(axis=0).argmax()]
        assert np.count_nonzero(np.diff(column.astype(int)) == 1) >= 3


def test_windows_and_lamps_are_lit_after_dark() -> None:
    for seed, thing in itertools.product(SEEDS, ("house", "lighthouse")):
        night = picture(seed, time="night", object=thing).astype(int)
        lit = (night[..., 0] > 230) & (night[..., 1] > 190) & (night[..., 2] < 160)
        assert np.count_nonzero(lit) >= 12


def test_landscapes_need_no_jax() -> None:
    code = "import sys, demo.landscapes, demo.captions; sys.exit('jax' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=False).returncode
        == 0
    )
