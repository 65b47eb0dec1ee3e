"""What every screen that lies over another has in common."""

from __future__ import annotations

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

T = TypeVar("T")


class Modal(ModalScreen[T]):
    """Closes once: a click or a key of the same burst that comes after would close the screen below."""

    def dismiss(self, result: T | None = None) -> AwaitComplete:
        """Close with a result, unless it is closed."""
        return super().dismiss(result) if self.is_active else AwaitComplete.nothing()  # type: ignore[no-untyped-call]
