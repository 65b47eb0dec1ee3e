"""The one working screen: prompt, settings, picture, queue, history, and the line that says where things stand.

It turns messages of one pane into calls of others. It holds no engine: the worker and its queue are handed in by the
app. What its keys do is in `flux_tui.screens.actions`, what the worker says is shown by `flux_tui.screens.news`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input

from flux_engine.request import GenerationRequest
from flux_tui.gallery import Gallery
from flux_tui.glyphs import glyphs
from flux_tui.keys import SCREEN_KEYS
from flux_tui.layout import PANES, Pane
from flux_tui.loras import in_short
from flux_tui.screens.actions import ActionScreen
from flux_tui.screens.album import Album
from flux_tui.screens.compositor import NearCompositor
from flux_tui.screens.easel import Easel
from flux_tui.screens.finder import Finder
from flux_tui.screens.forethought import Forethought
from flux_tui.screens.news import Newsroom
from flux_tui.screens.presets import Presets
from flux_tui.screens.queue_desk import carry_out
from flux_tui.session import Session
from flux_tui.tokens import Counts, CountsUnavailable, TokenCounter
from flux_tui.widgets.history import NEXT_LOOK, History
from flux_tui.widgets.history_cells import Look
from flux_tui.widgets.key_footer import KeyFooter
from flux_tui.widgets.prompt_pane import PROMPT_SCREEN_KEYS, PromptPane
from flux_tui.widgets.queue_pane import QueuePane
from flux_tui.widgets.settings_form import SettingsForm
from flux_tui.widgets.settings_keys import SETTINGS_SCREEN_KEYS
from flux_tui.widgets.stage import Stage
from flux_tui.widgets.status_line import StatusLine
from flux_tui.worker import News, Worker

HINTS: dict[Pane, str] = {
    "prompt": "{generate-from-prompt} paints, {newline} breaks the line.",
    "queue": "{cancel-job} cancels, {edit-job} edits, {move-job-up} and {move-job-down} move, {pause-queue} pauses.",
    "history": "{open-picture} opens, {star} stars. Recall "
    "{recall-all} all, {recall-prompt} prompt, {recall-seed} seed, {remix} all but seed, {recall-size} size.",
    "picture": "{newer-picture} and {older-picture} show others. {copy-path} copies the path, {keymap} shows all keys.",
}
"""What the keys of a pane are, said in the status line when it gets the focus."""


class MainScreen(ActionScreen):
    """Everything that a picture is made with.

    Args:
        gallery: where the history is read from.
        worker: where requests go.
        session: config and what the last run left.
        stage: the picture's pane, made for this terminal.
        checkpoint_dir: the model the settings start with; None is the demo model.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*SCREEN_KEYS, *PROMPT_SCREEN_KEYS, *SETTINGS_SCREEN_KEYS]

    @dataclass
    class TokensCounted(Message):
        """The counter's thread has counted."""

        counts: Counts | CountsUnavailable

    def __init__(
        self,
        gallery: Gallery,
        worker: Worker,
        session: Session,
        stage: Stage,
        checkpoint_dir: str | None = None,
    ) -> None:
        super().__init__(_pane(session.layout("pane", "prompt")), _pane(session.layout("list", "history")))
        self._compositor = NearCompositor()
        self.gallery = gallery
        self.worker = worker
        self.session = session
        self._count_tokens = TokenCounter(self._tokens_counted)
        signs = glyphs(session.option("ascii"))
        self.prompt = PromptPane(
            session.state.prompt,
            session.state.negative_prompt,
            history=session.prompts,
            dot=signs.dot,
            id="prompt",
        )
        self.form = SettingsForm(session.first_texts(checkpoint_dir), signs, id="settings")
        self.stage = stage
        self.queue = QueuePane(signs, id="queue")
        self.history = History(gallery, signs, id="history")
        self.history.thumbnails = stage.picture.canvas.graphics != "text"
        self.history.thin_link = session.option("low_bandwidth")
        self.status = StatusLine(id="status")
        self._next_hint = ""
        self.easel = Easel(stage)
        self.newsroom = Newsroom(self, worker, session)
        self.album = Album(self)
        self.finder = Finder(self, session, signs.ellipsis)
        self.forethought = Forethought(self)
        self.presets = Presets(self, session, signs.ellipsis)

    def compose(self) -> ComposeResult:
        yield self.tabs
        yield self.prompt
        yield self.form
        yield self.stage
        yield self.queue
        yield self.history
        yield self.small
        yield KeyFooter()
        yield self.status

    def on_mount(self) -> None:
        self.prompt.show_negative(self.form.avoids)
        self.history.look = _look(self.session.layout("look", ""))
        self.newsroom.open()
        self.arrange_panes()
        self.go_to(self.chosen)
        self.aside(self._read_history)
        self.call_after_refresh(self._count)
        self.call_after_refresh(self.forethought.settings_changed)

    def on_screen_resume(self) -> None:
        self.stage.picture.redraw()

    def on_unmount(self) -> None:
        self._count_tokens.stop()

    def take(self, news: News) -> None:
        """Show what the worker says."""
        self.newsroom.take(news)

    # Threads

    def aside(self, function: Callable[..., object], *arguments: object) -> threading.Thread:
        """Run what touches a disk in a thread that holds nothing up: a mount that hangs does not keep the app alive."""
        thread = threading.Thread(target=function, args=arguments, name="flux-disk", daemon=True)
        thread.start()
        return thread

    def to_screen(self, function: Callable[..., object], *arguments: object) -> None:
        """Call something in the screen's thread, from another one, and wait for its end."""
        with contextlib.suppress(Exception):  # the app has ended: nobody is left to tell
            self.app.call_from_thread(function, *arguments)

    def _read_history(self) -> None:
        days, stars = list(self.gallery.days()), self.gallery.starred
        self.to_screen(self.history.put_days, days)
        self.to_screen(self.history.show_stars, stars)

    # Panes

    def go_to(self, name: Pane) -> None:
        super().go_to(name)
        self._look_away()
        self.keep()

    def zoom(self, zoomed: bool) -> None:
        super().zoom(zoomed)
        self._look_away()

    def _look_away(self) -> None:
        """An old picture is before the one that is being painted only as long as it has the whole screen."""
        if not self.is_zoomed and (self.easel.is_looking or self.newsroom.is_painting):
            self.album.leave()

    def focus_pane(self, pane: Widget) -> None:
        if pane is self.form:
            self.form.focus_field()
        elif pane is self.prompt:
            self.prompt.focus_editor()
        else:
            pane.focus()

    def hint_next(self, hint: str) -> None:
        """Say this when the focus comes to a pane, in place of that one's own hint; with action ids for their keys."""
        self._next_hint = hint

    def on_descendant_focus(self) -> None:
        for name, hint in HINTS.items():
            if self.pane(name).has_focus_within:
                self.status.say(self.with_keys(self._next_hint or hint))
                self._next_hint = ""

    # Prompt and settings

    @on(PromptPane.Edited)
    def _prompt_edited(self) -> None:
        self._count()
        self.keep()

    def _count(self) -> None:
        self._count_tokens.count(self.prompt.text, self.form.model)

    @on(SettingsForm.Changed)
    def _settings_changed(self) -> None:
        self.forethought.settings_changed()
        self.prompt.show_negative(self.form.avoids)
        self._count()
        self.keep()

    def _tokens_counted(self, counts: Counts | CountsUnavailable) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is left to tell
            self.post_message(self.TokensCounted(counts))

    def on_main_screen_tokens_counted(self, message: TokensCounted) -> None:
        self.prompt.count_shown(message.counts)
        self.form.say_of_model(message.counts.reason if isinstance(message.counts, CountsUnavailable) else "")

    @on(Input.Submitted)
    def _submitted(self) -> None:
        self.action_generate()

    @on(SettingsForm.NegativeNamed)
    def _take_negative(self, event: SettingsForm.NegativeNamed) -> None:
        self.prompt.put_back(self.prompt.text, event.negative_prompt)

    @on(SettingsForm.Focused)
    def _explain_field(self, event: SettingsForm.Focused) -> None:
        if event.fault:
            self.status.say(f"{event.field.label}: {event.fault}", "$text-error")
        else:
            self.status.say(f"{event.field.label}: {event.field.help}")

    # The queue

    @on(QueuePane.Asked)
    def _change_queue(self, event: QueuePane.Asked) -> None:
        carry_out(event, self)

    # The history

    @on(History.Shown)
    def _show_picture(self, event: History.Shown) -> None:
        self.album.show_soon(event.picture)

    @on(History.Opened)
    def _open_picture(self, event: History.Opened) -> None:
        self.album.open(event.picture)

    @on(History.Starred)
    def _star_picture(self, event: History.Starred) -> None:
        self.album.star(event.picture, event.starred)

    @on(History.Discarded)
    def _discard_picture(self, event: History.Discarded) -> None:
        self.album.discard(event.path)

    @on(History.Refused)
    def _say_why_not(self, event: History.Refused) -> None:
        self.album.refuse(event.path, event.fault)

    @on(History.Recalled)
    def _recall_picture(self, event: History.Recalled) -> None:
        self.album.recall(event.picture, event.what)

    def put_back(self, request: GenerationRequest) -> None:
        """Put a request into the panes; its seed stays fixed."""
        self.prompt.put_back(request.prompt, request.negative_prompt or "")
        self.form.put_back(in_short(request, self.session.lora_folder))

    # What is kept

    def keep(self) -> None:
        self.session.keep(prompt=self.prompt.text, negative_prompt=self.prompt.negative, settings=self.form.texts)
        self.session.keep_layout(pane=self.chosen, list=self.listed, look=self.history.look or "")
        self.newsroom.write_soon()


def _pane(name: str) -> Pane:
    return next((pane for pane in PANES if pane == name), "prompt")


def _look(name: str) -> Look | None:
    return next((look for look in NEXT_LOOK if look == name), None)
