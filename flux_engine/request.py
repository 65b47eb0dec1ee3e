"""What goes into the engine and what comes out: plain values, stdlib only.

This is the whole vocabulary between a screen and the engine. It knows no array and no widget.
A request is checked at birth, so an engine never meets an impossible one; events come out in the order

    StageStarted("loading")* StageStarted("encoding") StageStarted("loading")* StageStarted("denoising") StepDone*
    StageStarted("decoding")+ PicturesReady

A stage that has nothing to do (a model already loaded) is not announced; pictures are decoded one after another. Within
"loading", `LoadingProgress` tells how far a network is. Faults are raised as `FluxError`.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Integral, Real
from typing import Literal, Protocol, get_args

from flux_engine.errors import RequestError

Integrator = Literal["euler", "heun", "ddim", "dpmpp_2s"]
Timer = Literal["auto", "dynamic", "linear"]
Noise = Literal["jax", "torch"]
DType = Literal["auto", "float32", "bfloat16"]
WeightKind = Literal["full", "int8", "fp8", "int4", "int8_fast", "fp8_fast"]
Stage = Literal["loading", "encoding", "denoising", "decoding", "saving"]

SIZE_STEP_PX = 16
MAX_SIZE_PX = 8192
MAX_STEPS = 1000
MAX_BATCH = 64
MAX_SEED = 2**32 - 1
MAX_LORA_STRENGTH = 10

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # C0 and C1, but for tab and ends of lines


@dataclass(frozen=True, kw_only=True)
class RequestDefaults:
    """What a request takes where the user says nothing; each model has its own."""

    width: int
    height: int
    num_steps: int
    guidance_scale: float


FLUX_DEFAULTS = RequestDefaults(width=1024, height=1024, num_steps=30, guidance_scale=4.0)
DEMO_DEFAULTS = RequestDefaults(width=128, height=128, num_steps=20, guidance_scale=4.0)


def defaults_for(checkpoint_dir: str | None) -> RequestDefaults:
    """The defaults of the model in `checkpoint_dir`; None is the demo model that ships with the package."""
    return DEMO_DEFAULTS if checkpoint_dir is None else FLUX_DEFAULTS


@dataclass(frozen=True, kw_only=True)
class LoraUse:
    """A LoRA for a picture.

    Args:
        file: where it lies.
        strength: how much of it is added, -10 to 10; 1 is as it was trained, 0 nothing.
        sha256: of the file, in lower-case hex; "" for whatever is there. A file that has another one is refused.

    Raises:
        RequestError: any value is out of range.
    """

    file: str
    strength: float = 1.0
    sha256: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.file, str) or not self.file:
            raise RequestError(f"A LoRA's file is {self.file!r}; expected a path.")
        if not is_number(self.strength) or abs(self.strength) > MAX_LORA_STRENGTH:
            raise RequestError(
                f"The strength of {self.file} is {self.strength!r}; expected a number from -{MAX_LORA_STRENGTH} to"
                f" {MAX_LORA_STRENGTH}."
            )
        object.__setattr__(self, "strength", float(self.strength))
        if not isinstance(self.sha256, str) or not re.fullmatch("([0-9a-f]{64})?", self.sha256):
            raise RequestError(
                f"The hash of {self.file} is {self.sha256!r}; expected 64 hexadecimal digits in lower case."
            )


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """Everything that decides a picture.

    Args:
        prompt: what to paint; not blank, and without control characters but for tabs and ends of lines.
        negative_prompt: what to stay away from; has an effect only with `true_cfg_scale > 1`.
        width, height: pixels, multiples of 16.
        num_steps: steps of the integrator, 1 to 1000.
        guidance_scale: the embedded (distilled) guidance; FLUX.1-schnell ignores it.
        true_cfg_scale: real classifier-free guidance; 1 is off, above 1 costs two passes a step.
        seed: 0 to 2**32 - 1.
        batch_size: pictures painted together, 1 to 64.
        integrator: see `flux_engine.sampling.integrators`.
        timer: the schedule of noise levels. "auto": as the model was trained; "dynamic": shifted by size, as
            FLUX.1-dev's; "linear": not shifted, as FLUX.1-schnell's.
        sigma_shift: a fixed Möbius shift in place of the timer's own; None for none.
        noise: "jax", or "torch" for the numbers PyTorch's CPU generator draws from the same seed.
        dtype: what the networks compute in; "auto" takes the faster one of this device.
        weights: "full" as `dtype` is; else the bits that the kernels of the transformer and of T5 (8 at least) are kept
            in; those that are "_fast" have the inputs of a product rounded to 8 bits as well. See
            `flux_engine.models.quantised`.
        step_cache: the error budget, at least 0, within which steps reuse most of the transformer's work of the last
            step that was computed in full; 0 is off. See `flux_engine.models.step_cache`.
        checkpoint_dir: a folder or file in any layout that `flux_engine.weights.sources` knows; None is the demo model.
        loras: applied all together.
        lora_fuse: add them to the weights themselves, which takes no memory and no time in a step, but a reading of
            the model for every change of a strength; else they are computed beside the weights.
        lora_lenient: warn of what a LoRA has and the model has not, instead of refusing it.

    Raises:
        RequestError: any value is out of range.
    """

    prompt: str
    negative_prompt: str | None = None
    width: int = DEMO_DEFAULTS.width
    height: int = DEMO_DEFAULTS.height
    num_steps: int = DEMO_DEFAULTS.num_steps
    guidance_scale: float = DEMO_DEFAULTS.guidance_scale
    true_cfg_scale: float = 1.0
    seed: int = 0
    batch_size: int = 1
    integrator: Integrator = "euler"
    timer: Timer = "auto"
    sigma_shift: float | None = None
    noise: Noise = "jax"
    dtype: DType = "auto"
    weights: WeightKind = "full"
    step_cache: float = 0.0
    checkpoint_dir: str | None = None
    loras: tuple[LoraUse, ...] = ()
    lora_fuse: bool = False
    lora_lenient: bool = False

    def __post_init__(self) -> None:
        check_prompts(self.prompt, self.negative_prompt)
        if not self.prompt.strip():
            raise RequestError("The prompt is empty.", hint="Say in a few words what to paint.")
        for name in ("width", "height"):
            _check_size(name, getattr(self, name))
        check_sampling(self.num_steps, self.seed, self.batch_size, self.sigma_shift)
        check_guidance(self.guidance_scale, self.true_cfg_scale)
        check_choice("integrator", self.integrator, get_args(Integrator))
        check_timer(self.timer, self.sigma_shift)
        check_shift(self.num_steps, self.sigma_shift)
        check_choice("noise", self.noise, get_args(Noise))
        check_choice("dtype", self.dtype, get_args(DType))
        check_choice("weights", self.weights, get_args(WeightKind))
        check_step_cache(self.step_cache)
        check_checkpoint_dir(self.checkpoint_dir)
        object.__setattr__(self, "loras", _loras(self.loras))
        for name in ("lora_fuse", "lora_lenient"):
            if not isinstance(getattr(self, name), bool):
                raise RequestError(f"{name} is {getattr(self, name)!r}; expected true or false.")
        for kind, names in (
            (int, ("width", "height", "num_steps", "seed", "batch_size")),
            (float, ("guidance_scale", "true_cfg_scale", "sigma_shift", "step_cache")),
        ):
            for name in names:  # NumPy's numbers become Python's: a request is written as JSON
                if (value := getattr(self, name)) is not None:
                    object.__setattr__(self, name, kind(value))


def _loras(given: object) -> tuple[LoraUse, ...]:
    """The LoRAs, each of another file; what JSON has made of them is made a LoraUse again."""
    try:
        loras = tuple(LoraUse(**lora) if isinstance(lora, dict) else lora for lora in given)  # type: ignore[attr-defined]
    except TypeError:
        loras = (None,)
    if not all(isinstance(lora, LoraUse) for lora in loras):
        raise RequestError(f"loras is {given!r}; expected a tuple of LoraUse.")
    files = [lora.file for lora in loras]
    if len(set(files)) < len(files):
        raise RequestError(f"loras is {given!r}; expected each file once.", hint="Add the strengths up.")
    return loras


def check_prompts(prompt: str, negative_prompt: str | None) -> None:
    """Refuse what is no text, and control characters: who shows or reads a picture's record takes them out."""
    for name, text in (("prompt", prompt), ("negative prompt", "" if negative_prompt is None else negative_prompt)):
        if not isinstance(text, str):
            raise RequestError(f"The {name} is {text!r}; expected text.")
        if not _is_utf8(text):
            raise RequestError(f"The {name} is not UTF-8: {text!r}.", hint="Set a UTF-8 locale, or type it anew.")
        if found := _CONTROL.search(text):
            raise RequestError(
                f"The {name} has the control character {found[0]!r} at character {found.start() + 1}; expected text.",
                hint="Take it out, or put a space in its place.",
            )


