"""Every setting of a picture, once: what it is called, what it accepts, what it is for.

The command line, the app's form, its config file and its help are all made from `FIELDS`. The bounds are the request's
own (`GenerationRequest` is asked, field by field), so no rule is written twice. stdlib only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from flux_engine.errors import RequestError
from flux_engine.lora_text import loras_text, parse_loras
from flux_engine.request import DType, GenerationRequest, Integrator, Noise, Timer, WeightKind, defaults_for

Kind = Literal["whole", "number", "text", "choice", "truth", "loras"]


@dataclass(frozen=True, kw_only=True)
class Field:
    """One setting.

    Attributes:
        name: the request's own name for it; the command line's flag with dashes in place of underscores.
        label: what it is called on a screen.
        kind: what its text is turned into: int, float, text, bool, or LoRAs.
        help: one sentence or two for a person.
        choices: (label, text) pairs, of a "choice" or a "truth" only.
        blank: what an empty text means, said to the user; None where there must be one.
    """

    name: str
    label: str
    kind: Kind
    help: str
    choices: tuple[tuple[str, str], ...] = ()
    blank: str | None = None

    @property
    def flag(self) -> str:
        """On the command line, where each LoRA has a flag of its own."""
        name = self.name.removesuffix("s") if self.kind == "loras" else self.name
        return "--" + name.replace("_", "-")


INTEGRATOR_LABELS = {"euler": "Euler", "heun": "Heun", "ddim": "DDIM", "dpmpp_2s": "DPM++ 2S"}
TIMER_LABELS = {"auto": "Model's own", "dynamic": "By size", "linear": "Linear"}
WEIGHT_LABELS = {
    "full": "As precision",
    "int8": "int8",
    "fp8": "fp8",
    "int4": "int4",
    "int8_fast": "int8, fast",
    "fp8_fast": "fp8, fast",
}
TRUTHS = {"no": False, "yes": True}

FIELDS: tuple[Field, ...] = (
    Field(name="width", label="Width", kind="whole", help="Pixels, a multiple of 16."),
    Field(name="height", label="Height", kind="whole", help="Pixels, a multiple of 16."),
    Field(name="num_steps", label="Steps", kind="whole", help="More steps: slower, finer. 1 to 1000."),
    Field(name="guidance_scale", label="Guidance", kind="number", help="How strictly the model follows the prompt."),
    Field(name="seed", label="Seed", kind="whole", help="The same seed and settings give the same picture."),
    Field(name="batch_size", label="Batch", kind="whole", help="Pictures painted together, 1 to 64."),
    Field(
        name="integrator",
        label="Integrator",
        kind="choice",
        help="Heun and DPM++ 2S ask the model twice a step.",
        choices=tuple((INTEGRATOR_LABELS[name], name) for name in get_args(Integrator)),
    ),
    Field(
        name="timer",
        label="Timer",
        kind="choice",
        help="The noise schedule: as trained, shifted by size, or linear.",
        choices=tuple((TIMER_LABELS[name], name) for name in get_args(Timer)),
    ),
    Field(
        name="sigma_shift",
        label="Shift",
        kind="number",
        help="A fixed shift of the noise schedule, in place of the timer's own.",
        blank="the timer's own",
    ),
    Field(
        name="true_cfg_scale",
        label="True CFG",
        kind="number",
        help="1 is off. Above 1 it needs a negative prompt, two passes a step.",
    ),
    Field(
        name="negative_prompt",
        label="Negative",
        kind="text",
        help="What to stay away from. Works when True CFG is above 1.",
        blank="nothing",
    ),
    Field(
        name="noise",
        label="Noise",
        kind="choice",
        help="Random numbers as JAX or as PyTorch draws them from the seed.",
        choices=tuple(({"jax": "JAX", "torch": "PyTorch"}[name], name) for name in get_args(Noise)),
    ),
    Field(
        name="dtype",
        label="Precision",
        kind="choice",
        help="What the model computes in. Automatic takes the faster one here.",
        choices=tuple(({"auto": "Automatic"}.get(name, name), name) for name in get_args(DType)),
    ),
    Field(
        name="checkpoint_dir",
        label="Model",
        kind="text",
        help="A checkpoint's folder or file. Empty: the demo model.",
        blank="demo model",
    ),
    Field(
        name="loras",
        label="LoRA",
        kind="loras",
        help="Styles and things to add, each with its strength: ink:0.8; film.",
        blank="none",
    ),
    Field(
        name="lora_fuse",
        label="Fuse LoRA",
        kind="truth",
        help="Add LoRAs to the weights: quicker steps, slower changes.",
        choices=tuple((text.capitalize(), text) for text in TRUTHS),
    ),
    Field(
        name="lora_lenient",
        label="Lenient",
        kind="truth",
        help="Warn of what a LoRA has and the model has not; do not refuse it.",
        choices=tuple((text.capitalize(), text) for text in TRUTHS),
    ),
    Field(
        name="step_cache",
        label="Step cache",
        kind="number",
        help="Reuse blocks within this error budget: 0 is off, 0.1 quicker.",
    ),
    Field(
        name="weights",
        label="Weights",
        kind="choice",
        help="Fewer bits take less memory. Fast ones are quicker, and less exact.",
        choices=tuple((WEIGHT_LABELS[name], name) for name in get_args(WeightKind)),
    ),
)
FIELD: Mapping[str, Field] = {field.name: field for field in FIELDS}
MODEL_FIELDS = ("width", "height", "num_steps", "guidance_scale")
"""Fields whose default is the model's own."""
LORA_FIELDS = ("loras", "lora_fuse", "lora_lenient")
"""What the app can be started with, beside its model."""

