"""The settings: one aligned row for each field, what is wrong with a value in the line below it.

What a field is called and accepts stands in `flux_engine.fields` and `flux_tui.settings`; this file is its look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Input, Label, Select, Static

from flux_engine.errors import RequestError
from flux_engine.fields import MODEL_FIELDS, Field, default_texts, parse, parse_all, text_of, texts_of
from flux_engine.request import GenerationRequest
from flux_engine.series import SeedUse, next_seed, random_seed, series
from flux_tui.glyphs import Glyphs, glyphs
from flux_tui.settings import (
    COUNT,
    CUSTOM,
    FIXED,
    FORM_FIELDS,
    RANDOM,
    SEED_USE,
    SIZE,
    model_of,
    parse_count,
    size_presets,
    snapped,
)

ASPECTS = ((1, 1), (3, 2), (2, 3), (16, 9), (9, 16))
LABEL_WIDTH = 12
SIDES = ("width", "height")


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
        &.-changed Label { color: $text-accent; }
        .fault { display: none; width: 1fr; padding: 0 0 0 2; }
        &.-fault .fault { display: block; }
        &.-fault Label { color: $text-error; }
    }
    """

    control: Input | Select[str]

    def __init__(self, field: Field, text: str, signs: Glyphs) -> None:
        super().__init__()
        self.field = field
        self._text = text
        self._signs = signs
        self._label = Label(field.label)
        self._fault = Label("", classes="fault", markup=False)

    def compose(self) -> ComposeResult:
        self.control = _control(self.field, self._text)  # not in __init__: an Input wants a running app
        with Horizontal():
            yield self._label
            yield self.control
        yield self._fault

    def on_mount(self) -> None:
        for arrow, sign in ((".down-arrow", self._signs.unfold), (".up-arrow", self._signs.fold)):
            for shown in self.query(arrow).results(Static):
                shown.update(sign)

    @property
    def text(self) -> str:
        """What stands in the control."""
        return str(self.control.value or "")

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


class _Typed(Input):
    """A field's text; keys that come in one burst act in their order."""


