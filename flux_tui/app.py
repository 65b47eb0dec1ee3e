"""Wiring only: the worker's news goes to the screen, the terminal's replies to the pacer, signals end the app."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from textual import events, messages
from textual.app import SystemCommand
from textual.binding import BindingType
from textual.command import CommandInput, CommandPalette
from textual.drivers import _writer_thread
from textual.message import Message
from textual.screen import Screen
from textual.scrollbar import ScrollBar, ScrollBarRender

from flux_engine.errors import FluxError
from flux_engine.request import EngineLike
from flux_tui.config import set_value
from flux_tui.gallery import Gallery
from flux_tui.glyphs import UNICODE, glyphs
from flux_tui.keys import APP_KEYS, all_bindings, effective_keys, key_faults, written
from flux_tui.screens.help import HelpScreen
from flux_tui.screens.help_pages import help_sections, key_sections
from flux_tui.screens.main import MainScreen
from flux_tui.screens.palette import Palette
from flux_tui.screens.quit import QuitScreen
from flux_tui.session import Session
from flux_tui.terminal import clipboard, kitty, notify, output
from flux_tui.terminal.abilities import Abilities, best_graphics
from flux_tui.terminal.answers import text_in
from flux_tui.terminal.canvas import CELL_PX, Canvas
from flux_tui.terminal.pacing import Pacer
from flux_tui.themes import OWN_THEMES, load_user_themes
from flux_tui.toml_file import in_short, nearest, shown
from flux_tui.widgets.key_order import KeysInOrder
from flux_tui.widgets.prompt_keys import ENTER_MAKES_NEWLINE
from flux_tui.widgets.stage import Stage
from flux_tui.worker import JobCancelled, JobFailed, JobSaved, JobUnsaved, News, Worker, default_engine

log = logging.getLogger(__name__)

END_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
HANG_UP = 129  # as a shell says of one that SIGHUP ended
LOOK_S = 0.5  # how often it is looked whether the terminal is still there, and takes what is sent


class AsciiScrollBar(ScrollBarRender):
    """A bar that ends with a cell, where Textual's ends with an eighth of one."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "] * 8
    HORIZONTAL_BARS: ClassVar[list[str]] = [" "] * 8


