"""What the settings ask for is compiled ahead, once they have rested. Knows the form; holds no engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.timer import Timer

from flux_engine.errors import RequestError
from flux_engine.request import GenerationRequest
from flux_tui.loras import located
from flux_tui.settings import parse_form

if TYPE_CHECKING:
    from flux_tui.screens.main import MainScreen

REST_S = 1.0  # a number that is still being typed is none to compile for


class Forethought:
    """Has the worker warm up for the picture that would be painted now.

    Args:
        screen: whose form, and whose worker.
    """

    def __init__(self, screen: MainScreen) -> None:
        self._screen = screen
        self._rest: Timer | None = None

    def settings_changed(self) -> None:
        """Wait until they rest; at the start of the app, until its screen has been there for a moment."""
        if not self._screen.session.option("warm_up"):
            return
        if self._rest is not None:
            self._rest.stop()
        self._rest = self._screen.set_timer(REST_S, self._warm_up)

    def _warm_up(self) -> None:
        """Nothing happens while a setting is wrong: the form says so already."""
        form = self._screen.form
        values, _, faults = parse_form(form.texts)
        if not faults:
            negative = "-" if form.avoids and self._screen.prompt.negative.strip() else None
            try:
                request = GenerationRequest(prompt="-", negative_prompt=negative, **values)
                self._screen.worker.warm_up(located(request, self._screen.session.lora_folder))
            except RequestError:
                return
