"""The rows of the app's form: the request's own fields, and those that help to fill them. Knows no widget."""

from __future__ import annotations

from typing import cast

from flux_engine.errors import RequestError
from flux_engine.fields import FIELD, FIELDS, MAX_DIGITS, Field, parse
from flux_engine.request import MAX_SIZE_PX, SIZE_STEP_PX
from flux_engine.series import MAX_COUNT

CUSTOM = "custom"
RANDOM, FIXED, INCREMENT = "random", "fixed", "increment"

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
    """The checkpoint folder that a text means, None for the demo model; the bare text where no path comes of it."""
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
