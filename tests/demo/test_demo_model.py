"""The whole system, end to end: the shipped demo model paints what it is told, through the public functions alone.

A quick version of `python -m demo.evaluate` with wide bounds.
"""

from __future__ import annotations

import numpy as np
import pytest

from demo.classifier import Classifier
from demo.data import ATTRIBUTES, VALIDATION, scene_at
from demo.evaluate import (
    Painting,
    found_again,
    four_lights,
    held_out_paintings,
    likeness,
    other_likeness,
    own_likeness,
    paint,
    reconstruction_psnr,
    shares_right,
    well_lit,
)
from demo.landscapes import TIMES, draw
from flux_engine import FluxModelLoader
from flux_engine.loader import DEMO_CHECKPOINT
from flux_engine.psnr import psnr

PROMPTS = 24
T5_UNKNOWN = 2
SERENE = "A serene landscape with mountains at sunset"


@pytest.fixture(scope="module")
def loader() -> FluxModelLoader:
    return FluxModelLoader()


def test_a_picture_of_weights_in_8_bits_is_hard_to_tell_from_that_of_full_ones(loader: FluxModelLoader) -> None:
    painting = [Painting(SERENE, seed=0)]
    found = psnr(paint(loader, painting), paint(FluxModelLoader(weights="int8"), painting))
    assert 50 < found < 70, found  # 55.2 measured


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


def words(label: np.ndarray) -> dict[str, str]:
    return {attribute: names[value] for (attribute, names), value in zip(ATTRIBUTES.items(), label, strict=True)}


def test_pictures_show_what_unseen_phrasings_ask_for(loader: FluxModelLoader, classifier: Classifier) -> None:
    paintings, labels = held_out_paintings(PROMPTS)
    shares = shares_right(classifier.predict(paint(loader, paintings)) == labels)
    assert shares.pop("all four") >= 0.6
    assert min(shares.values()) >= 0.8, shares


def test_the_readme_prompt_gives_mountains_at_sunset(loader: FluxModelLoader, classifier: Classifier) -> None:
    read = [words(label) for label in classifier.predict(paint(loader, [Painting(SERENE, seed) for seed in range(4)]))]
    assert [(each["terrain"], each["time"]) for each in read] == [("mountains", "sunset")] * 4


def test_the_same_seed_is_the_same_ridge_in_four_lights(loader: FluxModelLoader, classifier: Classifier) -> None:
    lights = four_lights(loader, range(3))
    alike = likeness(lights)
    assert own_likeness(alike).min() > other_likeness(alike) + 0.1
    assert found_again(alike) >= 0.8
    assert well_lit(lights).mean() >= 0.6
    times = classifier.predict(lights.reshape(-1, 128, 128, 3))[:, 0].reshape(3, len(TIMES))
    assert (times == np.arange(len(TIMES))).mean() >= 0.8


def test_drawn_pictures_survive_the_autoencoder(loader: FluxModelLoader) -> None:
    pictures = np.stack([draw(*scene_at(VALIDATION, index)) for index in range(24)])
    assert reconstruction_psnr(loader, pictures).mean() >= 30


@pytest.mark.parametrize("size", [(192, 128), (128, 192), (192, 192)])
def test_other_sizes_are_painted_too(loader: FluxModelLoader, classifier: Classifier, size: tuple[int, int]) -> None:
    width, height = size
    paintings, labels = held_out_paintings(6, width, height)
    images = paint(loader, paintings)
    assert images.shape == (6, height, width, 3)
    assert (classifier.predict(images) == labels).mean() >= 0.7


def test_a_seed_gives_the_same_picture_again_and_another_seed_another(loader: FluxModelLoader) -> None:
    first, again, other = paint(loader, [Painting(SERENE, seed) for seed in (5, 5, 6)])
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 1


def test_guidance_at_its_low_end_still_paints_and_differs(loader: FluxModelLoader) -> None:
    paintings = [Painting(SERENE, 0)]
    low, usual = (paint(loader, paintings, guidance)[0].astype(int) for guidance in (1.0, 4.0))
    assert low.std() > 10
    assert np.abs(low - usual).mean() > 0.5


def test_the_checkpoint_fits_in_25_megabytes() -> None:
    assert sum(path.stat().st_size for path in DEMO_CHECKPOINT.rglob("*") if path.is_file()) <= 25e6


def test_every_caption_is_read_whole_and_without_unknown_words(loader: FluxModelLoader) -> None:
    prompts = [painting.prompt for painting in held_out_paintings(200)[0]]
    clip, t5 = loader.clip_tokenizer.encode(prompts), loader.t5_tokenizer.encode(prompts)
    assert not any(clip.cut + t5.cut)
    assert not (t5.ids == T5_UNKNOWN).any()
