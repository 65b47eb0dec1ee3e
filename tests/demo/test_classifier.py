"""The judge: it reads pictures that it was not trained on, soft ones and other sizes too."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from PIL import Image, ImageFilter

from demo.classifier import BATCH_SIZE, WEIGHTS, Classifier, reduced, train
from demo.data import VALIDATION, label_of, scene_at
from demo.landscapes import draw

COUNT = 128


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Validation pictures and their labels."""
    return drawn_at(128, 128, COUNT)


def drawn_at(width: int, height: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    scenes = [scene_at(VALIDATION, index) for index in range(count)]
    pictures = np.stack([draw(scene, rng, width, height) for scene, rng in scenes])
    return pictures, np.array([label_of(scene) for scene, _ in scenes])


def softened(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1.5)))


def test_validation_pictures_are_read_right(classifier: Classifier, drawn: tuple[np.ndarray, np.ndarray]) -> None:
    pictures, labels = drawn
    assert ((classifier.predict(pictures) == labels).mean(0) >= 0.98).all()


def test_soft_pictures_are_read_right(classifier: Classifier, drawn: tuple[np.ndarray, np.ndarray]) -> None:
    pictures, labels = drawn
    got = classifier.predict(np.stack([softened(picture) for picture in pictures]))
    assert ((got == labels).mean(0) >= 0.95).all()


@pytest.mark.parametrize("size", [(192, 128), (128, 192), (192, 192)])
def test_other_sizes_are_read_right(classifier: Classifier, size: tuple[int, int]) -> None:
    pictures, labels = drawn_at(*size, 40)
    assert ((classifier.predict(pictures) == labels).mean(0) >= 0.95).all()


def test_reading_does_not_depend_on_the_company(classifier: Classifier, drawn: tuple[np.ndarray, np.ndarray]) -> None:
    pictures, _ = drawn
    together = classifier.predict(pictures[:37])
    assert together.shape == (37, 4)
    np.testing.assert_array_equal(together[35:], classifier.predict(pictures[35:37]))


def test_sizes_that_cannot_be_reduced_are_refused(classifier: Classifier) -> None:
    with pytest.raises(ValueError, match="got 160x96"):
        classifier.predict(np.zeros((1, 96, 160, 3), np.uint8))


def test_reducing_averages_square_cells() -> None:
    picture = np.zeros((1, 192, 384, 3), np.uint8)
    picture[0, :3, 3:6] = [90, 0, 9]
    got = reduced(picture)
    assert got.shape == (1, 64, 128, 3)
    assert got[0, 0, 1].tolist() == [90, 0, 9]
    assert got.sum() == 99


def test_training_is_repeatable_learns_and_survives_the_file(tmp_path) -> None:
    # Four plain colours in place of landscapes: the time is the colour, everything else is always the same.
    rng = np.random.default_rng(0)
    labels = np.zeros((4 * BATCH_SIZE, 4), int)
    labels[:, 0] = rng.integers(4, size=len(labels))
    colours = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250], [240, 240, 240]], np.uint8)
    pictures = np.broadcast_to(colours[labels[:, 0]][:, None, None], (len(labels), 64, 64, 3))

    first, second = (train([(pictures, labels)], epochs=4, seed=3) for _ in range(2))
    first.save(tmp_path / "first.npz")
    second.save(tmp_path / "second.npz")
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()
    got = Classifier.load(tmp_path / "first.npz").predict(pictures)
    np.testing.assert_array_equal(got, labels)


def test_the_shipped_weights_are_small() -> None:
    assert WEIGHTS.stat().st_size < 400_000
    assert all(leaf.dtype == np.float16 for leaf in jax.tree.leaves(dict(np.load(WEIGHTS))))
