"""The settings: what the fields mean to one another, as the requests that they make.

What a field is called and accepts stands in `flux_engine.fields` and `flux_tui.settings`, how it looks in `field_row`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from textual import on
from textual.message import Message
from textual.widgets import Input, Select

from flux_engine.errors import RequestError
from flux_engine.fields import parse, text_of, texts_of
from flux_engine.request import GenerationRequest
from flux_engine.series import SeedUse, next_seed, random_seed, series
from flux_tui.glyphs import UNICODE, Glyphs
from flux_tui.settings import (
    COUNT,
    CUSTOM,
    FIXED,
    RANDOM,
    SEED_USE,
    SIZE,
    complete,
    fitting,
    model_of,
    model_texts,
    parse_form,
    size_choices,
    snapped,
)
from flux_tui.widgets.field_rows import FieldRows

SIDES = ("width", "height")


class SettingsForm(FieldRows):
    """The settings pane.

    Args:
        texts: what stands in the fields at first, by their names; the defaults of its model where it says nothing.
        signs: the mark of a changed field.
    """

    @dataclass
    class NegativeNamed(Message):
        """A preset names a negative prompt, which no field takes; "" is none."""

        negative_prompt: str

    def __init__(self, texts: Mapping[str, str], signs: Glyphs = UNICODE, *, id: str | None = None) -> None:
        first = complete(texts)
        super().__init__(first, signs, id=id)
        self._model = model_of(first["checkpoint_dir"])
        self._seed = first["seed"]  # as long as nobody types another one
        self._choices: tuple[tuple[str, str], ...] = ()  # of sizes, as the control has them
        self._sized = first[SIZE.name]  # that width and height make; until they change, another one is a choice
        self._model_fault = ""
        self._painted: dict[str, str] | None = None  # the texts of the last picture

    def _completed(self) -> None:
        self._show_presets()

    # What the form says

    @property
    def seed_use(self) -> SeedUse:
        """What becomes of the seed from one picture to the next."""
        return cast(SeedUse, self.rows[SEED_USE.name].text)

    @property
    def model(self) -> str | None:
        """The checkpoint's folder or file; None is the demo model."""
        return self._model

    @property
    def avoids(self) -> bool:
        """Whether a negative prompt has an effect."""
        try:
            return bool(parse("true_cfg_scale", self.rows["true_cfg_scale"].text) > 1)
        except RequestError:
            return False

    def preset(self) -> dict[str, Any]:
        """Every setting by its name, but a random seed; empty when a field is wrong, which is then focused."""
        values, count = self._parsed()
        if self.seed_use == RANDOM:
            values.pop("seed", None)
        return values and {**values, SEED_USE.name: self.seed_use, COUNT.name: count}

    def requests(self, prompt: str, negative_prompt: str | None = None) -> list[GenerationRequest]:
        """What the form asks for with this prompt; empty when a field is wrong, which is then marked and focused.

        A random seed is drawn here and shown in its field.

        Raises:
            RequestError: the prompt is none that can be painted.
        """
        self._follow_model()  # here, not only when `_check` is told: the key that paints may come in one burst
        self._keep_typed_seed()
        if self.seed_use == RANDOM:
            self._put("seed", str(random_seed()))
        self._snap()
        values, count = self._parsed()
        if not values:
            return []
        request = GenerationRequest(prompt=prompt, negative_prompt=negative_prompt, **values)
        asked = series(request, count, self.seed_use)
        seed = asked[-1].seed if self.seed_use == RANDOM else next_seed(request.seed, count, self.seed_use)
        self._put("seed", str(seed))
        self._painted = self.texts
        self._past.follow(self.texts)
        self._mark()
        return asked

    def _parsed(self) -> tuple[dict[str, Any], int]:
        """The values and the count; no values when a field is wrong: the first such field gets the focus."""
        values, count, faults = parse_form(self.texts)
        self._say_faults(faults)
        if faults:
            self.focus_field(next(name for name in self.rows if name in faults))
        return {} if faults else values, count

    # What is put into it

    def put_back(self, request: GenerationRequest) -> None:
        """Show a request's settings, of one picture; its seed stays fixed."""
        self.put({**texts_of(request), SEED_USE.name: FIXED, COUNT.name: "1"})

    def put(self, texts: Mapping[str, str]) -> None:
        """Put texts into fields, by their names; what no field takes is passed over. `undo` brings the others back.

        Another model brings its own defaults where they name none; a seed without a use stays fixed.
        """
        model = model_of(texts.get("checkpoint_dir", self._model or ""))
        if model != self._model:
            texts = {**model_texts(model), **texts}
        self._fill(fitting(texts))
        self._changed()

    def put_values(self, values: Mapping[str, Any]) -> None:
        """Put a preset's values into fields, by their names; its negative prompt goes out in a message."""
        texts = {name: text_of(value) for name, value in values.items()}
        self.put(texts)
        if "negative_prompt" in texts:
            self.post_message(self.NegativeNamed(texts["negative_prompt"]))

    def say_of_model(self, fault: str) -> None:
        """Say below the model what is wrong with its folder, once that is known; it may be asked for all the same."""
        self._model_fault = fault
        self._say_faults(parse_form(self.texts)[2])

    def _say_faults(self, faults: Mapping[str, str]) -> None:
        self.say({"checkpoint_dir": self._model_fault, **faults})

    def swap_sides(self) -> None:
        """Make a wide picture a tall one, and back."""
        self.put({"width": self.rows["height"].text, "height": self.rows["width"].text})

    def lock_seed(self) -> bool:
        """Fix the seed, or let it be random again; whether it is fixed now."""
        self._keep_typed_seed()
        self._put(SEED_USE.name, FIXED if self.seed_use == RANDOM else RANDOM)
        self._changed()
        return self.seed_use == FIXED

    def _fill(self, texts: Mapping[str, str]) -> None:
        self.show(texts)
        self._seed = self.rows["seed"].text
        self._model = self._model_now()
        self._show_presets()

    def _put(self, name: str, text: str) -> None:
        self.show({name: text})
        if name == "seed":
            self._seed = text

    def _keep_typed_seed(self) -> None:
        """One who types a seed wants that one."""
        text = self.rows["seed"].text
        if text != self._seed and self.seed_use == RANDOM:
            self._put(SEED_USE.name, FIXED)
        self._seed = text

    def _changed(self, doing: str = "") -> None:
        self._past.note(self.texts, doing)
        self._say_faults(parse_form(self.texts)[2])
        self._mark()
        self.post_message(self.Changed())

    def _mark(self) -> None:
        """Mark what is another value than the last picture's; a random seed is meant to be another one."""
        if self._painted is not None:
            meant = {} if self.seed_use == FIXED else {"seed": self.rows["seed"].text}
            self.mark({**self._painted, **meant})

    # What the user does

    @on(Input.Changed)
    def _check(self, event: Input.Changed) -> None:
        name = str(event.input.id)
        if name == "seed":
            self._keep_typed_seed()
        if name in SIDES:
            self._show_presets()
        if name == "checkpoint_dir":
            self._follow_model()
        self._changed(name)

    @on(Select.Changed)
    def _take_choice(self, event: Select.Changed) -> None:
        if event.select.id == SIZE.name:
            self._take_size()
        self._changed(str(event.select.id))

    def _take_size(self) -> None:
        size = self.rows[SIZE.name].text
        if size == self._sized:
            return
        if size == CUSTOM:
            self.focus_field("width")
        else:
            self.show(dict(zip(SIDES, size.split("x"), strict=True)))
            self._show_presets()

    @on(Input.Blurred)
    def _snap(self) -> None:
        """Take the nearest possible width and height."""
        for name in SIDES:
            text = self.rows[name].text.strip()
            if text.isdecimal() and (near := str(snapped(int(text[:9])))) != text:
                self._put(name, near)
                self._show_presets()
                self._changed(name)

    def _follow_model(self) -> None:
        """Take another model's defaults where the old one's still stand."""
        model = self._model_now()
        if (model is None) != (self._model is None):
            old, new = model_texts(self._model), model_texts(model)
            self.show({name: new[name] for name in new if self.rows[name].text == old[name]})
        self._model = model
        self._show_presets()

    def _model_now(self) -> str | None:
        return model_of(self.rows["checkpoint_dir"].text)

    def _show_presets(self) -> None:
        if not self._is_complete:
            return
        size = "x".join(self.rows[name].text.strip() for name in SIDES)
        choices = size_choices(self._model)
        control = cast("Select[str]", self.rows[SIZE.name].control)
        with self.prevent(Select.Changed):
            if choices != self._choices:
                control.set_options(choices)
                self._choices = choices
            control.value = self._sized = size if size in {value for _, value in choices} else CUSTOM
