"""Faults of many weights in one line, for messages. Stdlib only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

NAMES_SHOWN = 3


def listed(faults: Mapping[str, Sequence[str]]) -> str:
    """How many there are of each kind, and the first few: "2 missing: a, b; 5 unused: c, d, e and 2 more"."""
    return "; ".join(f"{len(names)} {fault}: {_some(names)}" for fault, names in faults.items() if names)


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
