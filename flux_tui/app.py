"""Wiring only: the worker's news goes to the screen, its wishes go to the worker, signals end the app cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import BindingType
from textual.message import Message
from textual.screen import Screen

from flux_tui.gallery import Gallery
from flux_tui.keys import APP_KEYS, SCREEN_KEYS, written
from flux_tui.screens.help import HelpScreen
from flux_tui.screens.main import MainScreen
from flux_tui.worker import EngineLike, News, Worker, default_engine

END_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class FluxApp(App[None], inherit_bindings=False):
    """The terminal app.

    Args:
        gallery: where pictures are kept.
        make_engine: makes the engine, in the worker's thread, at the first picture.
        log_path: where unexpected faults are written, said to the user.
        checkpoint_dir: the model to start with; None is the demo model.
    """

    TITLE = "flux-tui"
    CSS_PATH = "flux_tui.tcss"
    ENABLE_COMMAND_PALETTE = True

    BINDINGS: ClassVar[list[BindingType]] = [*APP_KEYS]

    @dataclass
    class WorkerNews(Message):
        """Something happened in the worker's thread."""

        news: News

    def __init__(
        self,
        gallery: Gallery,
        make_engine: Callable[[], EngineLike] = default_engine,
        log_path: Path | None = None,
        checkpoint_dir: str | None = None,
    ) -> None:
        super().__init__()
        self.animation_level = "none"
        self.gallery = gallery
        self.log_path = log_path
        self.worker = Worker(self._from_worker, gallery, make_engine, log_path)
        self.main = MainScreen(gallery, self.worker.submit, self.worker.cancel, checkpoint_dir)

    def get_default_screen(self) -> Screen[Any]:
        return self.main

    def on_mount(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # signals belong to the main thread
        for number in END_SIGNALS:
            # Unhandled, SIGTERM leaves the alternate screen and the mouse on, and SIGHUP kills without a goodbye.
            asyncio.get_running_loop().add_signal_handler(number, self.exit, None, 128 + number)

    def _from_worker(self, news: News) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is left to tell
            self.post_message(self.WorkerNews(news))

    def on_flux_app_worker_news(self, message: WorkerNews) -> None:
        self.main.take(message.news)

    def action_help(self) -> None:
        """Open the help, or close it."""
        if isinstance(self.screen, HelpScreen):
            self.pop_screen()
        elif self.screen is self.main:
            self.push_screen(HelpScreen(self._key_table(), self._folder_table()))

    def _key_table(self) -> Iterable[tuple[str, str]]:
        for binding in (*SCREEN_KEYS, *APP_KEYS):
            if binding.tooltip:
                yield written(binding.key), f"{binding.tooltip}."
        yield "Tab  Shift+Tab", "Go from field to field."
        yield "Enter", "In the prompt, a new line; in the history, put a picture's prompt and settings back."

    def _folder_table(self) -> Iterable[tuple[str, str]]:
        yield "Pictures", str(self.gallery.root)
        if self.log_path:
            yield "Log", str(self.log_path)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every key's action, by name, before Textual's own commands."""
        if screen is self.main:
            for binding in SCREEN_KEYS:
                if binding.id != "cancel-outside-editor" and screen.check_action(binding.action, ()):
                    yield SystemCommand(binding.description, f"{binding.tooltip}", _runner(screen, binding.action))
        yield SystemCommand("Help", "Show the keys, the settings and the folders", self.action_help)
        yield from (command for command in super().get_system_commands(screen) if command.title != "Keys")


def _runner(screen: Screen[Any], action: str) -> Callable[[], object]:
    async def run() -> None:
        await screen.run_action(action)

    return run
