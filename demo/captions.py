"""Captions for scenes, in many phrasings: what the demo model learns to read.

Knows words, and which of them mean which attribute of a `Scene`. Knows no picture: what the seed
of a picture decides (where the sun stands, how tall a peak is) is never said.

What is left unsaid has a meaning: no weather means a clear sky, no object means that there is
none. Only bare words ('mountains', 'a lighthouse, fog'; about one caption in fifteen of the
training split) leave the rest open. The held-out split asks in frames, and in pairs of time and
terrain phrases, that training never saw; every word of it is known from training.

A frame is a sentence with {slots}; what stands in [brackets] goes when its slot has nothing to say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from demo.landscapes import Scene, random_scene

LONGEST = 24  # words
BARE_SHARE = 0.065
CLEAR_SAID_SHARE = 0.25

# Slot -> name of the attribute's value -> phrasings.
# fmt: off
PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "time": {
        "dawn": (
            "at dawn", "at sunrise", "in the early morning",
            "at daybreak", "as the sun comes up", "at first light",
        ),
        "noon": (
            "at noon", "at midday", "in the middle of the day",
            "in bright daylight", "at high noon", "during the day",
        ),
        "sunset": (
            "at sunset", "at dusk", "in the evening",
            "as the sun goes down", "at golden hour", "in the evening light",
        ),
        "night": (
            "at night", "at midnight", "under the moon",
            "after dark", "in the moonlight", "in the middle of the night",
        ),
    },
    "hour": {
        "dawn": ("dawn", "sunrise", "early morning", "daybreak"),
        "noon": ("noon", "midday", "daylight", "daytime"),
        "sunset": ("sunset", "dusk", "evening", "golden hour"),
        "night": ("night", "midnight", "moonlight", "nighttime"),
    },
    "terrain": {
        "mountains": (
            "mountains", "high mountains", "tall peaks",
            "a mountain range", "big mountains", "mountain peaks",
        ),
        "hills": ("hills", "rolling hills", "gentle hills", "low hills", "soft hills", "round hills"),
        "forest": ("a forest", "a pine forest", "the woods", "the forest", "a fir forest", "woods"),
        "desert": ("a desert", "sand dunes", "the desert", "dunes", "desert dunes", "a sandy desert"),
        "sea": ("the sea", "the ocean", "a beach", "the coast", "the seaside", "a sandy beach"),
        "city": ("a city", "a city skyline", "a big city", "the city", "tall buildings", "a town"),
    },
    "place": {
        "mountains": (
            "in the mountains", "among mountains", "below high mountains",
            "in front of tall peaks", "near the mountains",
        ),
        "hills": ("in the hills", "among rolling hills", "on gentle hills", "in front of hills", "near the hills"),
        "forest": (
            "in the forest", "in the woods", "near a pine forest",
            "in front of a forest", "at the edge of the woods",
        ),
        "desert": (
            "in the desert", "among sand dunes", "between the dunes",
            "in front of dunes", "in a sandy desert",
        ),
        "sea": ("by the sea", "at the beach", "on the coast", "by the ocean", "at the seaside"),
        "city": ("in the city", "in front of a skyline", "in town", "in a big city", "near tall buildings"),
    },
    "weather": {
        "clear": ("under a clear sky", "with a clear sky", "in clear weather", "under clear skies"),
        "cloudy": (
            "under a cloudy sky", "under big clouds", "with clouds in the sky",
            "under an overcast sky", "in cloudy weather",
        ),
        "fog": ("in fog", "in the mist", "in thick fog", "in foggy weather", "covered in mist", "in the haze"),
        "snow": (
            "in winter", "in the snow", "under falling snow",
            "covered in snow", "while it snows", "in snowy weather",
        ),
    },
    "sky": {
        "clear": ("a clear sky", "clear weather", "clear skies"),
        "cloudy": ("clouds", "big clouds", "a cloudy sky", "an overcast sky", "cloudy skies"),
        "fog": ("fog", "mist", "thick fog", "haze"),
        "snow": ("snow", "falling snow", "winter", "snowfall"),
    },
    "mood": {
        "cloudy": ("cloudy", "overcast"),
        "fog": ("foggy", "misty", "hazy"),
        "snow": ("snowy", "snow-covered", "wintry"),
    },
    "object": {
        "tree": ("a tree", "a lone tree", "an oak", "a big tree", "a single tree", "an old oak tree"),
        "house": ("a house", "a cottage", "a small house", "a cabin", "a little house", "a house with a red roof"),
        "lighthouse": ("a lighthouse", "a tall lighthouse", "a red and white lighthouse", "an old lighthouse"),
        "boat": ("a boat", "a sailing boat", "a sailboat", "a ship", "a small boat", "a boat with sails"),
    },
}
# fmt: on

# Slots that say nothing about the scene.
DECORATIONS = {
    "adj": (
        *("serene", "beautiful", "peaceful", "calm", "quiet", "lovely", "pretty"),
        *("tranquil", "simple", "wonderful", "charming", "nice", "very nice"),
    ),
    "kind": ("landscape", "scene", "view", "panorama"),
    "art": ("painting", "picture", "drawing", "poster", "illustration", "wallpaper", "image", "photo", "print"),
}

# {moody} is the terrain with the weather in front of it: 'a misty forest'.
TRAIN_FRAMES = (
    "a {adj} landscape with {terrain}[ and {object}] {time}[ {weather}]",
    "a {adj} landscape with {terrain} {time}[ {weather}][ and {object}]",
    "a {adj} {kind} with {moody}[ and {object}] {time}",
    "{moody} {time}[ with {object}]",
    "{terrain} {time}[ {weather}][ with {object}]",
    "{terrain} {time}[ with {object}][ {weather}]",
    "{time}, {terrain}[, {object}][, {weather}]",
    "[{object}, ]{terrain}, {hour}[, {sky}]",
    "[{object}, ]{terrain}[, {sky}], {hour}",
    "[{sky}, ]{hour}, {terrain}[, {object}]",
    "{hour}. {terrain}[ {weather}][ with {object}]",
    "{hour}. {moody}[ and {object}]",
    "a {art} of {terrain} {time}[ {weather}][ with {object}]",
    "a {adj} {art} of {moody} {time}[ with {object}]",
    "a {art}: {terrain}[, {object}], {hour}[, {sky}]",
    "please draw {terrain}[ and {object}] {time}[ {weather}]",
    "please draw me {object} {place} {time}[ {weather}]",
    "[{object} ]{place} {time}[ {weather}]",
    "[{object} in front of ]{terrain} {time}[ {weather}]",
    "[{object} in front of ]{moody} {time}",
    "{adj} scenery with {terrain}[ and {object}] {time}[ {weather}]",
    "{adj} scenery, {terrain}[, {object}], {hour}[, {sky}]",
    "draw a {adj} {kind} {place}[ with {object}] {time}[ {weather}]",
    "a {hour} {kind} with {terrain}[ and {object}][ {weather}]",
    "a {hour} {kind} with {moody}[ and {object}]",
    "there is {object} {place} {time}[ {weather}]",
    "{object} {time}, {place}[, {weather}]",
    "i would like a {art} of {object} {place} {time}[ {weather}]",
    "{kind} {place}, {hour}[, {sky}][, {object}]",
    "a {adj} {art} with {moody}[, {object}], {hour}",
    "{object}, {sky}, {terrain}, {hour}",
    "show me {terrain}[ with {object}] {time}[ {weather}]",
    "{moody}, {hour}[, {object}]",
    "[{sky} over ]{terrain}[ and {object}] {time}",
    "{hour} {place}[ with {object}][ {weather}]",
    "a {adj} {hour} {kind} {place}[ with {object}][ and {sky}]",
    "the {kind} is {adj}: {moody} {time}[, {object}]",
    "{terrain}[ and {object}]. {hour}[. {sky}]",
    "it is {hour}. {object} {place}[ {weather}]",
)

HELD_OUT_FRAMES = (
    "i would like {terrain}[ and {object}] {time}[ {weather}], please",
    "please show me a {adj} {kind} of {terrain}[ with {object}] {time}[ {weather}]",
    "{time}: a {adj} {art} of {moody}[ and {object}]",
    "draw {moody}[ and {object}], {time}",
    "there is {object} in front of {moody}, and it is {hour}",
    "it is {hour} {place}[ and there is {object}][, {weather}]",
    "[{sky} and ]{terrain} {time}[, with {object}]",
    "a {art} with {object}, {terrain} and {sky} {time}",
    "a {kind} {place} {time}[ with {object}][, {sky}]",
    "{hour}, {adj} {kind}, {moody}[, {object}]",
    "[{object}: ]{hour} {place}[, {weather}]",
    "[{weather}, ]{time}, {terrain}[ with {object}]",
    "{moody}[ and {object}] in a {adj} {art}, {time}",
    "show me {object} {place}, {hour}[ and {sky}]",
    "a {art}. {moody}. [{object}. ]{hour}",
)

_SLOT = re.compile(r"\{(\w+)\}")
_OPTIONAL = re.compile(r"\[([^\]]*)\]")
_WEATHER_SLOTS = {"weather", "sky", "moody"}


def caption(scene: Scene, rng: np.random.Generator, *, split: str = "train") -> str:
    """Describe `scene` in at most LONGEST words.

    Args:
        scene: what the picture shows.
        rng: chooses frame, phrasing, case and punctuation.
        split: "train", or "held_out" for frames that training never sees. A held-out caption
            always tells all four attributes (by the rule that unsaid means clear, or none).

    Raises ValueError for another split.
    """
    if split not in ("train", "held_out"):
        raise ValueError(f"split: got {split!r}, expected 'train' or 'held_out'")
    if split == "train" and rng.random() < BARE_SHARE:
        return _finished(_bare(scene, rng), rng)
    while True:
        text = _sentence(scene, rng, split)
        if len(text.split()) <= LONGEST:
            return _finished(text, rng)


def vocabulary_sample(rng: np.random.Generator, count: int) -> list[str]:
    """`count` training captions of random scenes, from which a tokenizer can learn the words."""
    return [caption(random_scene(rng), rng) for _ in range(count)]


def reserved(time: str, terrain: str) -> bool:
    """Whether this pair of a time and a terrain phrase is kept for the held-out split."""
    return (_index(time, "time", "hour") + _index(terrain, "terrain", "place")) % 4 == 3


def _index(phrase: str, *slots: str) -> int:
    return next(group.index(phrase) for slot in slots for group in PHRASES[slot].values() if phrase in group)


def _sentence(scene: Scene, rng: np.random.Generator, split: str) -> str:
    frames = TRAIN_FRAMES if split == "train" else HELD_OUT_FRAMES
    frame = _pick(rng, [frame for frame in frames if _fits(frame, scene)])
    slots = set(_SLOT.findall(frame))
    words = {name: _pick(rng, choices) for name, choices in DECORATIONS.items()}
    if scene.object == "none" and rng.random() < 0.15:
        words["adj"] = "empty"
    words |= _where_and_when(scene, rng, slots, split)
    words |= _what_else(scene, rng)
    if "terrain" in words:
        words["moody"] = _with_adjective(words["terrain"], words.get("mood"))
    return _filled(frame, words)


def _where_and_when(scene: Scene, rng: np.random.Generator, slots: set[str], split: str) -> dict[str, str]:
    """The phrases of time and terrain; their pair belongs to `split`."""
    when = "time" if "time" in slots else "hour"
    where = "place" if "place" in slots else "terrain"
    while True:
        time, terrain = _pick(rng, PHRASES[when][scene.time]), _pick(rng, PHRASES[where][scene.terrain])
        if reserved(time, terrain) == (split == "held_out"):
            return {when: time, where: terrain}


def _what_else(scene: Scene, rng: np.random.Generator) -> dict[str, str]:
    """The phrases of weather and object, as far as there is something to say."""
    words = {}
    if scene.object != "none":
        words["object"] = _pick(rng, PHRASES["object"][scene.object])
    if scene.weather != "clear" or rng.random() < CLEAR_SAID_SHARE:
        for slot in ("weather", "sky", "mood"):
            if scene.weather in PHRASES[slot]:
                words[slot] = _pick(rng, PHRASES[slot][scene.weather])
    return words


def _fits(frame: str, scene: Scene) -> bool:
    """Whether `frame` can say all of `scene`, and demands nothing that the scene has not."""
    slots, demanded = set(_SLOT.findall(frame)), set(_SLOT.findall(_OPTIONAL.sub("", frame)))
    if scene.weather == "clear" and demanded & {"weather", "sky"}:
        return False
    if scene.weather != "clear" and not slots & _WEATHER_SLOTS:
        return False
    return "object" in slots if scene.object != "none" else "object" not in demanded


def _filled(frame: str, words: dict[str, str]) -> str:
    def keep(match: re.Match[str]) -> str:
        return match[1] if set(_SLOT.findall(match[1])) <= words.keys() else ""

    return _SLOT.sub(lambda match: words[match[1]], _OPTIONAL.sub(keep, frame))


def _bare(scene: Scene, rng: np.random.Generator) -> str:
    """One or two attributes without a sentence; the others are left open."""
    said = [*_where_and_when(scene, rng, {"hour", "terrain"}, "train").values()]
    if scene.weather != "clear":
        said.append(_pick(rng, PHRASES["sky"][scene.weather]))
    if scene.object != "none":
        said.append(_pick(rng, PHRASES["object"][scene.object]))
    count = 1 if rng.random() < 0.65 else 2
    return ", ".join(said[i] for i in rng.permutation(len(said))[:count])


def _with_adjective(phrase: str, adjective: str | None) -> str:
    """('a forest', 'misty') -> 'a misty forest'."""
    if adjective is None:
        return phrase
    first, _, rest = phrase.partition(" ")
    return f"{first} {adjective} {rest}" if first in ("a", "an", "the") else f"{adjective} {phrase}"


def _finished(text: str, rng: np.random.Generator) -> str:
    """Right articles, then one of the usual ways to type."""
    text = re.sub(r"\ban? (?=(\w))", lambda match: "an " if match[1] in "aeiou" else "a ", text)
    style, stop = rng.random(), rng.random() < 0.35
    if stop and not text.endswith("."):
        text += "."
    if style < 0.4:
        return text
    if style < 0.43:
        return text.upper()
    return re.sub(r"(^|\. )(\w)|\bi\b", lambda match: match[0].upper(), text)


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]
