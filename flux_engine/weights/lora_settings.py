"""Factors of LoRAs that stand in a file's settings and not among its tensors: PEFT's, as diffusers keeps them.

Knows PEFT's words (`LoraConfig`, `LoHaConfig`, `LoKrConfig`) and no tensor. Settings were written by strangers: what is
no number is an error, and nothing in them is run as an expression.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flux_engine.configs import Component
from flux_engine.errors import CheckpointCorrupt
from flux_engine.request import is_number
from flux_engine.weights.lora_metadata import parsed, printable

_ADAPTER = "lora_adapter_metadata"
_NUMBERS, _PATTERNS = ("lora_alpha", "alpha", "r"), ("alpha_pattern", "rank_pattern")
_PREFIXES: dict[Component, str] = {
    "transformer": "transformer.",
    "clip_text": "text_encoder.",
    "t5_text": "text_encoder_2.",
}


@dataclass(frozen=True)
class Factors:
    """What products of a module are multiplied by, where no tensor says it; 1 where nothing does.

    Attributes:
        lora: of down @ up, from its rank: alpha / rank, or alpha / sqrt(rank).
        lycoris: of LoHa and LoKr: alpha / r, also where LoKr's factors are whole and have no rank.
    """

    lora: Callable[[int], float]
    lycoris: Callable[[], float]


class AdapterSettings:
    """What PEFT's settings, as diffusers keeps them in a file, say of factors.

    Args:
        metadata: of the file.
        file: for messages.

    Raises:
        CheckpointCorrupt: they are there and are no settings.
    """

    def __init__(self, metadata: Mapping[str, str], file: Path) -> None:
        self._settings = parsed(metadata[_ADAPTER]) if metadata.get(_ADAPTER) else {}
        if not isinstance(self._settings, dict):
            raise _no_settings(file, "they are no JSON object")
        for name, value in self._settings.items():
            if not _is_right(name.rpartition(".")[2], value):
                raise _no_settings(file, f"{printable(name)} is {printable(repr(value))}; expected numbers")

    def of(self, component: Component, module: str) -> Factors:
        """Those of a module, as the file calls it, without a network before its name."""
        return Factors(partial(self._lora, component, module), partial(self._lycoris, component, module))

    def _lora(self, component: Component, module: str, rank: int) -> float:
        alpha = self._number(component, module, "lora_alpha", "alpha_pattern")
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self._setting(component, "use_rslora") else rank)

    def _lycoris(self, component: Component, module: str) -> float:
        alpha = self._number(component, module, "alpha", "alpha_pattern")
        rank = self._number(component, module, "r", "rank_pattern")
        return alpha / rank if alpha is not None and rank else 1.0

    def _number(self, component: Component, module: str, setting: str, by_module: str) -> float | None:
        """A setting for a module.

        PEFT takes the names in a pattern for regular expressions that match an end of a module's name. Here they are
        taken as they are, but for their anchors and backslashes: a stranger's expression may never end.
        """
        for pattern, value in (self._setting(component, by_module) or {}).items():
            name = pattern.replace("\\", "").removeprefix("^").removesuffix("$")
            if module == name or module.endswith(f".{name}"):
                return float(value)
        value = self._setting(component, setting)
        return None if value is None else float(value)

    def _setting(self, component: Component, name: str) -> Any:
        return self._settings.get(_PREFIXES.get(component, "") + name, self._settings.get(name))


def _is_right(setting: str, value: Any) -> bool:
    if value is None or setting not in (*_NUMBERS, *_PATTERNS):
        return True
    if setting in _NUMBERS:
        return is_number(value)
    return isinstance(value, dict) and all(map(is_number, value.values()))


def _no_settings(file: Path, what: str) -> CheckpointCorrupt:
    return CheckpointCorrupt(
        f"The settings in {file} ({_ADAPTER}) cannot be read: {what}.", hint="Save or download it again."
    )