def check_sampling(num_steps: int, seed: int, batch_size: int, sigma_shift: float | None) -> None:
    """Refuse what no schedule and no noise can be made of."""
    _check_int("num_steps", num_steps, 1, MAX_STEPS)
    _check_int("seed", seed, 0, MAX_SEED)
    _check_int("batch_size", batch_size, 1, MAX_BATCH)
    if sigma_shift is not None and not (is_number(sigma_shift) and sigma_shift > 0):
        raise RequestError(f"sigma_shift is {sigma_shift!r}; expected a number above 0.", hint="Leave it out.")


def check_shift(num_steps: int, sigma_shift: float | None) -> None:
    """Refuse a shift whose schedule `flux_engine.sampling.timers` would refuse, when all weights have been read."""
    if sigma_shift is not None and not _sigmas_fall(num_steps, float(sigma_shift)):
        raise RequestError(
            f"sigma_shift is {sigma_shift!r}; expected one whose sigmas float32 tells apart in {num_steps} steps.",
            hint="Take fewer steps or a shift nearer 1.",
        )


def _sigmas_fall(num_steps: int, shift: float) -> bool:
    even = [1 - step / num_steps for step in range(num_steps + 1)]
    sigmas = array("f", [shift * sigma / (shift * sigma + (1 - sigma)) for sigma in even])
    return all(later < sigma for sigma, later in pairwise(sigmas))


