"""Choosing by name or letter: a prompt that was run before, a style, a pane or field to jump to.

It opens the screen that asks, and puts what was chosen into the panes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from flux_engine.errors import FluxError, RequestError
from flux_engine.fields import parse
from flux_engine.lora_text import loras_text
from flux_tui import paths, styles
from flux_tui.glyphs import glyphs
from flux_tui.layout import PANES, Pane
from flux_tui.loras import listed
from flux_tui.models import load_models
from flux_tui.prompts import Entry, holding
from flux_tui.screens.jump import JumpScreen
from flux_tui.screens.loras import LoraPicker, Loras
from flux_tui.screens.picker import Picker, pick
from flux_tui.session import Session

if TYPE_CHECKING:
    from flux_tui.screens.main import MainScreen

PANE_LETTERS: dict[str, Pane] = {"p": "prompt", "s": "settings", "v": "picture", "q": "queue", "h": "history"}
FIELD_LETTERS = "bcdefgijklmnortuwxyza"  # without those of the panes


class Finder:
    """Opens pickers and the letters of jump mode.

    Args:
        screen: whose panes are filled and gone to.
        session: where prompts and styles are.
        ellipsis: the sign of a cut.
    """

    def __init__(self, screen: MainScreen, session: Session, ellipsis: str) -> None:
        self._screen = screen
        self._session = session
        self._ellipsis = ellipsis

    async def prompt(self) -> None:
        """Find a prompt that was run before."""

        found: list[Entry] = []

        def read() -> None:
            found.extend(self._session.prompts.entries())

        def find(words: str) -> Sequence[tuple[str, Entry]]:
            return [(entry.prompt, entry) for entry in holding(found, words)]

        def take(entry: Entry) -> None:
            self._put_prompt(entry.prompt, entry.negative_prompt)

        picker = Picker(
            "Prompts run before", find, read=read, empty="No prompt that was run matches.", ellipsis=self._ellipsis
        )
        await pick(self._screen.app, picker, take)

    async def style(self) -> None:
        """Put the prompt into a named style."""
        found: dict[str, str] = {}

        def read() -> None:
            known, faults = styles.styles(self._session.config_path.parent)
            found.update(known)
            for fault in faults:
                self._screen.notify(fault, title="Styles", severity="warning", markup=False)

        def find(typed: str) -> Sequence[tuple[str, str]]:
            return [(f"{name:<12} {found[name]}", found[name]) for name in styles.matching(found, typed)]

        def take(text: str) -> None:
            self._put_prompt(styles.apply(text, self._screen.prompt.text))
            if not self._screen.prompt.text.strip():
                self._screen.prompt.say("First say what to paint.")

        await pick(self._screen.app, Picker("Styles", find, read=read, ellipsis=self._ellipsis), take)

    async def model(self) -> None:
        """Put a model that has a name, or the demo model, into the form."""
        found: dict[str, str] = {"demo model": ""}

        def read() -> None:
            try:
                known, faults = load_models(paths.models_file())
            except FluxError as error:
                known, faults = {}, [str(error)]
            found.update({name: str(path) for name, path in sorted(known.items())})
            for fault in faults:
                self._screen.notify(fault, title="Models", severity="warning", markup=False)

        def find(typed: str) -> Sequence[tuple[str, str]]:
            return [(f"{name:<12} {found[name]}", found[name]) for name in styles.matching(found, typed)]

        def take(path: str) -> None:
            self._screen.form.put({"checkpoint_dir": path})
            self._screen.status.say(f"The next picture is painted with {path or 'the demo model'}.")

        empty = "No model has that name: 'flux-tui models add' gives one."
        await pick(self._screen.app, Picker("Models", find, read=read, empty=empty, ellipsis=self._ellipsis), take)

    async def loras(self) -> None:
        """Choose LoRAs and their strengths; the form gets them when that is done."""
        form, prompt, status = self._screen.form, self._screen.prompt, self._screen.status

        def insert(words: tuple[str, ...]) -> None:
            added = prompt.add_words(words)
            said = f"In the prompt now: {', '.join(added)}." if added else "All its words are in the prompt."
            status.say(said if words else "The file of this LoRA tells no trigger words.")

        def take(loras: Loras) -> None:
            form.put({"loras": loras_text(loras)})
            status.say(f"The next picture is painted with {listed(loras) or 'no LoRA'}.")

        try:
            chosen = parse("loras", form.texts["loras"])
        except RequestError:  # the line below the field says why
            chosen = ()
        signs = glyphs(self._session.option("ascii"))
        await pick(self._screen.app, LoraPicker(self._session.lora_folder, chosen, insert, signs), take)

    def _put_prompt(self, prompt: str, negative_prompt: str | None = None) -> None:
        pane = self._screen.prompt
        pane.put_back(prompt, pane.negative if negative_prompt is None else negative_prompt)
        self._screen.go_to("prompt")

    def jump(self) -> None:
        """Label panes and fields with letters; the next key goes there."""
        screen = self._screen
        panes = [
            (key, pane if (pane := screen.pane(name)).display else screen.tabs.tabs[name])
            for key, name in PANE_LETTERS.items()
        ]
        fields = zip(FIELD_LETTERS, screen.form.controls, strict=True)
        shown = [(key, widget) for key, widget in [*panes, *fields] if widget.is_on_screen]
        screen.app.push_screen(JumpScreen(shown), self._jumped)

    def _jumped(self, target: str | None) -> None:
        if target is None:
            return
        for name in PANES:
            if name == target.removeprefix("tab-"):
                self._screen.go_to(name)
        if target in self._screen.form.rows:
            self._screen.form.focus_field(target)
