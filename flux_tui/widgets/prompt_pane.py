"""The prompt pane: the prompt, below it a line when there is something to say, and the negative prompt when it counts.

Knows what stands in the two editors and how it is shown. What runs, and where the counts come from, is the screen's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Region
from textual.message import Message
from textual.widgets import Static, TextArea

from flux_tui.literal_weights import literal_weights
from flux_tui.off_thread import off_thread
from flux_tui.prompts import Entry, PromptHistory
from flux_tui.tokens import Counts, CountsUnavailable
from flux_tui.widgets.prompt_editor import MAX_CHARACTERS, PromptEditor
from flux_tui.widgets.prompt_keys import PANE_KEYS, PROMPT_SCREEN_KEYS

__all__ = ["PROMPT_SCREEN_KEYS", "PromptPane"]

BORDER_CELLS = 6  # on either side a corner, a piece of the edge, and a space
SHORT = 6  # lines inside, below which a hint gets one, and none beside an open negative prompt

NEGATIVE_LABELS = ("Negative prompt: two passes a step", "Negative: two passes a step", "Negative prompt")
FULL = f"The pane is full: it holds {MAX_CHARACTERS:,} characters, and FLUX reads far fewer."


class PromptPane(Vertical):
    """The two editors in one frame, with the token counter in its lower edge.

    Args:
        prompt, negative: what to start with.
        history: where Alt+Up and Alt+Down walk; without one they do nothing.
        dot: what parts two facts; "-" in a terminal of ASCII only.
    """

    BINDINGS: ClassVar = [*PANE_KEYS]

    DEFAULT_CSS = """
    PromptPane {
        border: round $foreground 25%;
        border-title-color: $text-muted;
        border-subtitle-color: $text-muted;
        background: $background;
        padding: 0 1;
        &:focus-within { border: round $accent; border-title-color: $text-accent; border-subtitle-color: $text-muted; }
        &.-over { border-subtitle-color: $text-warning; }
        &.-fault { border: round $error; }
        #prompt-editor { height: 2fr; min-height: 1; }
        #prompt-hint { height: auto; max-height: 2; color: $text-warning; display: none; }
        #negative-label { height: 1; color: $text-muted; text-wrap: nowrap; text-overflow: ellipsis; display: none; }
        #negative-editor { height: 1fr; min-height: 1; display: none; }
        &.-hint #prompt-hint { display: block; }
        &.-fault #prompt-hint { color: $text-error; }
        &.-negative #negative-label, &.-negative #negative-editor { display: block; }
        &.-short #prompt-hint { max-height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
        &.-short.-negative #prompt-hint { display: none; }
        &.-short.-negative.-fault #prompt-hint { display: block; }
    }
    """

    @dataclass
    class Edited(Message):
        """Something was typed, pasted, deleted or put back; `negative` is what stands there, folded away or not."""

        prompt: str
        negative: str

    def __init__(
        self,
        prompt: str = "",
        negative: str = "",
        *,
        history: PromptHistory | None = None,
        dot: str = "·",
        id: str | None = None,
    ) -> None:
        super().__init__(id=id)
        self.border_title = "Prompt"
        self._history = history
        self._dot = dot
        self._fault = ""
        self._counts: Counts | CountsUnavailable | None = None
        self.editor = PromptEditor(prompt, id="prompt-editor")
        self.negative_editor = PromptEditor(negative, id="negative-editor")
        self.editor.twin, self.negative_editor.twin = self.negative_editor, self.editor
        self._hint = Static(id="prompt-hint", markup=False)
        self._negative_label = Static(id="negative-label", markup=False)

    def compose(self) -> ComposeResult:
        yield self.editor
        yield self._hint
        yield self._negative_label
        yield self.negative_editor

    def on_mount(self) -> None:
        self._show_hint()

    # What stands in the pane

    @property
    def text(self) -> str:
        """The prompt."""
        return self.editor.text

    @property
    def negative(self) -> str:
        """The negative prompt, which is kept while it is folded away."""
        return self.negative_editor.text

    @property
    def editor_in_use(self) -> PromptEditor:
        """The one that has, or on a covered screen had, the focus; else the prompt's."""
        return self.negative_editor if self.screen.focused is self.negative_editor else self.editor

    def put_back(self, prompt: str, negative: str | None = None) -> None:
        """Replace the prompt, and the negative one if it is not None; one undo, in either, brings the old ones back."""
        if negative is None or negative == self.negative:
            self.editor.put_back(prompt)
        else:
            joint = object()
            self.editor.put_back(prompt, joint)
            self.negative_editor.put_back(negative, joint)
        self.say("")

    def insert(self, text: str) -> None:
        """Put text at the cursor of the editor in use, in place of what is selected."""
        editor = self.editor_in_use
        editor.replace(text, *editor.selection, maintain_selection_offset=False)

    def add_words(self, words: Sequence[str]) -> list[str]:
        """Put words behind the prompt, after commas, but for those that it has; which ones came in."""
        text = self.text.rstrip(" ,")
        missing = [word for word in words if word.casefold() not in text.casefold()]
        if missing:
            self.editor.put_back(", ".join([text, *missing] if text else missing))
        return missing

    def replace(self, text: str) -> None:
        """Replace the text of the editor in use; one undo brings the old one back."""
        self.editor_in_use.put_back(text)

    def focus_editor(self) -> None:
        """Go to the prompt."""
        self.editor.focus()

    # How it is shown

    def show_negative(self, is_shown: bool) -> None:
        """Unfold the negative prompt, for a true CFG above 1, or fold it away; the prompt then takes the focus over."""
        self.set_class(is_shown, "-negative")
        self._show_hint()

    def say(self, fault: str) -> None:
        """Mark the pane with what is wrong with the prompt, until it is edited; "" takes the mark away."""
        self._fault = fault
        self._show_hint()

    def count_shown(self, counts: Counts | CountsUnavailable | None) -> None:
        """Show the counter; None takes it away."""
        self._counts = counts
        self._show_counts()

    def on_resize(self) -> None:
        self.set_class(self.content_size.height < SHORT, "-short")
        self._show_counts()
        self._negative_label.update(_fitting(NEGATIVE_LABELS, self.content_size.width))

    @on(TextArea.Changed)
    def _tell(self, event: TextArea.Changed) -> None:
        event.stop()
        if self.text.strip():
            self._fault = ""
        self._show_hint()
        self.post_message(self.Edited(self.text, self.negative))

    def _show_hint(self) -> None:
        hint = self._fault or self._note()
        self.set_class(bool(self._fault), "-fault")
        self.set_class(bool(hint), "-hint")
        if hint != self._hint.content:  # else every letter would lay the whole screen out anew
            self._hint.update(hint)

    def _note(self) -> str:
        shown = [self.editor, self.negative_editor] if self.has_class("-negative") else [self.editor]
        if any(editor.is_full for editor in shown):
            return FULL
        return next(filter(None, (literal_weights(editor.text) for editor in shown)), "")

    def _show_counts(self) -> None:
        counts = self._counts
        self.set_class(isinstance(counts, Counts) and counts.is_cut, "-over")
        self.tooltip = Content(counts.reason) if isinstance(counts, CountsUnavailable) else None
        forms: Sequence[str] = ("",)
        if counts is not None:
            forms = counts.forms(self._dot) if isinstance(counts, Counts) else ("tokens not counted", "no count")
        # Set as a `border_subtitle`, it would have the whole pane painted again, 5 KB, at every letter.
        self._border_subtitle = self.render_str(_fitting(forms, self.outer_size.width - BORDER_CELLS))
        below = self.outer_size.height - 1 - self.content_offset.y
        self.refresh(Region(-self.content_offset.x, below, self.outer_size.width, 1))

    # The history

    async def action_older_prompt(self) -> None:
        """Bring back the prompt that was run before the one on show."""
        if self._history:
            await self._walk(self._history.older)

    async def action_newer_prompt(self) -> None:
        """Go on to the prompt that was run after it, the draft at last."""
        if self._history:
            await self._walk(self._history.newer)

    async def _walk(self, step: Callable[[str, str | None], Entry | None]) -> None:
        text, negative = self.text, self.negative or None
        try:
            entry = await off_thread(lambda: step(text, negative))
        except TimeoutError:
            self.notify("The prompt history cannot be read: the disk does not answer.", severity="warning")
            return
        if entry is not None:
            self.put_back(entry.prompt, entry.negative_prompt or "")


def _fitting(forms: Sequence[str], width: int) -> str:
    """The longest form that fits, or the shortest."""
    return next((form for form in forms if cell_len(form) <= width), forms[-1])