class SettingsForm(VerticalScroll, can_focus=False):
    """The settings pane.

    Args:
        texts: what stands in the fields at first, by their names; the defaults of its model where it says nothing.
        signs: the mark of a changed field.
    """

    BINDINGS: ClassVar = [
        Binding(
            "escape",
            "screen.leave_editor",
            "Leave the settings",
            show=False,
            id="leave-settings",
            tooltip="Leave the settings, for keys that are single letters",
        )
    ]

    DEFAULT_CSS = """
    SettingsForm {
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

    @dataclass
    class NegativeNamed(Message):
        """A preset names a negative prompt, which no field takes; "" is none."""

        negative_prompt: str

    def __init__(
        self, texts: Mapping[str, str] | None = None, signs: Glyphs | None = None, *, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self.border_title = "Settings"
        texts = _fitting(_with_seed_use(texts or {}))
        self._model = model_of(texts.get("checkpoint_dir", ""))
        self._last = SIZE.name
        self._painted: dict[str, str] | None = None  # the texts of the last picture
        first = default_texts(self._model) | {SIZE.name: CUSTOM, SEED_USE.name: RANDOM, COUNT.name: "1"}
        first |= texts
        self._seed = first["seed"]  # as long as nobody types another one
        self.rows = {field.name: FieldRow(field, first[field.name], signs or glyphs(False)) for field in FORM_FIELDS}

    def compose(self) -> ComposeResult:
        yield from self.rows.values()

    def on_mount(self) -> None:
        self._show_presets()

    # What the form says

    @property
    def texts(self) -> dict[str, str]:
        """What stands in every field, by its name."""
        return {name: row.text for name, row in self.rows.items() if name != SIZE.name}

    @property
    def seed_use(self) -> SeedUse:
        """What becomes of the seed from one picture to the next."""
        return cast(SeedUse, self.rows[SEED_USE.name].text)

    @property
    def model(self) -> str | None:
        """The checkpoint folder; None is the demo model."""
        return self._model

    @property
    def avoids(self) -> bool:
        """Whether a negative prompt has an effect."""
        try:
            return bool(parse("true_cfg_scale", self.rows["true_cfg_scale"].text) > 1)
        except RequestError:
            return False

    def requests(self, prompt: str, negative_prompt: str | None = None) -> list[GenerationRequest]:
        """What the form asks for with this prompt; empty when a field is wrong, which is then marked and focused.

        A random seed is drawn here and shown in its field.

        Raises:
            RequestError: the values contradict each other.
        """
        self._follow_model()  # here, not only when `_check` is told: the key that paints may come in one burst
        self._keep_typed_seed()
        if self.seed_use == RANDOM:
            self._put("seed", str(random_seed()))
        self._snap()
        values, count, faults = self._read()
        for name, row in self.rows.items():
            row.say(faults.get(name, ""))
        if faults:
            self._last = next(name for name in self.rows if name in faults)
            self.focus_field()
            return []
        request = GenerationRequest(prompt=prompt, negative_prompt=negative_prompt, **values)
        asked = series(request, count, self.seed_use)
        seed = asked[-1].seed if self.seed_use == RANDOM else next_seed(request.seed, count, self.seed_use)
        self._put("seed", str(seed))
        self._painted = self.texts
        self._mark()
        return asked

    def _read(self) -> tuple[dict[str, Any], int, dict[str, str]]:
        texts = {name: text for name, text in self.texts.items() if name not in (SEED_USE.name, COUNT.name)}
        values, faults = parse_all(texts)
        try:
            return values, parse_count(self.rows[COUNT.name].text), faults
        except RequestError as error:
            return values, 1, faults | {COUNT.name: str(error)}

    # What is put into it

    def focus_field(self) -> None:
        """Focus the field that had the focus last, or the first one."""
        self.rows[self._last].control.focus()

    def put_back(self, request: GenerationRequest) -> None:
        """Show a request's settings, of one picture; its seed stays fixed."""
        self.put(texts_of(request) | {SEED_USE.name: FIXED, COUNT.name: "1"})

    def put(self, texts: Mapping[str, str]) -> None:
        """Put texts into fields, by their names; what no field takes is passed over.

        Another model brings its own defaults where they name none; a seed without a use stays fixed.
        """
        model = model_of(texts.get("checkpoint_dir", self._model or ""))
        if model != self._model:
            own = default_texts(model)
            texts = {name: own[name] for name in MODEL_FIELDS} | dict(texts)
        for name, text in _fitting(_with_seed_use(texts)).items():
            self._put(name, text)
            self.rows[name].say("")
        self._model = self._model_now()
        self._show_presets()
        self._mark()
        self.post_message(self.Changed())

    def put_values(self, values: Mapping[str, Any]) -> None:
        """Put a preset's values into fields, by their names; its negative prompt goes out in a message."""
        texts = {name: text_of(value) for name, value in values.items()}
        self.put(texts)
        if "negative_prompt" in texts:
            self.post_message(self.NegativeNamed(texts["negative_prompt"]))

    def swap_sides(self) -> None:
        """Make a wide picture a tall one, and back."""
        self.put({"width": self.rows["height"].text, "height": self.rows["width"].text})

    def lock_seed(self) -> bool:
        """Fix the seed, or let it be random again; whether it is fixed now."""
        self._keep_typed_seed()
        self._put(SEED_USE.name, FIXED if self.seed_use == RANDOM else RANDOM)
        self._mark()
        self.post_message(self.Changed())
        return self.seed_use == FIXED

    def _put(self, name: str, text: str) -> None:
        control = self.rows[name].control
        with self.prevent(Input.Changed, Select.Changed):
            control.value = text
        if name == "seed":
            self._seed = text

    def _keep_typed_seed(self) -> None:
        """One who types a seed wants that one."""
        text = self.rows["seed"].text
        if text != self._seed and self.seed_use == RANDOM:
            self._put(SEED_USE.name, FIXED)
        self._seed = text

    def _mark(self) -> None:
        """Mark what is another value than the last picture's; a random seed is meant to be another one."""
        for name, row in self.rows.items():
            if self._painted is not None and name in self._painted:
                row.mark(row.text != self._painted[name] and not (name == "seed" and self.seed_use != FIXED))

    # What the user does

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
        if name == "seed":
            self._keep_typed_seed()
        if name in SIDES:
            self._show_presets()
        if name == "checkpoint_dir":
            self._follow_model()
        self._mark()
        self.post_message(self.Changed())

    @on(Select.Changed)
    def _take_choice(self, event: Select.Changed) -> None:
        if event.select.id == SIZE.name and event.value != CUSTOM:
            for name, text in zip(SIDES, str(event.value).split("x"), strict=True):
                self._put(name, text)
                self.rows[name].say("")
            self._show_presets()
        self._mark()
        self.post_message(self.Changed())

    @on(Input.Blurred)
    def _snap(self) -> None:
        """Take the nearest possible width and height."""
        for name in SIDES:
            text = self.rows[name].text.strip()
            if text.isdecimal() and (near := str(snapped(int(text[:9])))) != text:
                self._put(name, near)
                self.rows[name].say("")
                self._show_presets()
                self._mark()

    def _follow_model(self) -> None:
        """Take another model's defaults where the old one's still stand."""
        model = self._model_now()
        if (model is None) != (self._model is None):
            old, new = default_texts(self._model), default_texts(model)
            for name in MODEL_FIELDS:
                if self.rows[name].text == old[name]:
                    self._put(name, new[name])
        self._model = model
        self._show_presets()

    def _model_now(self) -> str | None:
        return model_of(self.rows["checkpoint_dir"].text)

    def _show_presets(self) -> None:
        size = "x".join(self.rows[name].text.strip() for name in SIDES)
        known = {f"{width}x{height}" for width, height in size_presets(self._model)}
        choices = [(f"{w} x {h}  {_aspect(w, h)}", f"{w}x{h}") for w, h in size_presets(self._model)]
        control = self.rows[SIZE.name].control
        assert isinstance(control, Select)
        with self.prevent(Select.Changed):
            control.set_options([*choices, ("Custom", CUSTOM)])
            control.value = size if size in known else CUSTOM

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        name = str(event.widget.id)
        if name in self.rows:
            self._last = name
            self.post_message(self.Focused(self.rows[name].field, self.rows[name].fault))


def _fitting(texts: Mapping[str, str]) -> dict[str, str]:
    """Those texts that have a row, and that a choice offers."""
    rows = {field.name: field for field in FORM_FIELDS if field is not SIZE}
    return {
        name: text
        for name, text in texts.items()
        if name in rows and (not rows[name].choices or text in {value for _, value in rows[name].choices})
    }


def _with_seed_use(texts: Mapping[str, str]) -> dict[str, str]:
    """A seed that is named is one to be painted with."""
    return ({SEED_USE.name: FIXED} if "seed" in texts else {}) | dict(texts)


def _control(field: Field, text: str) -> Input | Select[str]:
    if field.kind == "choice":
        return Select(field.choices, value=text, allow_blank=False, compact=True, id=field.name, tooltip=field.help)
    control = _Typed(text, compact=True, id=field.name, placeholder=field.blank or "", tooltip=field.help)
    control.cursor_blink = False  # a blinking cursor sends bytes for ever
    return control


def _aspect(width: int, height: int) -> str:
    """The nearest familiar aspect, "3:2"."""
    across, down = min(ASPECTS, key=lambda aspect: abs(width / height - aspect[0] / aspect[1]))
    return f"{across}:{down}"