def check_guidance(guidance_scale: float, true_cfg_scale: float) -> None:
    """Refuse scales that guide nowhere."""
    _check_number("guidance_scale", guidance_scale, 0.0)
    _check_number("true_cfg_scale", true_cfg_scale, 1.0)


def check_step_cache(step_cache: float) -> None:
    """Refuse a budget that is none."""
    _check_number("step_cache", step_cache, 0.0)


def check_timer(timer: str, sigma_shift: float | None) -> None:
    """Refuse a schedule that is shifted in two ways."""
    check_choice("timer", timer, get_args(Timer))
    if timer != "auto" and sigma_shift is not None:
        raise RequestError(
            f"timer is {timer!r} and sigma_shift is {sigma_shift!r}; expected one of them.",
            hint='Leave the shift out, or take the timer "auto".',
        )


def check_checkpoint_dir(checkpoint_dir: str | None) -> None:
    """Refuse what is no path; whether something lies there is seen when it is opened."""
    if checkpoint_dir is not None and not (
        isinstance(checkpoint_dir, str) and _is_utf8(checkpoint_dir) and "\0" not in checkpoint_dir
    ):
        raise RequestError(
            f"checkpoint_dir is {checkpoint_dir!r}; expected a path in UTF-8.", hint="Name a folder or a file."
        )


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse what is not among `choices`."""
    if value not in choices:
        raise RequestError(f"{name} is {value!r}; expected one of {', '.join(choices)}.")


def _is_utf8(text: str) -> bool:
    """Python reads bytes that are not as lone surrogates."""
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def _check_int(name: str, value: int, low: int, high: int) -> None:
    if not is_whole(value) or not low <= value <= high:
        raise RequestError(f"{name} is {value!r}; expected a whole number from {low} to {high}.")


def _check_size(name: str, value: int) -> None:
    _check_int(name, value, SIZE_STEP_PX, MAX_SIZE_PX)
    if value % SIZE_STEP_PX:
        low = value - value % SIZE_STEP_PX
        raise RequestError(
            f"{name} is {value} pixels; expected a multiple of {SIZE_STEP_PX}.",
            hint=f"Nearest: {low or SIZE_STEP_PX} or {low + SIZE_STEP_PX}.",
        )


def _check_number(name: str, value: float, low: float) -> None:
    if not is_number(value) or value < low:
        raise RequestError(f"{name} is {value!r}; expected a number of at least {low:g}.")


def is_whole(value: object) -> bool:
    """Whether it is an integer, Python's or NumPy's; True and False are none."""
    return not isinstance(value, bool) and isinstance(value, Integral)


def is_number(value: object) -> bool:
    """Whether it is a finite number, Python's or NumPy's; True and False are none."""
    try:
        return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(float(value))
    except OverflowError:  # Python's whole numbers go beyond every float
        return False


@dataclass(frozen=True)
class RGBImage:
    """A picture as plain bytes: `data` holds height x width x 3 uint8 values, rows from the top."""

    width: int
    height: int
    data: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.data) != self.width * self.height * 3:
            raise ValueError(f"got {len(self.data)} bytes; expected {self.width} x {self.height} x 3")


@dataclass(frozen=True)
class StageStarted:
    """The engine began a stage; `detail` is a word for a person ("transformer", "prompt cut by 12 tokens")."""

    stage: Stage
    detail: str = ""


@dataclass(frozen=True)
class LoadingProgress:
    """Part of a network's weights is read: `fraction` is above 0 to 1; `network` is a word for a person."""

    network: str
    fraction: float


