"""One row of the settings: a field's label, its control, and a line that says what is wrong with the value.

Knows how a field looks; what it is called and accepts stands in `flux_engine.fields` and `flux_tui.settings`, and what
its value means to the other rows is the form's.
"""

from __future__ import annotations

from functools import partial

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widgets import Input, Label, Select, Static

from flux_engine.fields import Field
from flux_tui.glyphs import Glyphs
from flux_tui.widgets.lora_input import LoraInput

LABEL_WIDTH = 12


class FieldRow(Vertical):
    """A label, its control and, when its value is wrong, a line that says why.

    Args:
        field: what the row is for.
        text: what stands in it at first.
        signs: the mark of a changed field, and of a list that opens.
    """

    DEFAULT_CSS = """
    FieldRow {
        height: auto;
        Horizontal { height: 1; }
        Label { width: 12; color: $text-muted; }
        Input, Select { width: 1fr; }
        Input { background: $surface; }
        Input:focus, Select:focus > SelectCurrent { background: $accent 30%; background-tint: transparent; }
        SelectCurrent { background: $surface; }
        &:focus-within Label { color: $foreground; }
        &.-changed Label { color: $text-accent; }
        .fault { display: none; width: 1fr; padding: 0 0 0 2; }
        &.-fault .fault { display: block; }
        &.-fault Label { color: $text-error; }
    }
    """

    def __init__(self, field: Field, text: str, signs: Glyphs) -> None:
        super().__init__()
        self.field = field
        self._text = text
        self._signs = signs
        self._label = Label(field.label)
        self._fault = Label("", classes="fault", markup=False)
        self._control: Input | Select[str] | None = None  # until the row is mounted

    def compose(self) -> ComposeResult:
        self._control = _control(self.field, self._text, self._signs)
        with Horizontal():
            yield self._label
            yield self._control
        yield self._fault

    def on_mount(self) -> None:
        for arrow, sign in ((".down-arrow", self._signs.unfold), (".up-arrow", self._signs.fold)):
            for shown in self.query(arrow).results(Static):
                shown.update(sign)

    @property
    def control(self) -> Input | Select[str]:
        """What the value is typed into, or chosen from; only of a row that is mounted."""
        assert self._control is not None
        return self._control

    @property
    def text(self) -> str:
        """What stands in the control."""
        return self._text if self._control is None else str(self._control.value or "")

    def put(self, text: str) -> None:
        """Have this stand in the control."""
        if self._control is None:
            self._text = text
        else:
            self._control.value = text

    @property
    def fault(self) -> str:
        """What is wrong with the value; "" if nothing is."""
        return str(self._fault.content)

    def say(self, fault: str) -> None:
        """Show what is wrong; "" clears it."""
        self.set_class(bool(fault), "-fault")
        self._fault.update(fault)

    def mark(self, changed: bool) -> None:
        """Show whether the value is another one than the last picture's."""
        if changed != self.has_class("-changed"):
            self.set_class(changed, "-changed")
            mark = f"{self.field.label:<{LABEL_WIDTH - 2}}{self._signs.changed}"
            self._label.update(mark if changed else self.field.label)


def _control(field: Field, text: str, signs: Glyphs) -> Input | Select[str]:
    if field.choices:
        return Select(field.choices, value=text, allow_blank=False, compact=True, id=field.name, tooltip=field.help)
    kind = partial(LoraInput, ellipsis=signs.ellipsis) if field.kind == "loras" else Input
    control = kind(text, compact=True, id=field.name, placeholder=field.blank or "", tooltip=field.help)
    control.cursor_blink = False  # a blinking cursor sends bytes for ever
    return control
