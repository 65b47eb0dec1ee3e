"""The questions put to a terminal before the app starts, and what came back, told apart from what was typed.

Pure: bytes in, values out. The formats are xterm's control sequences (XTVERSION, size of a cell, device attributes) and
the query of kitty's graphics protocol.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NAME_QUESTION = b"\x1b[>q"
CELL_QUESTION = b"\x1b[16t"
# One pixel to look at and not to keep. Terminals that print what they do not know (Apple's) print this on the line the
# cursor is in, so that line is cleared.
PICTURE_QUESTION = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\r\x1b[K"
FENCE = b"\x1b[c"  # device attributes: everything that shows text answers, and answers in order

SIXEL = 4  # among the device attributes

_ANSWER = re.compile(
    rb"\x1bP>\|(?P<name>[^\x1b]*)\x1b\\"
    rb"|\x1b\[6;(?P<height>\d{1,5});(?P<width>\d{1,5})t"
    rb"|\x1b_G[^;\x1b]*;(?P<picture>[^\x1b]*)\x1b\\"
    rb"|\x1b\[\?(?P<attributes>[\d;]{0,200})c"
)
_BROKEN_OFF = re.compile(rb"\x1b(?:[P_][^\x1b]*\x1b?|\[\?[\d;]*|\[6;[\d;]*)\Z")

_NO_TEXT = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|O.|.)?", re.DOTALL)  # the last: Alt+D


@dataclass(frozen=True)
class Answers:
    """What a terminal answered.

    Attributes:
        name: to XTVERSION, "" if nothing; printable ASCII.
        cell_px: (width, height) of a cell, None if it did not say.
        kitty: whether it took the query picture.
        attributes: its device attributes without the first, which is its class; None as long as the fence is out.
        typed: what was no answer: keys.
    """

    name: str = ""
    cell_px: tuple[int, int] | None = None
    kitty: bool = False
    attributes: frozenset[int] | None = None
    typed: bytes = b""


def read_answers(heard: bytes) -> Answers:
    """Tell answers and keys apart. The beginning of an answer at the end is neither."""
    name, cell_px, kitty, attributes = "", None, False, None
    for answer in _ANSWER.finditer(heard):
        if answer["name"] is not None:
            name = re.sub(r"[^ -~]", "", answer["name"].decode("ascii", "replace"))[:80]
        elif answer["width"] is not None:
            cell_px = _cell(int(answer["width"]), int(answer["height"]))
        elif answer["picture"] is not None:
            kitty = answer["picture"] == b"OK"
        else:
            attributes = frozenset(int(number) for number in answer["attributes"].split(b";")[1:] if number)
    typed = _BROKEN_OFF.sub(b"", _ANSWER.sub(b"", heard))
    return Answers(name, cell_px, kitty, attributes, typed)


def text_in(typed: bytes) -> str:
    """The text among keys: Enter is a new line, Backspace takes back, arrows, function keys and the like are none."""
    kept: list[str] = []
    for sign in _NO_TEXT.sub("", typed.decode("utf-8", "ignore")).replace("\r\n", "\n").replace("\r", "\n"):
        if sign in "\b\x7f":
            kept[-1:] = []
        elif sign.isprintable() or sign in "\n\t":
            kept.append(sign)
    return "".join(kept)


def _cell(width: int, height: int) -> tuple[int, int] | None:
    return (width, height) if 0 < width < 1000 and 0 < height < 1000 else None
