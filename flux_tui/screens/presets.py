"""Named presets: taken, kept and deleted by name. They stand in the config file, whose comments stay.

It opens the screens that ask; nothing is replaced or deleted before that is said twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flux_engine.errors import FluxError
from flux_engine.fields import Field, text_of
from flux_tui.config_reader import SETTINGS
from flux_tui.metadata import harmless
from flux_tui.screens.picker import Picker, pick
from flux_tui.session import Session
from flux_tui.styles import matching

if TYPE_CHECKING:
    from flux_tui.screens.main import MainScreen

MAX_NAME = 60  # signs

NONE_YET = "No presets yet: 'Save as preset' in the palette makes one."


class Presets:
    """What the working screen does with presets.

    Args:
        screen: whose form they come from and go to.
        session: where they are kept.
        ellipsis: the sign of a cut.
    """

    def __init__(self, screen: MainScreen, session: Session, ellipsis: str) -> None:
        self._screen = screen
        self._session = session
        self._ellipsis = ellipsis

    async def take(self) -> None:
        """Put a preset's settings into the form."""

        async def take(name: str) -> None:
            self._screen.form.put_values(self._session.config.presets[name])
            back = self._screen.key("settings-back")
            self._screen.status.say(f"Preset {name} is in the form. {back} brings the old settings back.")

        await self._pick("Presets", self._rows, take, NONE_YET)

    async def save(self) -> None:
        """Keep the form's settings under a name; a random seed is not among them."""
        values = self._screen.form.preset()
        if not values:
            self._screen.go_to("settings")
            self._screen.status.say("A setting needs another value before they are kept.", "$text-error")
            return
        if self._screen.form.avoids:
            values["negative_prompt"] = self._screen.prompt.negative.strip() or None

        def find(typed: str) -> Sequence[tuple[str, str]]:
            name = harmless(typed).strip()[:MAX_NAME]
            is_new = name and name not in self._session.config.presets
            return [*([(f"{name:<12} a new preset", name)] if is_new else []), *self._rows(typed)]

        async def save(name: str) -> None:
            await self._set(name, values, f"Replace the preset {name}?", f"Kept as preset {name}.")

        await self._pick("Save as preset", find, save, "Type a name for these settings.", "A name, new or known")

    async def delete(self) -> None:
        """Forget a preset."""

        async def delete(name: str) -> None:
            await self._set(name, None, f"Delete the preset {name}?", f"Preset {name} is deleted.")

        await self._pick("Delete a preset", self._rows, delete, NONE_YET)

    def _rows(self, typed: str) -> Sequence[tuple[str, str]]:
        presets, now = self._session.config.presets, self._screen.form.texts
        return [(f"{name:<12} {_listed(presets[name], now)}", name) for name in matching(presets, typed)]

    async def _set(self, name: str, values: Mapping[str, Any] | None, question: str, done: str) -> None:
        async def do(yes: bool) -> None:
            if yes:
                self._session.set_preset(name, values)
                self._screen.status.say(done)
                self._screen.aside(self._write, name)

        answers = [("No, leave it as it is", False), ("Yes", True)]
        if name in self._session.config.presets:
            await self._pick(question, lambda typed: [row for row in answers if typed.lower() in row[0].lower()], do)
        else:
            await do(True)

    def _write(self, name: str) -> None:
        try:
            self._session.write_preset(name)
        except FluxError as error:
            title = "Kept until the program ends"
            self._screen.notify(f"{error} {error.hint}", title=title, severity="error", timeout=15, markup=False)

    async def _pick(
        self,
        title: str,
        find: Callable[[str], Sequence[tuple[str, Any]]],
        take: Callable[[Any], Awaitable[None]],
        empty: str = "Nothing matches.",
        placeholder: str = "Type to search",
    ) -> None:
        picker = Picker(title, find, empty=empty, placeholder=placeholder, ellipsis=self._ellipsis)
        await pick(self._screen.app, picker, take)


def _listed(values: Mapping[str, Any], now: Mapping[str, str]) -> str:
    """What a preset has that stands not in the form now: "Steps 8, Integrator Heun"."""
    texts = {name: text_of(value) for name, value in values.items()}
    others = [_words(SETTINGS[name], text) for name, text in texts.items() if text != now.get(name)]
    return ", ".join(others) or "as the form is now"


def _words(field: Field, text: str) -> str:
    labels = {value: label for label, value in field.choices}
    return f"{field.label} {labels.get(text, text) or field.blank}"
