"""What comes of the history's keys: its pictures are read and shown, put back into the panes, starred, copied.

Files are read and written in threads. What stands on the stage is the easel's; what the cursor is on, the history's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual.timer import Timer

from flux_engine.errors import FluxError
from flux_engine.fields import texts_of
from flux_engine.request import RGBImage
from flux_tui import trash
from flux_tui.gallery import SavedPicture
from flux_tui.loader import GONE
from flux_tui.loras import in_short
from flux_tui.preview import read_image
from flux_tui.settings import SEED_USE
from flux_tui.widgets.history import What

if TYPE_CHECKING:
    from flux_tui.screens.main import MainScreen

QUIET_S = 0.15  # a still is as much as the terminal can show: not one for each key of a cursor that runs down the list

RECALLED: dict[What, str] = {
    "all": "Put back: all. Undo: {settings-back} here, and in the prompt.",
    "prompt": "Put back: the prompt. Undo: {editor-undo} in the prompt.",
    "seed": "Put back: the seed. Undo: {settings-back}.",
    "remix": "Put back: all but the seed. Undo: {settings-back} here, and in the prompt.",
    "size": "Put back: width and height. Undo: {settings-back}.",
}


class Album:
    """The pictures of the history, as far as the screen deals with them.

    Args:
        screen: whose panes they come into.
    """

    def __init__(self, screen: MainScreen) -> None:
        self._screen = screen
        self._wanted: SavedPicture | None = None  # to be read and shown
        self._quiet: Timer | None = None
        self._discarded: list[Path] = []  # what `_restore` brings back, the last one first
        self._changing: threading.Thread | None = None
        self._walked_to: Path | None = None  # until that picture is on show
        self._refusal = ""  # what the status line says, as long as the cursor stays

    @property
    def _is_hidden(self) -> bool:
        """Whether a picture that is being painted has precedence: it has, but where another was opened large."""
        return self._screen.newsroom.is_painting and not self._screen.is_zoomed

    # Showing

    def show_soon(self, picture: SavedPicture) -> None:
        """Show a picture that the cursor came to, once it rests there."""
        self._stop_waiting()
        if self._refusal and self._screen.status.content.plain == self._refusal:
            self._screen.status.say("")
        if self._is_hidden:
            self._walked_to = None
        else:
            self._quiet = self._screen.set_timer(QUIET_S, partial(self.load, picture))

    def open(self, picture: SavedPicture) -> None:
        """Show a picture large, whatever is being painted."""
        self._screen.zoom(True)
        self.load(picture)

    def walk(self, step: int) -> None:
        """Show the picture so many places down the history; above the newest is the one being painted."""
        shown, history = self._screen.easel.shown, self._screen.history
        here = self._walked_to or (shown.path if shown else None)
        if history.walk(here, step):
            self._walked_to = history.path
            self._screen.status.say(f"{history.place} of {history.count}.")
        elif step < 0 and here and self._screen.newsroom.is_painting:
            self.leave()
        else:
            self._screen.status.say("There is no newer picture." if step < 0 else "There is no older picture.")

    def load(self, picture: SavedPicture) -> None:
        """Read a picture's file and show it, unless another is chosen meanwhile."""
        self._stop_waiting()
        self._wanted = picture
        self._screen.aside(self._load, picture)

    def leave(self) -> None:
        """What is being painted is to be seen again."""
        self._stop_waiting()
        self._wanted = self._walked_to = None
        self._screen.easel.look_away()

    def _stop_waiting(self) -> None:
        if self._quiet is not None:
            self._quiet.stop()

    def _load(self, picture: SavedPicture) -> None:
        try:
            image: RGBImage | None = read_image(str(picture.path))
        except (OSError, ValueError, SyntaxError):  # the last is Pillow's word for a PNG with a broken header
            image = None
        if picture is self._wanted:
            self._screen.to_screen(self._show, image, picture)

    def _show(self, image: RGBImage | None, picture: SavedPicture) -> None:
        easel, stage = self._screen.easel, self._screen.stage
        if picture is not self._wanted:
            return
        if self._is_hidden:
            self._walked_to = None
            return
        if picture.path == self._screen.history.path:  # the cursor may be further on already
            self._walked_to = None if image else picture.path  # one that cannot be read is passed over by the next key
        if image is None:
            fault = "Not shown", f"{picture.path} cannot be read.", "Was it moved or deleted?"
            if self._screen.newsroom.is_painting:
                self._screen.status.say(f"{fault[1]} {fault[2]}", "$text-error")
            else:
                easel.words(partial(stage.say_fault, *fault))
        elif self._screen.newsroom.is_painting:
            easel.look(image, picture, f"{self._screen.key('leave-zoom')} shows the one painted last")
            self._screen.newsroom.show_progress()
        else:
            easel.show(image, picture)

    def refuse(self, path: Path, fault: str) -> None:
        """Say why a file of the history is neither shown nor put back."""
        self._stop_waiting()
        self._wanted = None
        hint = "" if fault == GONE else f"{self._screen.key('discard')} moves it to the trash."
        self._refusal = f"{_name(path)}: {fault}. {hint}".rstrip()
        self._screen.status.say(self._refusal)
        if not self._screen.newsroom.is_painting:
            self._screen.easel.words(partial(self._screen.stage.say_fault, "Not shown", f"{path}: {fault}.", hint))

    # The picture on show

    def recall_shown(self, what: What) -> None:
        """Put the request of the picture on show back, or a part of it."""
        if picture := self._shown():
            self.recall(picture, what)

    def star_shown(self) -> None:
        """Star the picture on show, or take its star away."""
        if picture := self._shown():
            self._screen.history.star(picture)

    def discard_shown(self) -> None:
        """Throw the picture on show away."""
        shown = self._screen.easel.shown
        path = self._walked_to or (shown.path if shown else None)
        if path is None or not self._screen.history.holds(path):
            self._say_nothing_is_shown()
            return
        self._screen.history.discard(path)
        self._walked_to = self._screen.history.path  # what the next key means, though it is yet to be read

    def copy_shown(self, what: str) -> None:
        """Copy the path or the prompt of the picture on show."""
        if picture := self._shown():
            text = str(picture.path) if what == "path" else picture.record.request.prompt
            self._screen.app.copy_to_clipboard(text, what.capitalize())  # type: ignore[call-arg]

    def _shown(self) -> SavedPicture | None:
        """The picture on show, or the one that is about to be."""
        history = self._screen.history
        coming = history.picture if history.path == self._walked_to else None
        picture = coming if self._walked_to else self._screen.easel.shown
        if picture is None:
            self._say_nothing_is_shown()
        return picture

    def _say_nothing_is_shown(self) -> None:
        self._screen.status.say("There is no saved picture on show.")

    # What is put back, and what is kept

    def recall(self, picture: SavedPicture, what: What) -> None:
        """Put a picture's request into the panes, or a part of it."""
        request = picture.record.request
        texts = texts_of(in_short(request, self._screen.session.lora_folder))
        prompt, form = self._screen.prompt, self._screen.form
        match what:
            case "all":
                self._screen.put_back(request)
            case "prompt":
                prompt.put_back(request.prompt, request.negative_prompt or "")
            case "seed":
                form.put({"seed": texts["seed"], SEED_USE.name: "fixed"})
            case "remix":
                prompt.put_back(request.prompt, request.negative_prompt or "")
                form.put({name: text for name, text in texts.items() if name != "seed"})
            case "size":
                form.put({name: texts[name] for name in ("width", "height")})
        self._screen.status.say(self._screen.with_keys(RECALLED[what]))

    def star(self, picture: SavedPicture, starred: bool) -> None:
        """Keep a star that the history shows already, or that it is gone."""
        self._in_turn(self._keep_star, picture.path, starred)

    def discard(self, path: Path) -> None:
        """Throw a picture away that the history does not show any more."""
        self._stop_waiting()
        self._wanted = None
        if not self._screen.history.count and not self._screen.newsroom.is_painting:
            self._screen.newsroom.welcome()
        self._in_turn(self._discard, path)

    def restore(self) -> None:
        """Bring back what was thrown away last in this session."""
        self._in_turn(self._restore)

    # In a thread, one after another: each is said when it is done, and what is shown already is taken back when not

    def _in_turn(self, change: Callable[..., None], *arguments: object) -> None:
        self._changing = self._screen.aside(self._change, self._changing, change, *arguments)

    def _change(self, before: threading.Thread | None, change: Callable[..., None], *arguments: object) -> None:
        if before is not None:
            before.join()
        change(*arguments)

    def _keep_star(self, path: Path, starred: bool) -> None:
        gallery = self._screen.gallery
        try:
            gallery.star(path, starred)
        except FluxError as error:
            self._say_fault("Not starred", error)
            self._screen.to_screen(self._screen.history.show_stars, gallery.starred)
        else:
            self._say(f"{_name(path)} is starred." if starred else f"{_name(path)} has no star any more.")

    def _discard(self, path: Path) -> None:
        try:
            trash.discard(self._screen.gallery.root, path)
        except FluxError as error:
            self._say_fault("Not moved", error)
            if path.exists():
                self._screen.to_screen(self._screen.history.show_again, path)
        else:
            self._discarded.append(path)
            self._say(f"{_name(path)} is in the trash. {self._screen.key('restore')} brings it back.")

    def _restore(self) -> None:
        if not self._discarded:
            self._say("Nothing thrown away in this session is left to bring back.")
            return
        root, path = self._screen.gallery.root, self._discarded.pop()
        try:
            trash.restore(root, path)
        except FluxError as error:
            if trash.holds(root, path):
                self._discarded.append(path)
            self._say_fault("Not moved", error)
        else:
            self._say(f"{_name(path)} is back.")
            self._screen.to_screen(self._screen.history.show_again, path)

    def _say(self, words: str) -> None:
        self._screen.to_screen(self._screen.status.say, words)

    def _say_fault(self, title: str, error: FluxError) -> None:
        self._screen.notify(f"{error} {error.hint}", title=title, severity="error", markup=False)


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
