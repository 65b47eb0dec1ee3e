"""The settings that gave way to others: back and forth, as an editor's undo and redo. Knows no widget and no field."""

from __future__ import annotations

from collections.abc import Mapping

Texts = Mapping[str, str]

MAX_STEPS = 200  # of 1 KB each


class SettingsPast:
    """What stood in the fields, step by step.

    Args:
        texts: what stands in them now, by their names.
    """

    def __init__(self, texts: Texts) -> None:
        self._now = texts
        self._doing = ""
        self._before: list[Texts] = []
        self._after: list[Texts] = []

    def note(self, texts: Texts, doing: str = "") -> None:
        """Note that other texts stand there now.

        Args:
            texts: all of them.
            doing: what changes them; as long as it stays the same it is one step. Without a name each is a step.
        """
        if texts == self._now:
            return
        if not doing or doing != self._doing:
            self._before = [*self._before, self._now][-MAX_STEPS:]
            self._after.clear()
        self._now, self._doing = texts, doing

    def follow(self, texts: Texts) -> None:
        """Take what the program itself has changed into the step of now, and into all others where that stood, too."""
        gone = {name: text for name, text in self._now.items() if texts.get(name) != text}
        for steps in (self._before, self._after):
            steps[:] = [
                {name: texts.get(name, text) if gone.get(name) == text else text for name, text in step.items()}
                for step in steps
            ]
        self._now, self._doing = texts, ""

    def back(self) -> Texts | None:
        """What stood there before the last step; None at the first."""
        return self._go(self._before, self._after)

    def forth(self) -> Texts | None:
        """What stood there before the last `back`; None when nothing was taken back."""
        return self._go(self._after, self._before)

    def _go(self, there: list[Texts], here: list[Texts]) -> Texts | None:
        if not there:
            return None
        here.append(self._now)
        self._now, self._doing = there.pop(), ""
        return self._now
