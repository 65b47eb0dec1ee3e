"""Signs in a prompt that mean something to other tools and nothing to FLUX, which reads them as they stand.

Knows the notations of AUTOMATIC1111's web UI and its kin; parentheses, and words in quotation marks, which FLUX may be
asked to write, are no such signs.
"""

from __future__ import annotations

import re

from flux_tui.cell_text import shortened

MAX_SHOWN = 24  # cells; the hint has two lines of 32 in the narrowest pane

_NOTATION = re.compile(
    r"""
      "[^"\n]*" | “[^”\n]*”                                  # quoted: not looked into
    | (?P<lora> < (?:lora|lyco|hypernet) : [^<>\n]{1,200} > )
    | (?P<weight>
        (?<!\\) \( [^():]{0,200} [^():\s\d] : \s{0,4} [-+]? \d{0,3} \.? \d{1,9} \s{0,4} \)  # (16:9) is a shape
      | (?<!\\) \(\( [^()]{1,200} \)\)
      | (?<!\\) \[ [^\[\]]{1,200} \]
      )
    | (?P<break> (?<![^\s,]) BREAK (?![^\s,.]) )
    """,
    re.VERBOSE,
)

_ADVICE = {
    "lora": "a prompt loads nothing.",
    "weight": "say it in words.",
    "break": "it reads the prompt as one.",
}


def literal_weights(prompt: str) -> str | None:
    """A hint that names the first notation of another tool in the prompt; None when there is none."""
    for found in _NOTATION.finditer(prompt):
        if found.lastgroup:
            return f"FLUX reads {shortened(found[0], MAX_SHOWN)} literally; {_ADVICE[found.lastgroup]}"
    return None
