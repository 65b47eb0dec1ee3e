"""LoRAs as people write them: `FILE[:STRENGTH]`, and several of them in one line with "; " between.

What follows the last colon is a strength only where it is a number: a path may hold colons. Knows no folder; where a
file is looked for, and whether one lies there, others say. stdlib only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from flux_engine.errors import RequestError
from flux_engine.request import MAX_LORA_STRENGTH, LoraUse

SUFFIX = ".safetensors"

_STRENGTH = re.compile(r"(.*):\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)", re.DOTALL | re.IGNORECASE)
_BETWEEN = re.compile(r";\s+|;$")  # "a;b" is one name


def parse_lora(text: str) -> LoraUse:
    """The LoRA that `FILE[:STRENGTH]` means; without a number, its strength is 1.

    Raises:
        RequestError: it names no file, or a strength that none has; the message starts with "Needs".
    """
    parted = _STRENGTH.fullmatch(text.strip())
    file, strength = (parted[1].strip(), float(parted[2])) if parted else (text.strip(), 1.0)
    if not file:
        raise RequestError("Needs a file before the strength.")
    try:
        return LoraUse(file=file, strength=strength)
    except RequestError:
        raise RequestError(f"Needs a strength from -{MAX_LORA_STRENGTH} to {MAX_LORA_STRENGTH} for {file}.") from None


def parse_loras(text: str) -> tuple[LoraUse, ...]:
    """The LoRAs of a line, each of another file; none in an empty one.

    Raises:
        RequestError: as `parse_lora`, or a file stands there twice.
    """
    loras = tuple(parse_lora(part) for part in _BETWEEN.split(text.strip()) if part.strip())
    names = [lora.file.removesuffix(SUFFIX) for lora in loras]
    if len(set(names)) < len(names):
        raise RequestError("Needs each file once.")
    return loras


def lora_text(lora: LoraUse) -> str:
    """What `parse_lora` makes the same use of again, but for the hash, which has no place there."""
    strength = repr(lora.strength).removesuffix(".0")
    is_plain = lora.strength == 1 and not _STRENGTH.fullmatch(lora.file)
    return lora.file if is_plain else f"{lora.file}:{strength}"


def loras_text(loras: Sequence[LoraUse]) -> str:
    """LoRAs in one line."""
    return "; ".join(map(lora_text, loras))


def tuned(lora: LoraUse, by: float) -> LoraUse:
    """The LoRA with another strength, in the hundredths that people read, and within the bounds."""
    strength = round(lora.strength + by, 2) + 0.0  # not -0
    return replace(lora, strength=min(max(strength, -MAX_LORA_STRENGTH), MAX_LORA_STRENGTH))