@dataclass(frozen=True)
class StepDone:
    """One step of the integrator is done.

    Attributes:
        step: 1 to num_steps.
        sigma: the noise level now reached, 1 (noise) to 0 (clean).
        preview: the current estimate of the first clean picture, an eighth of its size, or None.
        reused: passes of the transformer so far that took most of their work from an earlier one; see `step_cache`.
    """

    step: int
    num_steps: int
    sigma: float
    preview: RGBImage | None = None
    reused: int = 0


@dataclass(frozen=True)
class PicturesReady:
    """The pictures of a request, first to last in the batch, and the seconds each stage took."""

    request: GenerationRequest
    images: tuple[RGBImage, ...]
    seconds: Mapping[str, float]
    model_name: str
    warnings: tuple[str, ...] = ()


Event = StageStarted | LoadingProgress | StepDone | PicturesReady


@dataclass(frozen=True)
class EngineStatus:
    """Where the engine computes.

    Attributes:
        device: for a person: "cpu", "NVIDIA H100 80GB HBM3".
        model_name: of the model in memory; "" if none is.
        bytes_in_use, bytes_limit: of the device's memory; None where the device does not tell (a CPU).
    """

    device: str
    model_name: str = ""
    bytes_in_use: int | None = None
    bytes_limit: int | None = None


Watch = Callable[[LoadingProgress], None]
"""Told how far the reading of weights is, while the engine cannot yield; what it raises ends the reading."""


class EngineLike(Protocol):
    """What paints. Closing the iterator between events cancels; within "loading", `watch` does, by raising.

    `warm` compiles ahead what such a request will run; it yields words between two programs, and can be closed there.
    """

    def generate(self, request: GenerationRequest, watch: Watch = ...) -> Iterator[Event]: ...

    def warm(self, request: GenerationRequest) -> Generator[str, None, None]: ...

    def status(self) -> EngineStatus: ...
