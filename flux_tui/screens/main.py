"""The one working screen: prompt, settings, picture, queue, history, and the line that says where things stand.

It turns keys into requests, and messages of one pane into calls of others. It holds no engine: the worker and its queue
are handed in by the app. What the worker says is shown by `flux_tui.screens.news`.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Footer, Input

from flux_engine.errors import FluxError, RequestError
from flux_engine.fields import texts_of
from flux_engine.request import GenerationRequest, RGBImage
from flux_tui import editor, styles
from flux_tui.gallery import Gallery, SavedPicture
from flux_tui.glyphs import glyphs
from flux_tui.keys import SCREEN_KEYS
from flux_tui.layout import PANES, Pane
from flux_tui.preview import read_image
from flux_tui.prompts import Entry
from flux_tui.screens.jump import JumpScreen
from flux_tui.screens.news import Newsroom
from flux_tui.screens.panes import PaneScreen
from flux_tui.screens.picker import Picker
from flux_tui.session import Session
from flux_tui.settings import SEED_USE
from flux_tui.tokens import Counts, CountsUnavailable, TokenCounter
from flux_tui.widgets.history import NEXT_LOOK, History
from flux_tui.widgets.history_cells import Look
from flux_tui.widgets.prompt_pane import PROMPT_SCREEN_KEYS, PromptPane
from flux_tui.widgets.queue_pane import QueuePane
from flux_tui.widgets.settings_form import SettingsForm
from flux_tui.widgets.stage import Stage
from flux_tui.widgets.status_line import StatusLine
from flux_tui.worker import News, Worker

HINTS: dict[Pane, str] = {
    "prompt": "{generate-from-prompt} paints, {newline} breaks the line.",
    "queue": "x cancels, e edits, K and J move, Space pauses.",
    "history": "Enter opens, a recalls, r all but the seed.",
    "picture": "y copies the path, ? shows all keys.",
}
"""What the keys of a pane are, said in the status line when it gets the focus."""


class MainScreen(PaneScreen):
    """Everything that a picture is made with.

    Args:
        gallery: where the history is read from.
        worker: where requests go.
        session: config and what the last run left.
        stage: the picture's pane, made for this terminal.
        checkpoint_dir: the model the settings start with; None is the demo model.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*SCREEN_KEYS, *PROMPT_SCREEN_KEYS]

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
        self.gallery = gallery
        self._worker = worker
        self._session = session
        self._count_tokens = TokenCounter(self._tokens_counted)
        self._signs = signs = glyphs(session.option("ascii"))
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
        self.newsroom = Newsroom(self, worker, session)
        self._wanted: SavedPicture | None = None  # of the history, to be read and shown

    def compose(self) -> ComposeResult:
        yield self.tabs
        yield self.prompt
        yield self.form
        yield self.stage
        yield self.queue
        yield self.history
        yield self.small
        yield Footer(show_command_palette=False)
        yield self.status

    def on_mount(self) -> None:
        self.prompt.show_negative(self.form.avoids)
        self.history.look = _look(self._session.layout("look", ""))
        self.stage.say(self.welcome)
        self.newsroom.open()
        self.arrange_panes()
        self.go_to(self.chosen)
        self._aside(self._read_history)
        self.call_after_refresh(self._count)
        for fault in self._session.faults:
            self.notify(fault, title="Config and state", severity="warning", timeout=30, markup=False)

    def on_screen_resume(self) -> None:
        self.stage.picture.redraw()

    def on_unmount(self) -> None:
        self._count_tokens.stop()

    def go_to(self, name: Pane) -> None:
        super().go_to(name)
        self.keep()

    def focus_pane(self, pane: Widget) -> None:
        if pane is self.form:
            self.form.focus_field()
        elif pane is self.prompt:
            self.prompt.focus_editor()
        else:
            pane.focus()

    def _aside(self, function: Callable[..., object], *arguments: object) -> None:
        """Run what touches a disk in a thread that holds nothing up: a mount that hangs does not keep the app alive."""
        threading.Thread(target=function, args=arguments, name="flux-disk", daemon=True).start()

    def _to_screen(self, function: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(Exception):  # the app has ended: nobody is left to tell
            self.app.call_from_thread(function, *arguments)

    def _read_history(self) -> None:
        days, stars = list(self.gallery.days()), self.gallery.starred
        self._to_screen(self.history.put_days, days)
        self._to_screen(self.history.show_stars, stars)

    def take(self, news: News) -> None:
        """Show what the worker says."""
        self.newsroom.take(news)

    def key(self, action_id: str) -> str:
        """The first key of an action, as people write it."""
        return str(self.app.key_of(action_id))  # type: ignore[attr-defined]

    @property
    def welcome(self) -> str:
        """What the stage says before the first picture."""
        return f"Say in the prompt what to paint,\nthen press {self.key('generate')}."

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Cancel is offered only while there is something to cancel."""
        return self.newsroom.is_busy if action == "cancel" else True

    def action_generate(self, front: bool = False) -> None:
        """Queue pictures of what stands in the panes."""
        prompt, negative = self.prompt.text, self.prompt.negative.strip() or None if self.form.avoids else None
        if not prompt.strip():
            self.go_to("prompt")
            self.prompt.say("Say what to paint.")
            return
        try:
            requests = self.form.requests(prompt, negative)
        except RequestError as error:
            self.stage.say_fault("Not painted", str(error), error.hint)
            self.status.say(str(error), "$text-error")
            return
        if not requests:
            self.go_to("settings")
            self.status.say("A setting needs another value; see the line below it.", "$text-error")
            return
        if note := self._session.prompts.add(prompt, negative):
            self.notify(note, severity="warning", markup=False)
        self._worker.submit(*requests, front=front)
        if self._worker.queue.paused:
            self.status.say(f"It waits: the queue is paused. {self.key('pause')} lets it go on.")
        self.keep()

    def action_cancel(self) -> None:
        """End the running job as soon as it can; with none running, the one that waits first."""
        self.newsroom.cancel()

    def action_next_pane(self, step: int) -> None:
        """Go so many panes on."""
        self.next_pane(step)

    def action_pane(self, name: Pane) -> None:
        """Go to a pane."""
        self.go_to(name)

    def action_leave_editor(self) -> None:
        """From text to where single letters are keys."""
        self.go_to("picture")

    def action_zoom(self) -> None:
        """Give the picture the whole screen, and back."""
        self.zoom(not self.is_zoomed)

    def action_leave_zoom(self) -> None:
        """Give the other panes their places back."""
        if self.is_zoomed:
            self.zoom(False)

    def action_lock_seed(self) -> None:
        """Fix the seed, or let it be random again."""
        locked = self.form.lock_seed()
        self.status.say(f"The seed stays {self.form.texts['seed']}." if locked else "Every picture gets a new seed.")

    def action_reset_settings(self) -> None:
        """Put the config's defaults, or the model's own, into the form."""
        self.form.put(self._session.default_texts(self.form.model))

    def action_swap_sides(self) -> None:
        """Exchange width and height."""
        self.form.swap_sides()
        self.status.say("Now {width} x {height}.".format(**self.form.texts))

    def action_pause(self) -> None:
        """Hold the queue, or let it go on."""
        self._worker.queue.pause(not self._worker.queue.paused)

    def action_copy(self, what: str) -> None:
        """Copy something about the picture on show."""
        picture = self.newsroom.shown
        if picture is None:
            self.status.say("There is no saved picture on show.")
            return
        self.app.copy_to_clipboard(str(picture.path) if what == "path" else picture.record.request.prompt)

    def action_jump(self) -> None:
        """Label panes and fields with letters; the next key goes there."""
        panes: dict[str, Pane] = {"p": "prompt", "s": "settings", "v": "picture", "q": "queue", "h": "history"}
        named = [(k, pane if (pane := self.pane(name)).display else self.tabs.tabs[name]) for k, name in panes.items()]
        letters = "bcdefgijklmnortuwxyz"  # without those of the panes
        fields = [(key, row.control) for key, row in zip(letters, self.form.rows.values(), strict=False)]
        shown = [(key, widget) for key, widget in [*named, *fields] if widget.is_on_screen]
        self.app.push_screen(JumpScreen(shown), self._jumped)

    def _jumped(self, target: str | None) -> None:
        if target is None:
            return
        for name in PANES:
            if name == target.removeprefix("tab-"):
                self.go_to(name)
        if target in self.form.rows:
            self.form.rows[target].control.focus()

    # Choosing by name

    async def action_search_prompts(self) -> None:
        """Find a prompt that was run before."""

        def find(words: str) -> Sequence[tuple[str, Entry]]:
            return [(entry.prompt, entry) for entry in self._session.prompts.search(words)]

        def take(entry: Entry) -> None:
            self._put_prompt(entry.prompt, entry.negative_prompt)

        await self._pick("Prompts run before", find, take)

    async def action_pick_style(self) -> None:
        """Put the prompt into a named style."""
        found, faults = styles.styles(self._session.config_path.parent)
        for fault in faults:
            self.notify(fault, title="Styles", severity="warning", markup=False)

        def find(typed: str) -> Sequence[tuple[str, str]]:
            return [(f"{name:<12} {found[name]}", found[name]) for name in styles.matching(found, typed)]

        await self._pick("Styles", find, lambda text: self._put_prompt(styles.apply(text, self.prompt.text)))

    async def action_pick_preset(self) -> None:
        """Take a preset's settings."""
        presets = self._session.config.presets

        def find(typed: str) -> Sequence[tuple[str, str]]:
            return [(f"{name:<12} {_listed(presets[name])}", name) for name in styles.matching(presets, typed)]

        empty = "Nothing matches." if presets else "No presets yet: write [presets.NAME] in the config."
        await self._pick("Presets", find, lambda name: self.form.put_values(presets[name]), empty)

    async def _pick(
        self, title: str, find: Callable[[str], Any], take: Callable[[Any], object], empty: str = "Nothing matches."
    ) -> None:
        def taken(value: Any) -> None:
            if value is not None:
                take(value)

        picker = Picker(title, find, empty=empty, ellipsis=self._signs.ellipsis)
        await self.app.push_screen(picker, taken)  # awaited: the keys that follow in one burst are for the picker

    def _put_prompt(self, prompt: str, negative_prompt: str | None = None) -> None:
        self.prompt.put_back(prompt, self.prompt.negative if negative_prompt is None else negative_prompt)
        self.go_to("prompt")

    def action_edit_outside(self) -> None:
        """Edit the prompt in the user's own editor."""
        text, fault = self.prompt.editor_in_use.text, None
        with self.app.suspend():
            try:
                text = editor.edit_outside(text, self._session.config.app.editor)
            except FluxError as error:  # in here: Textual does not come back from a suspension that an error ends
                fault = error
        self.stage.picture.redraw()  # kitty drops what stood on the screen that was left
        if fault:
            self.notify(f"{fault} {fault.hint}", title="Not edited", severity="error", timeout=15, markup=False)
        else:
            self.prompt.replace(text)

    # What the panes say

    @on(PromptPane.Edited)
    def _prompt_edited(self) -> None:
        self._count()
        self.keep()

    def _count(self) -> None:
        self._count_tokens.count(self.prompt.text, self.form.model)

    @on(SettingsForm.Changed)
    def _settings_changed(self) -> None:
        self.prompt.show_negative(self.form.avoids)
        self._count()
        self.keep()

    def _tokens_counted(self, counts: Counts | CountsUnavailable) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is left to tell
            self.post_message(self.TokensCounted(counts))

    def on_main_screen_tokens_counted(self, message: TokensCounted) -> None:
        self.prompt.count_shown(message.counts)

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

    def on_descendant_focus(self) -> None:
        for name, hint in HINTS.items():
            if self.pane(name).has_focus_within:
                self.status.say(KEY.sub(lambda key: self.key(key[1]), hint))

    @on(QueuePane.Cancel)
    def _cancel_job(self, event: QueuePane.Cancel) -> None:
        self._worker.queue.cancel(event.job_id)

    @on(QueuePane.CancelWaiting)
    def _cancel_waiting(self) -> None:
        self._worker.queue.cancel_waiting()

    @on(QueuePane.Pause)
    def _pause_queue(self, event: QueuePane.Pause) -> None:
        self._worker.queue.pause(event.paused)

    @on(QueuePane.Move)
    def _move_job(self, event: QueuePane.Move) -> None:
        self._worker.queue.move(event.job_id, event.by)

    @on(QueuePane.Retry)
    def _retry_job(self, event: QueuePane.Retry) -> None:
        self._worker.queue.retry(event.job_id)

    @on(QueuePane.Forget)
    def _forget_finished(self) -> None:
        self._worker.queue.forget_finished()

    @on(QueuePane.Edit)
    def _edit_job(self, event: QueuePane.Edit) -> None:
        """A job that waits leaves the queue for the panes; of another one a copy does."""
        job = self._worker.queue.get(event.job_id)
        if job is not None:
            self._worker.queue.take_back(job.id)
            self.put_back(job.request)
            self.go_to("prompt")

    # History

    @on(History.Shown)
    def _show_saved(self, event: History.Shown) -> None:
        if not self.newsroom.is_painting:
            self.load(event.picture)

    @on(History.Opened)
    def _open(self, event: History.Opened) -> None:
        self.load(event.picture)
        self.zoom(True)

    @on(History.Starred)
    def _star(self, event: History.Starred) -> None:
        self._aside(self._keep_star, event.picture.path, event.starred)

    def _keep_star(self, path: Path, starred: bool) -> None:
        try:
            self.gallery.star(path, starred)
        except FluxError as error:
            self.notify(f"{error} {error.hint}", title="Not starred", severity="error", markup=False)
            self._to_screen(self.history.show_stars, self.gallery.starred)

    @on(History.Recalled)
    def _recall(self, event: History.Recalled) -> None:
        request, texts = event.picture.record.request, texts_of(event.picture.record.request)
        match event.what:
            case "all":
                self.put_back(request)
            case "prompt":
                self.prompt.put_back(request.prompt, request.negative_prompt or "")
            case "seed":
                self.form.put({"seed": texts["seed"], SEED_USE.name: "fixed"})
            case "remix":
                self.prompt.put_back(request.prompt, request.negative_prompt or "")
                self.form.put({name: text for name, text in texts.items() if name != "seed"})
            case "size":
                self.form.put({name: texts[name] for name in ("width", "height")})
        self.status.say(f"Put back: {RECALLED[event.what]}. {self.key('generate')} paints.")

    def put_back(self, request: GenerationRequest) -> None:
        """Put a request into the panes; its seed stays fixed."""
        self.prompt.put_back(request.prompt, request.negative_prompt or "")
        self.form.put_back(request)

    def load(self, picture: SavedPicture) -> None:
        """Read a picture's file and show it, unless another is chosen meanwhile."""
        self._wanted = picture
        self._aside(self._load, picture)

    def _load(self, picture: SavedPicture) -> None:
        try:
            image: RGBImage | None = read_image(str(picture.path))
        except (OSError, ValueError, SyntaxError):  # the last is Pillow's word for a PNG with a broken header
            image = None
        if picture is self._wanted:
            self._to_screen(self.newsroom.show_saved, image, picture)

    # What is kept

    def keep(self) -> None:
        """Note what stands in the panes, for the next start."""
        self._session.keep(prompt=self.prompt.text, negative_prompt=self.prompt.negative, settings=self.form.texts)
        self._session.keep_layout(pane=self.chosen, list=self.listed, look=self.history.look or "")
        self.newsroom.write_soon()


KEY = re.compile(r"\{([a-z-]+)\}")  # an action's id in a hint

RECALLED = {
    "all": "prompt and settings, the seed too",
    "prompt": "the prompt",
    "seed": "the seed",
    "remix": "everything but the seed",
    "size": "width and height",
}


def _pane(name: str) -> Pane:
    return next((pane for pane in PANES if pane == name), "prompt")


def _look(name: str) -> Look | None:
    return next((look for look in NEXT_LOOK if look == name), None)


def _listed(values: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
