"""What the keys of the working screen do: one method for each action that `flux_tui.keys` gives a key.

Most are one call of a pane, or of who knows: the newsroom for what is being painted, the album for the history, the
finder for what is chosen by name.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

from flux_engine.errors import FluxError, RequestError
from flux_tui import editor
from flux_tui.layout import Pane
from flux_tui.loras import located
from flux_tui.screens.album import Album
from flux_tui.screens.easel import Easel
from flux_tui.screens.finder import Finder
from flux_tui.screens.news import Newsroom
from flux_tui.screens.panes import PaneScreen
from flux_tui.screens.presets import Presets
from flux_tui.session import Session
from flux_tui.widgets.history import What
from flux_tui.widgets.prompt_pane import PromptPane
from flux_tui.widgets.settings_form import SettingsForm
from flux_tui.widgets.stage import Stage
from flux_tui.widgets.status_line import StatusLine
from flux_tui.worker import Worker

ID = re.compile(r"\{([a-z-]+)\}")


class ActionScreen(PaneScreen):
    """Abstract: a subclass makes these, and composes them."""

    prompt: PromptPane
    form: SettingsForm
    stage: Stage
    status: StatusLine
    easel: Easel
    newsroom: Newsroom
    album: Album
    finder: Finder
    presets: Presets
    worker: Worker
    session: Session

    def key(self, action_id: str) -> str:
        """The first key of an action, as people write it."""
        return str(self.app.key_of(action_id))  # type: ignore[attr-defined]

    def aside(self, function: Callable[..., object], *arguments: object) -> threading.Thread:
        """Run what touches a disk in a thread."""
        raise NotImplementedError

    def with_keys(self, words: str) -> str:
        """Words in which an action's id in braces stands for its key."""
        return ID.sub(lambda id: self.key(id[1]), words)

    def keep(self) -> None:
        """Note what stands in the panes, for the next start."""
        raise NotImplementedError

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer what there is something for: to cancel, to put back, to star."""
        match action:
            case "cancel":
                return self.newsroom.is_busy
            case "recall" | "star" | "discard":
                return self.easel.shown is not None
        return True

    # Painting

    def action_generate(self, front: bool = False) -> None:
        """Queue pictures of what stands in the panes."""
        prompt, negative = self.prompt.text, self.prompt.negative.strip() or None if self.form.avoids else None
        if not prompt.strip():
            self.go_to("prompt")
            self.prompt.say("Say what to paint.")
            return
        try:
            asked = self.form.requests(prompt, negative)
            requests = [located(request, self.session.lora_folder) for request in asked]
        except RequestError as error:
            self.newsroom.say_fault(str(error), error.hint)
            self.status.say(str(error), "$text-error")
            return
        if not requests:
            self.go_to("settings")
            self.status.say("A setting needs another value; see the line below it.", "$text-error")
            return
        self.session.prompts.add(prompt, negative)
        self.aside(self._file_prompt)
        if not self.newsroom.is_busy:
            self.album.leave()  # who asks for a picture wants to see it
        self.worker.submit(*requests, front=front)
        self.newsroom.say_waiting()
        self.keep()

    def _file_prompt(self) -> None:
        if note := self.session.prompts.file():
            self.notify(note, severity="warning", markup=False)

    def action_cancel(self) -> None:
        """End the running job as soon as it can; with none running, the one that waits first."""
        self.newsroom.cancel()

    def action_pause(self) -> None:
        """Hold the queue, or let it go on."""
        self.newsroom.pause(not self.worker.queue.paused)

    # Panes

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

    # Settings

    def action_lock_seed(self) -> None:
        """Fix the seed, or let it be random again."""
        locked = self.form.lock_seed()
        self.status.say(f"The seed stays {self.form.texts['seed']}." if locked else "Every picture gets a new seed.")

    def action_reset_settings(self) -> None:
        """Put the config's defaults, or the model's own, into the form."""
        self.form.put(self.session.default_texts(self.form.model))
        self.status.say(f"The defaults are in the form. {self.key('settings-back')} brings the old settings back.")

    def action_settings_back(self) -> None:
        """Bring back the settings before the last change."""
        if self.form.undo():
            self.status.say(f"The settings before. {self.key('settings-forth')} goes on to the later ones.")
        else:
            self.status.say("There are no settings before these.")

    def action_settings_forth(self) -> None:
        """Go on to the settings that were taken back."""
        self.status.say("The settings after." if self.form.redo() else "There are no settings after these.")

    def action_swap_sides(self) -> None:
        """Exchange width and height."""
        self.form.swap_sides()
        self.status.say("Now {width} x {height}.".format(**self.form.texts))

    # The picture on show

    def action_copy(self, what: str) -> None:
        """Copy something about the picture on show."""
        self.album.copy_shown(what)

    def action_recall(self, what: What) -> None:
        """Put the request of the picture on show back, or a part of it."""
        self.album.recall_shown(what)

    def action_star(self) -> None:
        """Star the picture on show, or take its star away."""
        self.album.star_shown()

    def action_discard(self) -> None:
        """Throw the picture on show away."""
        self.album.discard_shown()

    def action_restore(self) -> None:
        """Bring back what was thrown away last."""
        self.album.restore()

    def action_walk(self, step: int) -> None:
        """Show the picture so many places down the history."""
        self.album.walk(step)

    # Choosing by name

    def action_jump(self) -> None:
        """Label panes and fields with letters; the next key goes there."""
        self.finder.jump()

    async def action_search_prompts(self) -> None:
        """Find a prompt that was run before."""
        await self.finder.prompt()

    async def action_pick_style(self) -> None:
        """Put the prompt into a named style."""
        await self.finder.style()

    async def action_pick_model(self) -> None:
        """Put a model that has a name into the form."""
        await self.finder.model()

    async def action_pick_lora(self) -> None:
        """Choose LoRAs and their strengths."""
        await self.finder.loras()

    async def action_pick_preset(self) -> None:
        """Take a preset's settings."""
        await self.presets.take()

    async def action_save_preset(self) -> None:
        """Keep the form's settings under a name."""
        await self.presets.save()

    async def action_delete_preset(self) -> None:
        """Forget a preset."""
        await self.presets.delete()

    def action_edit_outside(self) -> None:
        """Edit the prompt in the user's own editor."""
        text, fault = self.prompt.editor_in_use.text, None
        with self.app.suspend():
            try:
                text = editor.edit_outside(text, self.session.config.app.editor)
            except FluxError as error:  # in here: Textual does not come back from a suspension that an error ends
                fault = error
        self.stage.picture.redraw()  # kitty drops what stood on the screen that was left
        if fault:
            self.notify(f"{fault} {fault.hint}", title="Not edited", severity="error", timeout=15, markup=False)
        else:
            self.prompt.replace(text)
