"""The one working screen: prompt, settings, picture, history, and the line that says what goes on.

It turns keys into requests and the worker's news into what is seen. It holds no engine: `submit` and `cancel` are
handed in by the app.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.screen import Screen
from textual.widgets import Footer
from textual.worker import get_current_worker

from flux_engine.errors import RequestError
from flux_engine.request import GenerationRequest, PicturesReady, RGBImage, StageStarted, StepDone
from flux_tui.gallery import Gallery, SavedPicture
from flux_tui.keys import SCREEN_KEYS
from flux_tui.preview import read_image
from flux_tui.progress import JobProgress, duration_text
from flux_tui.widgets.history import History
from flux_tui.widgets.prompt_editor import PromptEditor
from flux_tui.widgets.settings_form import SettingsForm
from flux_tui.widgets.stage import WELCOME, Stage
from flux_tui.widgets.status_line import StatusLine
from flux_tui.worker import JobCancelled, JobEvent, JobFailed, JobQueued, JobSaved, JobStarted, JobUnsaved, News

FRAME_S = 0.125  # previews are painted at most 8 times a second
STATUS_S = 0.25  # the status line at most 4 times: Textual drops no frame, a slow link would fall behind

PROMPT_HELP = "F5 paints this prompt. F6 goes to the settings, F1 explains the keys."


class MainScreen(Screen[None]):
    """Prompt and settings on the left, picture and history on the right.

    Args:
        gallery: where the history is read from.
        submit: takes a request, returns its job id.
        cancel: takes a job id; False when the job is over.
        checkpoint_dir: the model the settings start with; None is the demo model.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*SCREEN_KEYS]

    def __init__(
        self,
        gallery: Gallery,
        submit: Callable[[GenerationRequest], int],
        cancel: Callable[[int], bool],
        checkpoint_dir: str | None = None,
    ) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-normal"), (160, "-wide")]
        self.VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-tall")]
        self._gallery = gallery
        self._submit = submit
        self._cancel = cancel
        self._waiting: list[int] = []
        self._job: int | None = None
        self._cancelling = False
        self._progress: JobProgress | None = None
        self._frame: tuple[RGBImage, tuple[str, ...]] | None = None  # the latest preview, not yet painted
        self._frame_at_s = 0.0
        self.prompt = PromptEditor(id="prompt")
        self.form = SettingsForm(checkpoint_dir, id="settings")
        self.stage = Stage(id="stage")
        self.history = History(id="history")
        self.status = StatusLine(id="status")

    def compose(self) -> ComposeResult:
        with Vertical(id="left"):
            yield self.prompt
            yield self.form
        with Vertical(id="right"):
            yield self.stage
            yield self.history
        yield self.status
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self._ticks = [
            self.set_interval(FRAME_S, self._paint_frame, pause=True),
            self.set_interval(STATUS_S, self._paint_status, pause=True),
        ]
        self.prompt.focus()
        self.status.say(PROMPT_HELP)
        self._read_history()

    @work(thread=True, exit_on_error=False, group="history")
    def _read_history(self) -> None:
        self.app.call_from_thread(self.history.put_earlier, self._gallery.newest())

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Cancel is offered only while there is something to cancel."""
        return self._busy if action == "cancel" else True

    @property
    def _busy(self) -> bool:
        return self._job is not None or bool(self._waiting)

    def action_generate(self) -> None:
        """Queue a picture of what stands in the panes."""
        if not self.prompt.text.strip():
            self.prompt.say("Say what to paint.")
            self.prompt.focus()
            return
        try:
            requests = self.form.requests(self.prompt.text)
        except RequestError as error:
            self.stage.say_fault("Not painted", str(error), error.hint)
            return
        if not requests:
            self.status.say("A setting needs another value; see the line below it.", "$text-error")
        for request in requests:
            self._submit(request)

    def action_cancel(self) -> None:
        """End the running job after its current step; with none running, the one that waits first."""
        if self._job is not None:
            self._cancelling = self._cancel(self._job)
            self._paint_status()
        elif self._waiting:
            self._cancel(self._waiting[0])

    def action_next_pane(self, direction: int) -> None:
        """Move the focus to another pane; a zoomed picture gives way."""
        self.remove_class("-zoomed")
        panes = (self.prompt, self.form, self.history)
        here = next((place for place, pane in enumerate(panes) if pane.has_focus_within), -1 if direction > 0 else 0)
        pane = panes[(here + direction) % len(panes)]
        if pane is self.form:
            self.form.focus_field()
        else:
            pane.focus()

    def action_zoom(self) -> None:
        """Give the picture the whole screen, and back."""
        self.toggle_class("-zoomed")

    # What the focus is on, said in the status line while nothing runs

    @on(SettingsForm.Focused)
    def _explain_field(self, event: SettingsForm.Focused) -> None:
        if event.fault:
            self.status.say(f"{event.field.label}: {event.fault}", "$text-error")
        else:
            self._say_at_rest(f"{event.field.label}: {event.field.help}")

    def on_descendant_focus(self) -> None:
        if self.prompt.has_focus:
            self._say_at_rest(PROMPT_HELP)
        elif self.history.has_focus:
            self._say_at_rest("Enter puts a picture's prompt and settings back. F6 goes to the prompt.")

    def _say_at_rest(self, text: str) -> None:
        if self._job is None:
            self.status.say(text)

    # History

    @on(History.Shown)
    def _show_saved(self, event: History.Shown) -> None:
        if self._job is None:
            self._load(event.picture)

    @on(History.Recalled)
    def _put_back(self, event: History.Recalled) -> None:
        request = event.picture.record.request
        self.prompt.put_back(request.prompt)
        self.form.put_back(request)
        if self._job is None:
            self._load(event.picture)
        self._say_at_rest("Prompt and settings are back; the seed is fixed. F5 paints it again.")

    @work(thread=True, exclusive=True, exit_on_error=False, group="picture")
    def _load(self, picture: SavedPicture) -> None:
        try:
            image: RGBImage | None = read_image(str(picture.path))
        except (OSError, ValueError):
            image = None
        if not get_current_worker().is_cancelled:  # by a later choice
            self.app.call_from_thread(self._show_loaded, image, picture)

    def _show_loaded(self, image: RGBImage | None, picture: SavedPicture) -> None:
        if self._job is not None:
            return
        if image is None:
            self.stage.say_fault("Not shown", f"{picture.path} cannot be read.", "Was it moved or deleted?")
        else:
            self.stage.show(image, _facts(picture.record.request, picture.path.name))

    # News from the worker

    def take(self, news: News) -> None:
        """Show what the worker says."""
        was_busy = self._busy
        self._show_news(news)
        if self._busy != was_busy:
            self.refresh_bindings()  # Cancel comes and goes; each call makes the footer anew, so not at every step

    def _show_news(self, news: News) -> None:
        match news:
            case JobQueued(job_id):
                self._waiting.append(job_id)
                if self._job is None:
                    self.status.say("starting", "bold $text-accent")
            case JobStarted(job_id, request):
                self._begin(job_id, request)
            case JobEvent(_, PicturesReady() as ready):
                self._frame = None
                self.stage.show(ready.images[0], _facts(ready.request))
                for warning in ready.warnings:
                    self.notify(warning, title="Note", severity="warning", timeout=10, markup=False)
            case JobEvent(_, StageStarted() | StepDone() as event, at_s):
                self._advance(event, at_s)
            case JobSaved(_, pictures):
                self._finish(news.job_id)
                self.history.add(pictures)
                self._say_saved(pictures)
            case JobUnsaved(_, message, hint, saved):
                self._finish(news.job_id)
                self.history.add(saved)
                self.status.say("Painted, but not saved.", "$text-error")
                self.notify(f"{message} {hint}", title="Not saved", severity="error", timeout=30, markup=False)
            case JobFailed(_, message, hint):
                self._finish(news.job_id)
                self.stage.say_fault("Not painted", message, hint)
                self.status.say("The picture was not painted. F3 gives the reason more room.", "$text-error")
                if self._waiting:  # the next picture soon covers the stage
                    self.notify(f"{message} {hint}", title="Not painted", severity="error", timeout=15, markup=False)
            case JobCancelled():
                self._finish(news.job_id)
                self.status.say("Cancelled. F5 paints again.")
                if self.stage.image is None:
                    self.stage.say(WELCOME)

    def _begin(self, job_id: int, request: GenerationRequest) -> None:
        self._waiting.remove(job_id)
        self._job, self._cancelling = job_id, False
        self._progress = JobProgress(num_steps=request.num_steps, started_at_s=time.monotonic())
        if self.stage.image is None:
            self.stage.say("The first steps will show here.")
        for tick in self._ticks:
            tick.resume()
        self._paint_status()

    def _advance(self, event: StageStarted | StepDone, at_s: float) -> None:
        if self._progress is None:
            return
        self._progress = self._progress.after(event, at_s)
        if isinstance(event, StageStarted):
            self._paint_status()
        elif event.preview is not None:
            self._frame = (event.preview, (f"step {event.step} of {event.num_steps}",))
            if time.monotonic() - self._frame_at_s >= FRAME_S:
                self._paint_frame()

    def _paint_frame(self) -> None:
        if self._frame is not None:
            self.stage.show(*self._frame)
            self._frame = None
            self._frame_at_s = time.monotonic()

    def _paint_status(self) -> None:
        if self._job is not None and self._progress is not None:
            now_s = time.monotonic()
            self.status.show(self._progress, now_s, waiting=len(self._waiting), cancelling=self._cancelling)

    def _finish(self, job_id: int) -> None:
        if job_id in self._waiting:  # cancelled before its turn
            self._waiting.remove(job_id)
            return
        self._paint_frame()
        for tick in self._ticks:
            tick.pause()
        self._job, self._cancelling = None, False

    def _say_saved(self, pictures: tuple[SavedPicture, ...]) -> None:
        if not pictures or self._progress is None:
            return
        took = duration_text(self._progress.elapsed_s(time.monotonic()))
        name = f"{pictures[0].day}/{pictures[0].path.name}"
        more = f" and {len(pictures) - 1} more" if len(pictures) > 1 else ""
        self.status.say(f"Saved {name}{more} in {took}.", "$text-success")


def _facts(request: GenerationRequest, name: str = "") -> tuple[str, ...]:
    """What the caption says of a picture, the most important first."""
    facts = (f"{request.width} x {request.height}", f"seed {request.seed}", f"{request.num_steps} steps", name)
    return tuple(fact for fact in facts if fact)
