"""The rows of the app's form: the request's own fields, and those that help to fill them. Knows no widget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from flux_engine.errors import RequestError
from flux_engine.fields import (
    FIELD,
    FIELDS,
    MAX_DIGITS,
    MODEL_FIELDS,
    TIMER_LABELS,
    Field,
    default_texts,
    parse,
    parse_all,
)
from flux_engine.request import MAX_SIZE_PX, SIZE_STEP_PX, check_shift, check_timer
from flux_engine.series import MAX_COUNT

CUSTOM = "custom"
RANDOM, FIXED, INCREMENT = "random", "fixed", "increment"
ASPECTS = ((1, 1), (3, 2), (2, 3), (16, 9), (9, 16))

SIZE = Field(
    name="size",
    label="Size",
    kind="choice",
    help="Sizes that suit the model; or set width and height.",
    choices=(("Custom", CUSTOM),),
)
SEED_USE = Field(
    name="seed_use",
    label="Seed use",
    kind="choice",
    help="Random: always a new one. Fixed: it stays. Increment: it goes up.",
    choices=(("Random", RANDOM), ("Fixed", FIXED), ("Increment", INCREMENT)),
)
COUNT = Field(
    name="count", label="Count", kind="whole", help="Pictures queued by one key press, each with its own seed."
)

_AFTER_SEED = FIELDS.index(FIELD["seed"]) + 1
_AFTER_BATCH = FIELDS.index(FIELD["batch_size"]) + 1
FORM_FIELDS = (
    SIZE,
    *FIELDS[:_AFTER_SEED],
    SEED_USE,
    *FIELDS[_AFTER_SEED:_AFTER_BATCH],
    COUNT,
    *(field for field in FIELDS[_AFTER_BATCH:] if field.name != "negative_prompt"),  # the prompt pane has it
)
"""Every row, from the top."""


def parse_count(text: str) -> int:
    """How many pictures a text asks for.

    Raises:
        RequestError: it is no such number; the message is for the line below the field.
    """
    digits = text.strip()
    if not digits.isdecimal() or len(digits) > MAX_DIGITS or not 1 <= int(digits) <= MAX_COUNT:
        raise RequestError(f"Needs a whole number from 1 to {MAX_COUNT}.")
    return int(digits)


def model_of(text: str) -> str | None:
    """The checkpoint that a text means, None for the demo model; the bare text where no path comes of it."""
    try:
        return cast("str | None", parse("checkpoint_dir", text))
    except RequestError:
        return text.strip()


def size_presets(checkpoint_dir: str | None) -> tuple[tuple[int, int], ...]:
    """The sizes (width, height in pixels) that suit a model, its default first."""
    if checkpoint_dir is None:
        return ((128, 128), (192, 128), (128, 192), (192, 192))
    return ((1024, 1024), (1216, 832), (832, 1216), (1344, 768), (768, 1344), (512, 512))


def snapped(side_px: int) -> int:
    """The nearest side that a request takes: a multiple of 16, from 16 to 8192 pixels."""
    rounded = round(side_px / SIZE_STEP_PX) * SIZE_STEP_PX
    return min(max(rounded, SIZE_STEP_PX), MAX_SIZE_PX)


def size_choices(checkpoint_dir: str | None) -> tuple[tuple[str, str], ...]:
    """What the size offers for a model: ("128 x 128  1:1", "128x128") for each of its sizes, and "custom"."""
    sizes = size_presets(checkpoint_dir)
    return (*((f"{w} x {h}  {_aspect(w, h)}", f"{w}x{h}") for w, h in sizes), ("Custom", CUSTOM))


def _aspect(width: int, height: int) -> str:
    """The nearest familiar aspect, "3:2"."""
    across, down = min(ASPECTS, key=lambda aspect: abs(width / height - aspect[0] / aspect[1]))
    return f"{across}:{down}"


def complete(texts: Mapping[str, str]) -> dict[str, str]:
    """Every row's text: that of `texts` where it fits the row, else the default of the model that they name."""
    texts = fitting(texts)
    model = model_of(texts.get("checkpoint_dir", ""))
    return {**default_texts(model), SIZE.name: CUSTOM, SEED_USE.name: RANDOM, COUNT.name: "1", **texts}


def fitting(texts: Mapping[str, str]) -> dict[str, str]:
    """Those texts that have a row, and that a choice offers. A seed that is named is one to be painted with."""
    rows = {field.name: field for field in FORM_FIELDS if field is not SIZE}
    fixed = {SEED_USE.name: FIXED} if "seed" in texts else {}
    return {
        name: text
        for name, text in {**fixed, **texts}.items()
        if name in rows and (not rows[name].choices or text in {value for _, value in rows[name].choices})
    }


def model_texts(checkpoint_dir: str | None) -> dict[str, str]:
    """The texts that a model brings, by a row's name: its size, steps and guidance."""
    own = default_texts(checkpoint_dir)
    return {name: own[name] for name in MODEL_FIELDS}


def parse_form(texts: Mapping[str, str]) -> tuple[dict[str, Any], int, dict[str, str]]:
    """The request's values, the count, and what is wrong with each row where something is, by its name.

    Without a fault the values make a request.
    """
    values, faults = parse_all({name: text for name, text in texts.items() if name in FIELD})
    try:
        check_timer(values["timer"], values.get("sigma_shift"))
    except RequestError:
        faults["sigma_shift"] = f"Goes with the timer {TIMER_LABELS['auto']} only; else leave it empty."
    try:
        check_shift(values.get("num_steps", 1), values.get("sigma_shift"))
    except RequestError as error:
        faults["sigma_shift"] = error.hint
    try:
        return values, parse_count(texts[COUNT.name]), faults
    except RequestError as error:
        return values, 1, {**faults, COUNT.name: str(error)}
