"""The captions: what is said is true, what is unsaid is clear or absent, and held-out stays unseen."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from demo.captions import HELD_OUT_FRAMES, LONGEST, PHRASES, TRAIN_FRAMES, caption, reserved, vocabulary_sample
from demo.landscapes import OBJECTS, TERRAINS, TIMES, WEATHERS, Scene, random_scene

# A reader that shares nothing with the module: words that give an attribute away.
TELLTALES = {
    "time": {
        "dawn": r"dawn|sunrise|morning|daybreak|sun comes up|first light",
        "noon": r"noon|midday|middle of the day|daylight|daytime|during the day",
        "sunset": r"sunset|dusk|evening|sun goes down|golden hour",
        "night": r"night|midnight|nighttime|under the moon|moonlight|after dark",
    },
    "terrain": {
        "mountains": r"mountains?|peaks",
        "hills": r"hills",
        "forest": r"forest|woods",
        "desert": r"desert|dunes",
        "sea": r"sea|ocean|beach|coast|seaside",
        "city": r"city|skyline|buildings|town",
    },
    "weather": {
        "cloudy": r"cloudy|overcast|clouds",
        "fog": r"fog|foggy|mist|misty|haze|hazy",
        "snow": r"snow|snowy|snow-covered|wintry|winter|snows|snowfall",
        "clear": r"clear",
    },
    "object": {
        "tree": r"tree|oak",
        "house": r"house|cottage|cabin",
        "lighthouse": r"lighthouse",
        "boat": r"boat|sailboat|ship",
    },
}
UNSAID = {"weather": "clear", "object": "none"}


def told(text: str) -> dict[str, set[str]]:
    """Attribute -> the values that the words of `text` give away."""
    return {
        attribute: {name for name, words in values.items() if re.search(rf"\b(?:{words})\b", text.lower())}
        for attribute, values in TELLTALES.items()
    }


def scenes(count: int, seed: int = 0) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [random_scene(rng) for _ in range(count)]


def words_of(text: str) -> set[str]:
    return set(re.findall(r"[a-z-]+", text.lower()))


def frame_words(frames: tuple[str, ...]) -> set[str]:
    return set().union(*(words_of(re.sub(r"\{\w+\}", " ", frame)) for frame in frames))


def test_a_held_out_caption_tells_all_four_attributes() -> None:
    rng = np.random.default_rng(1)
    for values in itertools.product(TIMES, TERRAINS, WEATHERS, OBJECTS):
        scene = Scene(**dict(zip(("time", "terrain", "weather", "object"), values, strict=True)))
        text = caption(scene, rng, split="held_out")
        for attribute, names in told(text).items():
            want = getattr(scene, attribute)
            assert names == {want} or (not names and UNSAID.get(attribute) == want), (text, scene)


def test_a_training_caption_says_nothing_untrue_and_seldom_leaves_anything_open() -> None:
    rng = np.random.default_rng(2)
    bare = 0
    for scene in scenes(4000):
        said = told(text := caption(scene, rng))
        assert all(names <= {getattr(scene, attribute)} for attribute, names in said.items()), (text, scene)
        bare += any(
            not names and UNSAID.get(attribute) != getattr(scene, attribute) for attribute, names in said.items()
        )
    assert 0.04 < bare / 4000 < 0.09


def test_no_held_out_frame_is_a_training_frame() -> None:
    assert len(HELD_OUT_FRAMES) >= 12
    assert not set(HELD_OUT_FRAMES) & set(TRAIN_FRAMES)
    assert len(set(TRAIN_FRAMES)) == len(TRAIN_FRAMES)


def test_held_out_captions_are_never_seen_in_training_but_their_words_are() -> None:
    rng = np.random.default_rng(3)
    train = vocabulary_sample(rng, 12_000)
    held_out = [caption(scene, rng, split="held_out") for scene in scenes(2000, seed=4)]
    assert not {text.lower().rstrip(".") for text in train} & {text.lower().rstrip(".") for text in held_out}
    assert set().union(*map(words_of, held_out)) <= set().union(*map(words_of, train))
    assert frame_words(HELD_OUT_FRAMES) <= frame_words(TRAIN_FRAMES)


def test_reserved_pairs_leave_every_phrase_to_both_splits() -> None:
    for when, where in itertools.product(("time", "hour"), ("terrain", "place")):
        for times, terrains in itertools.product(PHRASES[when].values(), PHRASES[where].values()):
            for time in times:
                assert {reserved(time, terrain) for terrain in terrains} == {True, False}
            for terrain in terrains:
                assert {reserved(time, terrain) for time in times} == {True, False}


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_captions_are_short_tidy_english(split: str) -> None:
    rng = np.random.default_rng(5)
    for scene in scenes(3000, seed=6):
        text = caption(scene, rng, split=split)
        assert 1 <= len(text.split()) <= LONGEST
        assert not re.search(r"[{}\[\]]|  |^[ ,.:]|[ ,:]$| [,.:]|\.\.|,,", text), text
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|\b(?:a|an|the) (?:a|an|the)\b", text.lower()), text
        assert not re.search(r"\b(\w+) \1\b", text.lower()), text


def test_every_attribute_has_several_phrasings() -> None:
    for slot, values in PHRASES.items():
        for name, phrases in values.items():
            assert len(set(phrases)) == len(phrases) >= (2 if slot == "mood" else 3), (slot, name)


def test_the_words_of_the_readme_belong_to_training() -> None:
    assert "a {adj} landscape with {terrain} {time}[ {weather}][ and {object}]" in TRAIN_FRAMES
    assert not reserved("at sunset", "mountains")


def test_the_same_seed_gives_the_same_caption() -> None:
    for split, scene in itertools.product(("train", "held_out"), scenes(50)):
        first, second = (caption(scene, np.random.default_rng(9), split=split) for _ in range(2))
        assert first == second


def test_captions_vary_in_case_and_stop() -> None:
    texts = vocabulary_sample(np.random.default_rng(7), 2000)
    assert len(set(texts)) > 1900
    for share in (np.mean([text[0].islower() for text in texts]), np.mean([text.endswith(".") for text in texts])):
        assert 0.2 < share < 0.6


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="got 'test', expected 'train' or 'held_out'"):
        caption(scenes(1)[0], np.random.default_rng(0), split="test")