MAX_DIGITS = 18  # no whole number of a request has more than ten, and `int` refuses 4301
_VALID = GenerationRequest(prompt="a valid request to try single values in", num_steps=1)  # which take any shift


def parse(name: str, text: str) -> Any:
    """The value that `text` means for a field.

    Raises:
        RequestError: it means none; the message is for the line below the field.
    """
    field, text = FIELD[name], text.strip()
    if not text:
        if field.blank is not None:
            return getattr(_VALID, name)
        raise RequestError("Needs a value.")
    value = _converted(field, text)
    check(name, value)
    return value


def check(name: str, value: Any) -> None:
    """Refuse a value that no request takes for a field.

    Raises:
        RequestError: with a message that does not name the field, which stands beside it.
    """
    try:
        replace(_VALID, **{name: value})
    except RequestError as error:
        raise RequestError(_short(error)) from None


def _converted(field: Field, text: str) -> Any:
    if field.name == "checkpoint_dir":
        return _folder(text)
    if field.kind == "loras":
        return parse_loras(text)
    if field.kind == "truth" and text.lower() not in TRUTHS:
        raise RequestError(f"Needs {' or '.join(TRUTHS)}.")
    if field.kind == "truth":
        return TRUTHS[text.lower()]
    if field.kind == "whole" and text.isdecimal() and len(text) > MAX_DIGITS:
        return 10**MAX_DIGITS  # out of every range too, and short enough to be said
    try:
        return {"whole": int, "number": float}.get(field.kind, str)(text)
    except ValueError:
        raise RequestError("Needs a whole number." if field.kind == "whole" else "Needs a number.") from None


def _folder(text: str) -> str:
    try:
        return os.path.abspath(os.path.expanduser(text))
    except OSError:  # the current folder was removed
        raise RequestError("Needs the whole path: the current folder is gone.") from None


def _short(error: RequestError) -> str:
    """The engine's message without the field's name, which stands beside it: "Needs a multiple of 16; 128 or 144"."""
    _, _, expected = str(error).partition("expected ")
    nearest = error.hint.removeprefix("Nearest: ").rstrip(".") if error.hint.startswith("Nearest") else ""
    return f"Needs {expected.rstrip('.')}" + (f": {nearest}." if nearest else ".")


def parse_all(texts: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Every field's value, and the message of every field that has none, by field name."""
    values: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for name, text in texts.items():
        try:
            values[name] = parse(name, text)
        except RequestError as error:
            faults[name] = str(error)
    return values, faults


def text_of(value: Any) -> str:
    """How a value is written in its field."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return next(text for text, truth in TRUTHS.items() if truth is value)
    if isinstance(value, tuple):
        return loras_text(value)
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def texts_of(request: GenerationRequest) -> dict[str, str]:
    """Every field's text for a request."""
    return {field.name: text_of(getattr(request, field.name)) for field in FIELDS}


def default_values(checkpoint_dir: str | None) -> dict[str, Any]:
    """What a model takes where the user says nothing, by field name."""
    defaults = defaults_for(checkpoint_dir)
    return {name: getattr(defaults, name) for name in MODEL_FIELDS}


def default_texts(checkpoint_dir: str | None = None) -> dict[str, str]:
    """Every field's text for a model's defaults."""
    return texts_of(replace(_VALID, checkpoint_dir=checkpoint_dir, **default_values(checkpoint_dir)))
