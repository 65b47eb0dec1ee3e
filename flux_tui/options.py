"""Every option of the config file, once: its type, default, bounds and what it is for.

The classes are what the program reads (`config.app.theme`); their fields carry what the reader of the file, the written
template and the help need. Settings of a picture are not here: `flux_engine.fields` and `flux_tui.settings` know them.
No screen.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from flux_engine.request import is_whole
from flux_engine.where import MeshSizes, parse_mesh
from flux_tui.metadata import harmless
from flux_tui.terminal.notify import NoticeKind
from flux_tui.toml_file import nearest, rooted, shown

NotifyWhen = Literal["job", "queue"]
QueueAtStart = Literal["pause", "run", "drop"]
Graphics = Literal["auto", "kitty", "sixel", "half", "text"]

DEFAULT_THEME = "flux-dark"


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option, as people are told of it.

    Attributes:
        name: in its table of the file.
        default: what holds where the file says nothing; None is "unset", written "".
        help: a sentence or two.
        choices: all that it takes, where it takes a few words only.
        bounds: lowest and highest, of a whole number only.
        is_path: whether its text names a file or folder.
        read: what its text means, where that is no text; raises a ValueError.
        form: such a text, in words.
    """

    name: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    bounds: tuple[int, int] = (0, 0)
    is_path: bool = False
    read: Callable[[str], Any] | None = None
    form: str = ""

    @property
    def accepts(self) -> str:
        """What it takes, after "expected"."""
        if isinstance(self.default, bool):
            return "true or false"
        if isinstance(self.default, int):
            return "a whole number from {} to {}".format(*self.bounds)
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        return self.form or ("a path" if self.is_path else "plain text")

    def taken(self, value: Any, folder: Path) -> Any:
        """The option's value for a value of the file; relative paths are counted from `folder`.

        Raises:
            ValueError: it takes no such value; the message says what it takes.
        """
        if not self._takes(value):
            raise ValueError(self.accepts)
        if self.default is None and not value.strip():
            return None
        if self.read is not None:
            return self._read(value)
        return rooted(folder, value) if self.is_path else value

    def _read(self, text: str) -> Any:
        assert self.read is not None
        try:
            return self.read(text)
        except ValueError:
            raise ValueError(self.accepts) from None

    def _takes(self, value: Any) -> bool:
        if isinstance(self.default, bool):
            return isinstance(value, bool)
        if isinstance(self.default, int):
            return is_whole(value) and self.bounds[0] <= value <= self.bounds[1]
        return isinstance(value, str) and harmless(value) == value and (not self.choices or value in self.choices)


def _told(help: str, choices: tuple[str, ...] = (), bounds: tuple[int, int] = (0, 0), **more: Any) -> Any:
    return {"help": help, "choices": choices, "bounds": bounds, **more}


@dataclass(frozen=True, kw_only=True)
class AppOptions:
    """The table [app]."""

    theme: str = field(
        default=DEFAULT_THEME,
        metadata=_told("The colours: flux-dark, flux-light, flux-contrast, Textual's, or those of your themes folder."),
    )
    enter_generates: bool = field(
        default=True,
        metadata=_told("Whether Enter paints and Ctrl+J makes a new line; false swaps the two."),
    )
    mouse: bool = field(
        default=True,
        metadata=_told("Whether the app listens to the mouse; if not, the terminal itself selects text with it."),
    )
    ascii: bool = field(
        default=False,
        metadata=_told("Frames, bars and marks of ASCII only, for fonts without the others."),
    )
    low_bandwidth: bool = field(default=False, metadata=_told("Small, rare previews from the start, for a thin link."))
    sync: bool = field(
        default=True, metadata=_told("Whether a frame is sent as one (mode 2026); false where that flickers.")
    )
    notify: NoticeKind = field(
        default="off", metadata=_told("How the terminal tells you that something is done.", get_args(NoticeKind))
    )
    notify_when: NotifyWhen = field(
        default="queue",
        metadata=_told("When it tells you: after each job, or once the queue is empty.", get_args(NotifyWhen)),
    )
    queue_at_start: QueueAtStart = field(
        default="pause",
        metadata=_told("What becomes of a queue that the last run left behind.", get_args(QueueAtStart)),
    )
    gallery: Path | None = field(
        default=None, metadata=_told("The folder for pictures. Unset: flux-tui in your pictures folder.", is_path=True)
    )
    lora_folder: Path | None = field(
        default=None, metadata=_told("The folder of LoRAs. Unset: loras in the app's data folder.", is_path=True)
    )
    editor: str | None = field(
        default=None, metadata=_told("The command that edits a prompt outside. Unset: $VISUAL, then $EDITOR.")
    )
    mesh: MeshSizes | None = field(
        default=None,
        metadata=_told(
            "How several devices share the work. Unset: one device does it.",
            read=parse_mesh,
            form="data, sequence or tensor with a number each: data=2,tensor=4",
        ),
    )
    warm_up: bool = field(
        default=True,
        metadata=_told("Whether the engine starts and compiles while you type; if not, when you ask for a picture."),
    )
    confirm_quit: bool = field(
        default=True, metadata=_told("Whether quitting asks while a picture is being painted or waits.")
    )


