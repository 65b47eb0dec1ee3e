"""How jobs of the queue look: one row each, of an exact width. Knows no list, no scrolling and no key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len

from flux_tui.cell_text import padded, shortened
from flux_tui.glyphs import Glyphs
from flux_tui.jobs import Job

Ink = Literal["", "muted", "running", "done", "failed"]
Part = tuple[str, Ink]

DETAILS_FROM = 64  # cells: a row this wide has room for size and seed beside the prompt
GAP = 2


@dataclass(frozen=True)
class Entry:
    """A job as the pane knows it.

    Attributes:
        where: "7/20" of the running one, "1" of the one that is next, "" of one that is over.
        held: whether it is the next one of a queue that is paused.
    """

    job: Job
    where: str
    held: bool = False

    @property
    def note(self) -> str:
        """What is said of the job beside its prompt."""
        return "cancelling" if self.job.state == "cancelling" else self.job.note

    @property
    def details(self) -> str:
        """Size and seed."""
        request = self.job.request
        return f"{f'{request.width}x{request.height}':<9}  seed {request.seed:<10}"


def row(entry: Entry, width: int, where_width: int, signs: Glyphs) -> list[Part]:
    """A job in one line: its state, its step or place, its prompt up to a whole word, and what there is room for.

    Args:
        width: of the line, in cells.
        where_width: what of it `entry.where` may take.
    """
    mark, ink = _mark(entry, signs)
    words: Ink = "muted" if entry.job.is_over else ""
    head = f"{entry.where:>{where_width}}{' ' * GAP}"
    room = width - len(mark) - 1 - len(head)
    details = " " * GAP + entry.details if width >= DETAILS_FROM and not entry.note else ""
    return [
        (f"{mark} ", ink),
        (head, "running" if ink == "running" else "muted"),
        *_words(entry, room - len(details), words, signs),
        (details, "muted"),
    ]


def _mark(entry: Entry, signs: Glyphs) -> Part:
    match entry.job.state:
        case "running" | "cancelling":
            return signs.running, "running"
        case "done":
            return signs.done, "done"
        case "failed":
            return signs.failed, "failed"
        case "cancelled":
            return signs.cancelled, "muted"
        case "waiting":
            return signs.paused if entry.held else " ", "muted"


def _words(entry: Entry, room: int, ink: Ink, signs: Glyphs) -> list[Part]:
    """The prompt, and what is said of it; where both cannot be whole, the prompt gives way down to a third."""
    prompt = entry.job.request.prompt
    if not entry.note:
        return [(padded(_cut(prompt, room, signs), room), ink)]
    wanted = cell_len(shortened(entry.note, room)) + GAP
    head = _cut(prompt, max(room - wanted, room // 3), signs)
    note = _cut(entry.note, room - cell_len(head) - GAP, signs)
    return [(head + " " * GAP, ink), (note, "failed" if entry.job.state == "failed" else "muted")]


def _cut(text: str, width: int, signs: Glyphs) -> str:
    words = shortened(text, width)
    return f"{words[:-1]}{signs.ellipsis}" if words.endswith("\N{HORIZONTAL ELLIPSIS}") else words
