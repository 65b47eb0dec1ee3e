"""The settings: one aligned row for each field, what is wrong with a value in the line below it.

What a field is called and accepts stands in `flux_tui.settings`; this file is its look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Input, Label, Select

from flux_engine.errors import RequestError
from flux_engine.fields import FIELDS, Field, default_texts, parse, parse_all, texts_of
from flux_engine.request import GenerationRequest
from flux_engine.series import SeedUse, next_seed, random_seed, series
from flux_tui.settings import COUNT, CUSTOM, FIXED, FORM_FIELDS, RANDOM, SEED_USE, SIZE, parse_count, size_presets

ASPECTS = ((1, 1), (3, 2), (2, 3), (16, 9), (9, 16))


class FieldRow(Vertical):
    """A label, its control and, when its value is wrong, a line that says why."""

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
        .fault { display: none; width: 1fr; padding: 0 0 0 2; }
        &.-fault .fault { display: block; }
        &.-fault Label { color: $text-error; }
    }
    """

    control: Input | Select[str]

    def __init__(self, field: Field, text: str = "") -> None:
        super().__init__()
        self.field = field
        self._text = text
        self._fault = Label("", classes="fault", markup=False)

    def compose(self) -> ComposeResult:
        self.control = _control(self.field, self._text)  # not in __init__: an Input wants a running app
        with Horizontal():
            yield Label(self.field.label)
            yield self.control
        yield self._fault

    @property
    def fault(self) -> str:
        """What is wrong with the value; "" if nothing is."""
        return str(self._fault.content)

    def say(self, fault: str) -> None:
        """Show what is wrong; "" clears it."""
        self.set_class(bool(fault), "-fault")
        self._fault.update(fault)


class SettingsForm(VerticalScroll, can_focus=False):
    """The settings pane."""

    DEFAULT_CSS = """
    SettingsForm {
        border: round $foreground 25%;
        border-title-color: $text-muted;
        padding: 0 1;
        scrollbar-size-vertical: 1;
        &:focus-within { border: round $accent; border-title-color: $text-accent; }
    }
    """

    @dataclass
    class Focused(Message):
        """A field has the focus; `field` says what it is for, `fault` what is now wrong with its value."""

        field: Field
        fault: str

    def __init__(self, checkpoint_dir: str | None = None, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "Settings"
        self._model: str | None = checkpoint_dir  # the model whose presets and defaults are on show
        self._last = "size"
        texts = default_texts(checkpoint_dir)
        texts |= {SIZE.name: CUSTOM, SEED_USE.name: RANDOM, COUNT.name: "1"}
        self.rows = {field.name: FieldRow(field, texts[field.name]) for field in FORM_FIELDS}

    def compose(self) -> ComposeResult:
        yield from self.rows.values()

    def on_mount(self) -> None:
        self._show_presets()

    @property
    def texts(self) -> dict[str, str]:
        """What stands in every field, by its name."""
        return {field.name: str(self.rows[field.name].control.value or "") for field in FIELDS}

    def requests(self, prompt: str) -> list[GenerationRequest]:
        """What the form asks for with this prompt; empty when a field is wrong, which is then marked and focused.

        A random seed is drawn here and shown in its field.

        Raises:
            RequestError: the values contradict each other.
        """
        if self.seed_use == RANDOM:
            self._put("seed", str(random_seed()))
        values, faults = parse_all(self.texts)
        count = 1
        try:
            count = parse_count(str(self.rows[COUNT.name].control.value))
        except RequestError as error:
            faults[COUNT.name] = str(error)
        for name, row in self.rows.items():
            row.say(faults.get(name, ""))
        if faults:
            self.rows[next(name for name in self.rows if name in faults)].control.focus()
            return []
        asked = series(GenerationRequest(prompt=prompt, **values), count, self.seed_use)
        if self.seed_use == RANDOM:
            self._put("seed", str(asked[-1].seed))
        else:
            self._put("seed", str(next_seed(values["seed"], count, self.seed_use)))
        return asked

    @property
    def seed_use(self) -> SeedUse:
        """What becomes of the seed from one picture to the next."""
        return cast(SeedUse, self.rows[SEED_USE.name].control.value)

    def focus_field(self) -> None:
        """Focus the field that had the focus last, or the first one."""
        self.rows[self._last].control.focus()

    def put_back(self, request: GenerationRequest) -> None:
        """Show a request's settings; its seed stays fixed."""
        for name, text in texts_of(request).items():
            self._put(name, text)
            self.rows[name].say("")
        self._put(SEED_USE.name, FIXED)
        self._model = request.checkpoint_dir
        self._show_presets()

    def _put(self, name: str, text: str) -> None:
        control = self.rows[name].control
        with self.prevent(Input.Changed, Select.Changed):
            control.value = text

    @on(Input.Changed)
    def _check(self, event: Input.Changed) -> None:
        name = str(event.input.id)
        row = self.rows[name]
        fault = ""
        try:
            parse_count(event.value) if name == COUNT.name else parse(name, event.value)
        except RequestError as error:
            fault = str(error)
        if fault != row.fault:
            row.say(fault)
            if event.input.has_focus:
                self.post_message(self.Focused(row.field, fault))
        if name == "seed" and event.input.has_focus and self.seed_use == RANDOM:  # one who types a seed wants that one
            self._put(SEED_USE.name, FIXED)
        if name in ("width", "height"):
            self._show_presets()
        if name == "checkpoint_dir":
            self._follow_model()

    @on(Select.Changed, "#size")
    def _take_preset(self, event: Select.Changed) -> None:
        if event.value == CUSTOM:
            return
        for name, text in zip(("width", "height"), str(event.value).split("x"), strict=True):
            self._put(name, text)
            self.rows[name].say("")
        self._show_presets()

    def _follow_model(self) -> None:
        """Take another model's defaults where the old one's still stand."""
        model = parse("checkpoint_dir", self.texts["checkpoint_dir"])
        if (model is None) == (self._model is None):
            self._model = model
            return
        old, new = default_texts(self._model), default_texts(model)
        for name in ("width", "height", "num_steps", "guidance_scale"):
            if self.texts[name] == old[name]:
                self._put(name, new[name])
        self._model = model
        self._show_presets()

    def _show_presets(self) -> None:
        texts = self.texts
        size = f"{texts['width']}x{texts['height']}"
        known = {f"{width}x{height}" for width, height in size_presets(self._model)}
        choices = [(f"{w} x {h}  {_aspect(w, h)}", f"{w}x{h}") for w, h in size_presets(self._model)]
        control = self.rows["size"].control
        assert isinstance(control, Select)
        with self.prevent(Select.Changed):
            control.set_options([*choices, ("Custom", CUSTOM)])
            control.value = size if size in known else CUSTOM

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        name = str(event.widget.id)
        if name in self.rows:
            self._last = name
            self.post_message(self.Focused(self.rows[name].field, self.rows[name].fault))


def _control(field: Field, text: str) -> Input | Select[str]:
    if field.kind == "choice":
        return Select(field.choices, value=text, allow_blank=False, compact=True, id=field.name, tooltip=field.help)
    control = Input(text, compact=True, id=field.name, placeholder=field.blank or "", tooltip=field.help)
    control.cursor_blink = False  # a blinking cursor sends bytes for ever
    return control


def _aspect(width: int, height: int) -> str:
    """The nearest familiar aspect, "3:2"."""
    across, down = min(ASPECTS, key=lambda aspect: abs(width / height - aspect[0] / aspect[1]))
    return f"{across}:{down}"
