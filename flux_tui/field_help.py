"""What a setting takes, said to a person. It comes from the refusals that stand below a wrong value, so no bound is
written twice. Knows no widget.
"""

from __future__ import annotations

from pathlib import Path

from flux_engine.errors import RequestError
from flux_engine.fields import Field
from flux_engine.request import MAX_SIZE_PX, SIZE_STEP_PX
from flux_tui.config_reader import setting_value
from flux_tui.settings import CUSTOM, SIZE, size_choices

NOTHING_TAKES = -7
"""No setting takes it: none is negative, none is a text of that type."""


def accepted_by(setting: Field) -> str:
    """What a setting takes in the config file: "a whole number from 1 to 1000", "one of jax, torch"."""
    if setting.name == "checkpoint_dir":
        return "a folder"
    try:
        setting_value(setting, NOTHING_TAKES, Path())
    except RequestError as error:
        return str(error).removeprefix("Needs ").rstrip(".")
    raise ValueError(f"{setting.name} takes {NOTHING_TAKES}; expected a setting that refuses it.")


def taken_in_form(setting: Field, checkpoint_dir: str | None) -> str:
    """What a row of the form takes, choices by the names that stand there; `checkpoint_dir` is the model."""
    if setting is SIZE:
        sizes = (" ".join(label.split()) for label, value in size_choices(checkpoint_dir) if value != CUSTOM)
        return f"{', '.join(sizes)}; or any width and height, multiples of {SIZE_STEP_PX} up to {MAX_SIZE_PX}"
    takes = f"one of {', '.join(label for label, _ in setting.choices)}" if setting.choices else accepted_by(setting)
    return f"{takes}; empty: {setting.blank}" if setting.blank else takes
