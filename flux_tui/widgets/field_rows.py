"""The rows of the settings pane, one for each field: what stands in them, which has the focus, which are marked.

Knows fields and texts. What they mean to one another, a seed, a size or a model, is `settings_form`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widgets import Input, Select

from flux_engine.fields import Field
from flux_tui.glyphs import Glyphs
from flux_tui.settings import FORM_FIELDS, SIZE
from flux_tui.settings_past import SettingsPast
from flux_tui.widgets.field_row import FieldRow


class FieldRows(VerticalScroll, can_focus=False):
    """Abstract: a row for each of `FORM_FIELDS`, in a frame that scrolls. What a change means, a subclass says.

    Rows are mounted once the first screen is painted, which comes a third sooner without them: at 80x24 they are not on
    it. Until then they have texts, and nothing that could have the focus.

    Args:
        texts: what stands in every field at first, by its name.
        signs: the mark of a changed field.
    """

    BINDINGS: ClassVar = [
        Binding(
            "tab", "app.focus_next", "Next setting", show=False, id="next-setting", tooltip="Go to the next setting"
        ),
        Binding(
            "shift+tab",
            "app.focus_previous",
            "Setting before",
            show=False,
            id="previous-setting",
            tooltip="Go to the setting before",
        ),
        Binding(
            "escape",
            "screen.leave_editor",
            "Leave the settings",
            show=False,
            id="leave-settings",
            tooltip="Leave the settings, for keys that are single letters",
        ),
    ]

    DEFAULT_CSS = """
    FieldRows {
        border: round $foreground 25%;
        border-title-color: $text-muted;
        padding: 0 0 0 1;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        &:focus-within { border: round $accent; border-title-color: $text-accent; }
    }
    """

    @dataclass
    class Focused(Message):
        """A field has the focus; `field` says what it is for, `fault` what is now wrong with its value."""

        field: Field
        fault: str

    @dataclass
    class Changed(Message):
        """Some field has another value."""

    def __init__(self, texts: Mapping[str, str], signs: Glyphs, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "Settings"
        self.rows = {field.name: FieldRow(field, texts[field.name], signs) for field in FORM_FIELDS}
        self._last = SIZE.name
        self._is_complete = False  # whether rows are mounted
        self._is_focus_due = False  # once they are
        self._past = SettingsPast({name: texts[name] for name in self.rows if name != SIZE.name})

    def on_mount(self) -> None:
        self.call_after_refresh(self._mount_rows)

    async def _mount_rows(self) -> None:
        await self.mount_all(self.rows.values())
        self._is_complete = True
        self._completed()
        if self._is_focus_due:
            self.focus_field()

    def _completed(self) -> None:
        """What a subclass has to do with controls."""

    @property
    def texts(self) -> dict[str, str]:
        """What stands in every field, by its name; the size is that of width and height."""
        return {name: row.text for name, row in self.rows.items() if name != SIZE.name}

    @property
    def controls(self) -> list[Input | Select[str]]:
        """Of all rows, once they are mounted."""
        return [row.control for row in self.rows.values()] if self._is_complete else []

    def focus_field(self, name: str | None = None) -> None:
        """Focus a field, or the one that had the focus last, at first the topmost."""
        self._last = name or self._last
        self._is_focus_due = not self._is_complete
        if self._is_complete:
            self.rows[self._last].control.focus()

    def show(self, texts: Mapping[str, str]) -> None:
        """Put texts into fields, by their names, and tell nobody."""
        with self.prevent(Input.Changed, Select.Changed):
            for name, text in texts.items():
                self.rows[name].put(text)

    def say(self, faults: Mapping[str, str]) -> None:
        """Say below each field what is wrong with it, and nothing below those that `faults` does not name."""
        for name, row in self.rows.items():
            fault = faults.get(name, "")
            if fault != row.fault:
                row.say(fault)
                if row.has_focus_within:
                    self.post_message(self.Focused(row.field, fault))

    def mark(self, changed: Mapping[str, str]) -> None:
        """Mark the fields in which something else stands; those that `changed` does not name are left alone."""
        for name, text in changed.items():
            self.rows[name].mark(self.rows[name].text != text)

    def undo(self) -> bool:
        """Bring back the settings before the last change; False when there were none."""
        return self._restore(self._past.back())

    def redo(self) -> bool:
        """Take an `undo` back; False when there was none."""
        return self._restore(self._past.forth())

    def _restore(self, texts: Mapping[str, str] | None) -> bool:
        if texts is not None:
            self._fill(texts)
            self._changed()
        return texts is not None

    def _fill(self, texts: Mapping[str, str]) -> None:
        """Put texts into fields, by their names, and what hangs upon them."""
        raise NotImplementedError

    def _changed(self, doing: str = "") -> None:
        """Note in `_past` what the fields say now, and tell others."""
        raise NotImplementedError

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        name = str(event.widget.id)
        if name in self.rows:
            self._last = name
            self.post_message(self.Focused(self.rows[name].field, self.rows[name].fault))
