"""One line above the footer: on the left what the next key does or what happened, on the right where things stand.

It repaints when it is told to and never by itself, so at rest it sends nothing.
"""

from __future__ import annotations

from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

GAP = "  "


class StatusLine(Widget):
    """The line above the footer."""

    DEFAULT_CSS = """
    StatusLine { height: 1; width: 1fr; padding: 0 1; text-wrap: nowrap; text-overflow: ellipsis; }
    """

    content: reactive[Content] = reactive(Content(""))
    facts: reactive[tuple[str, ...]] = reactive(())

    def say(self, text: str, style: str = "$text-muted") -> None:
        """Show words on the left."""
        self.content = Content.styled(text, style)

    def tell(self, *facts: str) -> None:
        """Show facts on the right, the most important first; those that find no room are left out."""
        self.facts = tuple(fact for fact in facts if fact)

    def render(self) -> Content:
        return status_content(self.content, self.facts, self.size.width)


def status_content(words: Content, facts: tuple[str, ...], width: int) -> Content:
    """Words on the left and on the right as many of the facts as fit beside them in `width` cells."""
    shown: list[str] = []
    room = width - words.cell_length - 2
    for fact in facts:
        if len(GAP.join([*shown, fact])) > room:
            break
        shown.append(fact)
    tail = GAP.join(shown)
    gap = max(width - words.cell_length - len(tail), 0)
    return words + Content(" " * gap) + Content.styled(tail, "$text-muted")
