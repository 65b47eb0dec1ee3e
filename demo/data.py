"""The pictures on disk: drawn once, split once, read by every stage of the training.

The split is by index and the same for all stages: picture i of a shape is drawn from seed (shape, i), and the
validation pictures come from seeds that no training picture uses. No stage trains on them.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from demo.captions import caption
from demo.landscapes import OBJECTS, TERRAINS, TIMES, WEATHERS, Scene, draw, random_scene

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "time": TIMES,
    "terrain": TERRAINS,
    "weather": WEATHERS,
    "object": OBJECTS,
}
VALIDATION_SEED, TRAIN_SEED = 1_000_003, 7
CAPTIONS_PER_PICTURE = 4


@dataclass(frozen=True)
class Shape:
    """A group of equally sized pictures."""

    name: str
    width: int
    height: int
    count: int
    seed: int


TRAIN_SHAPES = (
    Shape("square", 128, 128, 16000, TRAIN_SEED),
    Shape("wide", 192, 128, 3000, TRAIN_SEED + 1),
    Shape("tall", 128, 192, 3000, TRAIN_SEED + 2),
    Shape("large", 192, 192, 1500, TRAIN_SEED + 3),
)
VALIDATION = Shape("validation", 128, 128, 1000, VALIDATION_SEED)


def scene_at(shape: Shape, index: int) -> tuple[Scene, np.random.Generator]:
    """Scene `index` of a shape and the generator that draws it, independent of all other indices."""
    rng = np.random.default_rng((shape.seed, index))
    return random_scene(rng), rng


def draw_all(folder: Path, shape: Shape, processes: int = 2) -> None:
    """Write `<name>.npy` (uint8 [N, H, W, 3]), unless it is there."""
    path = folder / f"{shape.name}.npy"
    if path.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    pictures = np.lib.format.open_memmap(
        partial, mode="w+", dtype=np.uint8, shape=(shape.count, shape.height, shape.width, 3)
    )
    with ProcessPoolExecutor(processes) as pool:
        jobs = pool.map(_draw_one, [shape] * shape.count, range(shape.count), chunksize=64)
        for index, picture in enumerate(jobs):
            pictures[index] = picture
    pictures.flush()
    partial.rename(path)


def _draw_one(shape: Shape, index: int) -> np.ndarray:
    scene, rng = scene_at(shape, index)
    return draw(scene, rng, shape.width, shape.height)


def pictures_of(folder: Path, shape: Shape) -> np.ndarray:
    """The drawn pictures of a shape, mapped from disk: uint8 [N, H, W, 3]."""
    return np.load(folder / f"{shape.name}.npy", mmap_mode="r")


def captions_of(shape: Shape, *, split: str = "train", each: int = CAPTIONS_PER_PICTURE) -> list[list[str]]:
    """`each` captions of every picture of a shape."""
    result = []
    for index in range(shape.count):
        scene, _ = scene_at(shape, index)
        rng = np.random.default_rng((shape.seed, index, 1))
        result.append([caption(scene, rng, split=split) for _ in range(each)])
    return result


def labels_of(shape: Shape) -> np.ndarray:
    """int [N, 4]: index of each attribute's value, in the order of ATTRIBUTES."""
    return np.array([label_of(scene_at(shape, index)[0]) for index in range(shape.count)])


def label_of(scene: Scene) -> list[int]:
    values = asdict(scene)
    return [names.index(values[attribute]) for attribute, names in ATTRIBUTES.items()]