@dataclass(frozen=True, kw_only=True)
class PreviewOptions:
    """The table [preview]."""

    graphics: Graphics = field(
        default="auto",
        metadata=_told("What draws pictures. auto asks the terminal, and never takes sixel.", get_args(Graphics)),
    )
    max_kbps: int = field(
        default=0,
        metadata=_told("The most that previews send, kilobytes a second. 0: by itself.", bounds=(0, 10**6)),
    )
    max_fps: int = field(default=8, metadata=_told("The most previews a second.", bounds=(1, 30)))


def options_of(section: type[AppOptions] | type[PreviewOptions]) -> dict[str, Option]:
    """The options of a table by name, in the order of the file."""
    return {f.name: Option(name=f.name, default=f.default, **f.metadata) for f in fields(section)}


MODIFIERS = ("ctrl", "alt", "shift", "super", "hyper", "meta")
NAMED_KEYS = (
    *("up", "down", "left", "right", "home", "end", "pageup", "pagedown", "insert", "delete"),
    *("enter", "tab", "escape", "backspace", "space", *(f"f{number}" for number in range(1, 25))),
    *("slash", "backslash", "at", "minus", "plus", "underscore", "less_than_sign", "greater_than_sign"),
)
"""Textual's names for keys without a sign, and for the signs that it calls otherwise than Unicode does."""


def key_names(text: str) -> str:
    """Keys as Textual writes them: "Ctrl+G, F5" becomes "ctrl+g,f5"; "" stays "", which unbinds.

    Raises:
        ValueError: a name that no key can have; the message says what is expected in its place.
    """
    return ",".join(_key_name(key.strip()) for key in text.split(",")) if text.strip() else ""


def _key_name(key: str) -> str:
    if len(key) == 1 and key.isprintable() and not key.isspace():
        return key  # "?" or "G": case tells a key with shift from one without
    *modifiers, last = key.lower().split("+")
    for modifier in modifiers:
        if modifier not in MODIFIERS:
            raise ValueError(f"{nearest(modifier, MODIFIERS) or 'ctrl, alt or shift'} in place of {shown(modifier)}")
    if modifiers == ["shift"] and len(last) == 1:
        return last.upper()  # how terminals and Textual write it
    if last in NAMED_KEYS or (len(last) == 1 and last.isalnum()) or _is_sign(last):
        return "+".join((*modifiers, last))
    meant = nearest(last, NAMED_KEYS)
    raise ValueError(f"{meant or 'a key such as f5, ctrl+g, pageup or question_mark'} in place of {shown(last)}")


def _is_sign(name: str) -> bool:
    """Whether it is Unicode's name for a sign, as Textual writes it: "question_mark"."""
    try:
        return unicodedata.lookup(name.replace("_", " ")).isprintable()
    except KeyError:
        return False