class FluxApp(KeysInOrder, inherit_bindings=False):
    """The terminal app.

    Args:
        gallery: where pictures are kept.
        make_engine: makes the engine, in the worker's thread, at the first picture.
        log_path: where unexpected faults are written, said to the user.
        checkpoint_dir: the model to start with; None is the one of the last run, or the demo model.
        session: config and what the last run left.
        abilities: of this terminal.
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
        session: Session | None = None,
        abilities: Abilities | None = None,
    ) -> None:
        super().__init__()
        self.animation_level = "none"
        self.gallery = gallery
        self.log_path = log_path
        self.session = session or Session()
        self.abilities = abilities or Abilities(true_colour=True, colours="truecolor")
        self.worker = Worker(self._from_worker, gallery, make_engine, log_path)
        self.stage = self._stage()
        self.main = MainScreen(gallery, self.worker, self.session, self.stage, checkpoint_dir)
        self._ends_after_job = False
        self._held = contextlib.ExitStack()  # nothing is painted while it has something to undo
        self._is_unpainted = False
        self._faults: list[str] = []  # of config, state and themes
        self._dressed_in = ""  # the theme of now, once there is one

    def _stage(self) -> Stage:
        # Without a limit: at 30 the screen's thread would wait for a terminal that hangs, and keys and signals with it.
        _writer_thread.MAX_QUEUED_WRITES = 0  # type: ignore[misc]
        option, abilities = self.session.option, self.abilities
        graphics, why_not = best_graphics(abilities, "text" if option("ascii") else option("graphics"))
        self._notes = [note for note in (why_not, *abilities.notes) if note]
        max_kbps = option("max_kbps")
        pacer = Pacer(
            rtt_s=abilities.rtt_s,
            blind=abilities.tmux,
            low_bandwidth=option("low_bandwidth"),
            max_fps=option("max_fps"),
            **({"bytes_per_s": max_kbps * 1000.0} if max_kbps else {}),
        )
        canvas = Canvas(
            graphics,
            self.write_escape,
            kitty.picture_id(os.getpid(), 0),
            abilities.cell_px or CELL_PX,
            abilities.passthrough,
        )
        return Stage(canvas, pacer, glyphs(option("ascii")), id="picture")

    def get_default_screen(self) -> Screen[Any]:
        return self.main

    def on_mount(self) -> None:
        self.call_after_refresh(_collect_garbage)
        self._dress()
        self._take_up_queue()
        if typed := text_in(self.abilities.typed):  # before the app was there
            self.main.call_after_refresh(self.main.prompt.insert, typed)
        if threading.current_thread() is not threading.main_thread():
            return  # signals belong to the main thread
        for number in END_SIGNALS:
            # Unhandled, SIGTERM leaves the alternate screen and the mouse on, SIGHUP kills without a goodbye, and
            # SIGINT (from elsewhere: Ctrl+C is a key here) ends with status 0.
            asyncio.get_running_loop().add_signal_handler(number, self.exit, None, 128 + number)
        if sys.__stdin__ is not None and sys.__stdin__.isatty():
            self.set_interval(LOOK_S, self._look_for_terminal)

    def _dress(self) -> None:
        """Themes, keys and signs, as the config has them."""
        user_themes, faults = load_user_themes(self.session.config_path.parent / "themes")
        for theme in (*OWN_THEMES, *user_themes):
            self.register_theme(theme)
        wanted = self.session.option("theme")
        if wanted in self.available_themes:
            self.theme = wanted
        else:
            near = nearest(wanted, self.available_themes)
            advice = f"; did you mean {near}?" if near else f". {self.key_of('palette')} finds them, under Theme."
            faults.append(f"There is no theme {shown(wanted)}{advice}")
            self.theme = OWN_THEMES[0].name
        self._dressed_in = self.theme
        self.set_class(self.session.option("ascii"), "-ascii")
        ScrollBar.renderer = AsciiScrollBar if self.session.option("ascii") else ScrollBarRender
        self.set_keymap({**self._swapped, **self.session.config.keymap})
        self._faults = [*self.session.faults, *faults, *key_faults(self.session.config.keys)]
        if self._faults:
            self.notify(
                in_short(self._faults, f"{self.key_of('help')} lists all."),
                title="Config and state",
                severity="warning",
                timeout=30,
                markup=False,
            )
        self.call_after_refresh(self._tell_of_terminal)  # below the keys of the first pane, said when it gets the focus

    def _tell_of_terminal(self) -> None:
        """Say in the quiet line, not over the screen, what holds at each start in this terminal."""
        if self._notes:
            words = self._notes[0].partition(": ")[0].removesuffix(".")
            self.main.status.say(f"{words}. {self.key_of('help')} tells more.")

    @property
    def _swapped(self) -> Mapping[str, str]:
        return {} if self.session.config.app.enter_generates else ENTER_MAKES_NEWLINE

    def key_of(self, action_id: str) -> str:
        """The first key of an action, as people write it; "the palette" when it has none."""
        return written(self._keys[action_id].split(",")[0]) or "the palette"

    @property
    def _keys(self) -> Mapping[str, str]:
        return effective_keys(self.session.config.keys, self._swapped)

    def watch_theme(self, theme: str) -> None:
        """A theme that was chosen goes into the config; the one that the app starts with is there, or is for once."""
        if self._dressed_in and theme != self._dressed_in:
            self._dressed_in = theme
            threading.Thread(target=self._keep_theme, args=(theme,), name="flux-config", daemon=True).start()

    def _keep_theme(self, theme: str) -> None:
        try:
            set_value(self.session.config_path, "app.theme", theme)
        except FluxError as error:
            self.notify(f"{error} {error.hint}", title="Theme not kept", severity="warning", markup=False)

    def _take_up_queue(self) -> None:
        """Let the pictures that the last run left wait again, if the config wants that."""
        left, policy = self.session.state.queue, self.session.config.app.queue_at_start
        if policy == "drop":
            return
        if not self.session.keeps_queue:
            self.notify("Another flux-tui is open and keeps the queue: what waits in this one ends with it.")
            return
        if not left:
            return
        if policy == "pause" or self.session.state.paused:
            self.worker.queue.pause(True)
            wait, them = ("1 picture waits", "it") if len(left) == 1 else (f"{len(left)} pictures wait", "them")
            self.notify(f"{wait} from last time. {self.key_of('pause')} lets {them} go on.", markup=False)
        self.worker.submit(*left)

    # The worker

    def _from_worker(self, news: News) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is left to tell
            self.post_message(self.WorkerNews(news))

    def on_flux_app_worker_news(self, message: WorkerNews) -> None:
        news = message.news
        self.main.take(news)
        if isinstance(self.screen, QuitScreen):
            self.screen.tell(self.main.newsroom.doing, len(self.worker.queue.waiting))
        if isinstance(news, (JobSaved, JobUnsaved, JobFailed, JobCancelled)):
            self._call_for_attention(news)
            if self._ends_after_job and isinstance(news, JobSaved):
                self.exit()
            self._ends_after_job = False  # what went wrong is to be read

    def _call_for_attention(self, news: JobSaved | JobUnsaved | JobFailed | JobCancelled) -> None:
        jobs = self.worker.queue.jobs  # those that are over: the latest first
        is_last = all(job.is_over for job in jobs) and jobs[0].id == news.job.id
        if isinstance(news, JobCancelled) or not (is_last or self.session.config.app.notify_when == "job"):
            return
        titles = {JobSaved: "Picture saved", JobUnsaved: "Picture not saved", JobFailed: "Picture not painted"}
        title = titles[type(news)]
        kind = self.session.config.app.notify
        self.write_escape(
            notify.notice(kind, title, news.job.request.prompt[:100], passthrough=self.abilities.passthrough)
        )

    # The terminal

    def write_escape(self, escape: str) -> None:
        """Send an escape code in order with what Textual paints; its queue is the only way that keeps the order."""
        if self._driver is not None and escape:
            self._driver.write(escape)

    def on_cursor_position(self, event: events.CursorPosition) -> None:
        self.stage.pacer.acknowledged(event.time)
        self.stage.draw_preview()

    def on_terminal_supports_synchronized_output(self, message: messages.TerminalSupportsSynchronizedOutput) -> None:
        if not self.session.option("sync"):
            message.prevent_default()

    def action_command_palette(self) -> None:
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def on_command_palette_opened(self, event: CommandPalette.Opened) -> None:
        for typed in self.screen.query(CommandInput):  # none if it is closed again already
            typed.cursor_blink = False  # a blinking cursor sends bytes for ever
            typed.placeholder = str(typed.placeholder).removesuffix(UNICODE.ellipsis)

    def copy_to_clipboard(self, text: str, what: str = "Text") -> None:
        """Copy, by whichever way this terminal has, and say which: "Prompt copied with OSC 52."."""
        self._clipboard = text
        threading.Thread(target=self._copy, args=(text, what), name="flux-copy", daemon=True).start()

    def _copy(self, text: str, what: str) -> None:
        """In a thread: a tmux that hangs is waited for, for a second."""
        said = clipboard.copy(text, self.write_escape, os.environ)
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is left to tell
            self.call_later(self.main.status.say, f"{what} {said}.")

    def _look_for_terminal(self) -> None:
        """End when the terminal is gone: where SIGHUP is ignored, Textual would read its end for ever."""
        poll = select.poll()
        poll.register(0, select.POLLHUP)
        if any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0)):
            self.exit(None, HANG_UP)
        self._hold(output.is_stalled())

    def _hold(self, stalled: bool) -> None:
        """Paint nothing while the terminal takes nothing; when it takes again, all that has come about, once."""
        if stalled == self.stage.picture.is_held:
            return
        self.stage.picture.hold(stalled)
        if stalled:
            self._is_unpainted = False
            self._held.enter_context(self.batch_update())
        else:
            self._held.close()
            # All of it only where it has to be: on a thin link that may take so long that it would be held again.
            self.screen.refresh(layout=True) if self._is_unpainted else self.screen.check_idle()

    def post_display_hook(self) -> None:
        self._is_unpainted = True  # if this comes in a batch: for another size or screen, Textual renders and drops it

    # Ending

    def _handle_exception(self, error: Exception) -> None:
        """What goes wrong once the app ends is for the log: keys find no screen, widgets half mounted no parts."""
        if self.return_code is None and self.is_running:
            super()._handle_exception(error)
        else:
            log.error("while the app ended", exc_info=error)

    async def action_quit(self) -> None:
        """End the program; ask first when pictures would be lost."""
        running, waiting = self.worker.queue.running, len(self.worker.queue.waiting)
        if isinstance(self.screen, QuitScreen):
            return
        if not (running or waiting) or not self.session.config.app.confirm_quit:
            self._quit_answered("quit")
            return
        keeps_waiting = self.session.keeps_queue and self.session.config.app.queue_at_start != "drop"
        question = QuitScreen(self.main.newsroom.doing, waiting, keeps_waiting=keeps_waiting)
        self.push_screen(question, self._quit_answered)

    def _quit_answered(self, answer: str | None) -> None:
        if answer == "finish" and self.worker.queue.running:
            self.worker.queue.pause(True)
            self._ends_after_job = True
            self.main.status.say("The program ends when this picture is saved.")
        elif answer is not None:
            self.main.newsroom.keep_queue(give_up=True)
            self.exit()

    def action_help_quit(self) -> None:
        """Say what ends the program, to one whose fingers expect that of Ctrl+C."""
        self.notify(f"End the program with {self.key_of('quit')}.", markup=False)

    # Help and palette

    def action_help(self) -> None:
        """Explain what has the focus, or close the help."""
        if isinstance(self.screen, HelpScreen):
            self.pop_screen()
        elif self.screen is self.main:
            wrong = (*self._faults, *self._notes)
            self.push_screen(HelpScreen(list(help_sections(self.main, self._keys, wrong, self._folder_table()))))

    def action_keymap(self) -> None:
        """Show all keys."""
        if self.screen is self.main:
            self.push_screen(HelpScreen(list(key_sections(self._keys)), title="Keys"))

    def _folder_table(self) -> Iterable[tuple[str, str]]:
        yield "Pictures", str(self.gallery.root)
        yield "Config", str(self.session.config_path)
        if self.log_path:
            yield "Log", str(self.log_path)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Every action that a key has, by name, before Textual's own commands."""
        if screen is self.main:
            for pane, bindings in all_bindings().items():
                for binding in bindings:
                    if binding.tooltip and binding.id not in ("cancel-outside-editor", "palette"):
                        target = self if binding in APP_KEYS else self._target(pane)
                        title = binding.description if pane == "Anywhere" else f"{pane}: {binding.description}"
                        yield SystemCommand(title, binding.tooltip, _runner(target, binding.action))
        unfit = ("Keys", "Quit", "Maximize", "Minimize")  # ours are above; zooming is ours, too
        yield from (command for command in super().get_system_commands(screen) if command.title not in unfit)

    def _target(self, pane: str) -> Any:
        if pane == "Anywhere":
            return self.main
        return self.main.prompt.editor_in_use if pane == "Prompt" else self.main.query_one(f"#{pane.lower()}")


def _collect_garbage() -> None:
    """From the first screen on; not that of the program itself, which stays."""
    gc.enable()
    gc.freeze()


def _runner(target: Any, action: str) -> Callable[[], object]:
    async def run() -> None:
        await target.run_action(action)

    return run
