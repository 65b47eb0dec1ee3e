"""What can go wrong, as types. Stdlib only.

    FluxError                    everything this project raises on purpose
    ├── RequestError             a picture nobody could paint as asked: size, steps, seed, prompt
    ├── ConfigError              a config.json that is no network
    ├── TokenizerError           a vocabulary file that is missing or unreadable
    ├── CheckpointError          a checkpoint that cannot be used
    │   ├── CheckpointNotFound   the folder, or one of its parts, is not there
    │   ├── CheckpointCorrupt    it is there, but empty, truncated or not Orbax
    │   ├── UnsupportedVariant   a relative of FLUX.1 that cannot be run yet
    │   └── WeightsMismatch      its leaves are not the leaves that its config promises
    ├── NumericalError           a picture with values that are not numbers
    ├── ProcessError             processes that paint together and did not meet, or lost one of them
    └── OutputError              a picture that could not be written

Every message says what was got and what was expected; `hint` says the next move.
"""

from collections.abc import Mapping, Sequence


class FluxError(Exception):
    """Base of the tree. `str(error)` is one line for a person; `hint` is what to do next ("" if nothing)."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def unexpected(error: BaseException, details: str) -> tuple[str, str]:
    """What is said of a fault that nobody foresaw: what happened, in a line, and the next move; `details` ends it."""
    first_line = (str(error).strip().splitlines() or ["no message"])[0]
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in first_line:
        return "There is not enough memory for this picture.", f"Choose a smaller size or batch. {details}".strip()
    if isinstance(error, ImportError):
        return f"The engine could not be started: {first_line}.", f"Install the project again. {details}".strip()
    return f"Something unexpected went wrong: {type(error).__name__}: {first_line}.", details


class RequestError(FluxError, ValueError):
    """A generation request that contradicts itself or the model."""


class NotEnoughMemory(FluxError, MemoryError):
    """A picture that the device has no room for, refused before anything is read."""


class ConfigError(FluxError, ValueError):
    """A network configuration that is incomplete or impossible."""


class TokenizerError(FluxError):
    """A tokenizer's files are missing or unreadable."""


class CheckpointError(FluxError):
    """A checkpoint cannot be used."""


class CheckpointNotFound(CheckpointError, FileNotFoundError):
    """A checkpoint folder, or a part of one, does not exist."""

    def __str__(self) -> str:
        return str(self.args[0])


class CheckpointCorrupt(CheckpointError):
    """A checkpoint's files are there but cannot be read."""


class UnsupportedVariant(CheckpointError):
    """A checkpoint of a relative of FLUX.1 that cannot be run yet."""


class WeightsMismatch(CheckpointError):
    """A component's stored leaves differ from the leaves that its config asks for, or from other components.

    Or a LoRA does not fit the model, or is another file than the one that a picture was painted with.

    The message names the first few leaves of each kind; `faults` has all of them, by kind ("missing", "misshapen",
    "not floating-point", "unused").
    """

    def __init__(self, message: str, *, hint: str = "", faults: Mapping[str, Sequence[str]] | None = None) -> None:
        super().__init__(message, hint=hint)
        self.faults = dict(faults or {})


class NumericalError(FluxError, ArithmeticError):
    """Weights, settings or precision led to values that are not numbers."""


class ProcessError(FluxError):
    """Of several processes that paint together, one is missing, has gone, or could not do what the others did."""


class OutputError(FluxError, OSError):
    """A result could not be written."""

    def __str__(self) -> str:
        return str(self.args[0])
