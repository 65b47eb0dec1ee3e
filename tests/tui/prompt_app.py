"""A screen with a prompt pane and nothing else, driven by a pilot or in a pseudo-terminal: python prompt_app.py LOG."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Button, Static

from flux_tui.editor import EditorError, edit_outside
from flux_tui.screens.picker import Picker
from flux_tui.terminal.output import output_to_log
from flux_tui.widgets.key_order import KeysInOrder
from flux_tui.widgets.prompt_keys import PROMPT_SCREEN_KEYS
from flux_tui.widgets.prompt_pane import PromptPane

PROMPTS = ("a wooden boat", "a wooden\nhouse in the woods", "a stone bridge")


def find(typed: str) -> Sequence[tuple[str, str]]:
    return [(prompt, prompt) for prompt in PROMPTS if all(word in prompt for word in typed.split())]


class PromptScreen(Screen[None]):
    """Does with the prompt's keys what the working screen does."""

    BINDINGS: ClassVar = [Binding("f5,ctrl+g,ctrl+enter", "generate", id="generate"), *PROMPT_SCREEN_KEYS]

    def __init__(self, pane: PromptPane) -> None:
        super().__init__()
        self.pane = pane
        self.ran: list[str] = []
        self.edited: list[PromptPane.Edited] = []
        self.said = Static(id="said")

    def compose(self) -> ComposeResult:
        yield self.pane
        yield self.said
        yield Button("next")

    def on_mount(self) -> None:
        self.pane.focus_editor()

    def on_prompt_pane_edited(self, event: PromptPane.Edited) -> None:
        self.edited.append(event)

    def action_generate(self) -> None:
        self.ran.append(self.pane.text)
        self.said.update(f"ran {len(self.ran)}: {self.pane.text!r}")

    def action_leave_editor(self) -> None:
        self.query_one(Button).focus()

    async def action_search_prompts(self) -> None:
        await self.app.push_screen(Picker("Prompts", find), self._put_back)

    def _put_back(self, prompt: str | None) -> None:
        if prompt is not None:
            self.pane.put_back(prompt)

    def action_edit_outside(self) -> None:
        with self.app.suspend():  # an exception that leaves this block leaves the app suspended
            try:
                self.pane.replace(edit_outside(self.pane.editor_in_use.text))
            except EditorError as error:
                self.said.update(f"{error} {error.hint}")


class PromptApp(KeysInOrder):
    CSS = "PromptScreen { PromptPane { height: 1fr; } #said { height: 3; } Button { height: 1; border: none; } }"

    def __init__(self, pane: PromptPane | None = None) -> None:
        super().__init__()
        self.main = PromptScreen(pane or PromptPane())

    def get_default_screen(self) -> Screen[None]:
        return self.main


if __name__ == "__main__":
    with output_to_log(Path(sys.argv[1])):
        PromptApp().run()
