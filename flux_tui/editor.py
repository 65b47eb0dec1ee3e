"""A prompt in the user's own editor, and back.

The text goes through a temporary file that nobody else may read. Whatever goes wrong, the old text stays, and what
the editor had saved stays in that file. Knows no screen: whoever calls has given up the terminal before, and catches
`EditorError` before taking it back (Textual's `App.suspend()` does not resume after an exception).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from flux_engine.errors import FluxError
from flux_tui.metadata import harmless

USUAL_EDITORS = ("vi", "nano")
MAX_BYTES = 4 * 1024 * 1024

UNCHANGED = "The prompt is as it was."


class EditorError(FluxError):
    """The editor could not be run, or what it left behind cannot be used."""


def run_in_terminal(command: Sequence[str]) -> int:
    """Run a command on the terminal and wait; its exit status, or minus the signal that ended it.

    Descriptors 1 and 2 may lead to the log (`flux_tui.terminal.output`), so it gets the ones that Textual paints on.
    Ctrl+C in it is its own affair.
    """
    with _deaf_to_interrupts():
        return subprocess.call(command, stdin=sys.__stdin__, stdout=sys.__stdout__, stderr=sys.__stderr__)


def edit_outside(
    text: str, editor_command: str | None = None, run: Callable[[Sequence[str]], int] = run_in_terminal
) -> str:
    """The text as an editor has left it.

    Args:
        text: what to edit.
        editor_command: the editor of the config, with its arguments, quoted as in a shell; without it `$VISUAL`,
            `$EDITOR`, and then vi or nano.
        run: runs a command, and returns its exit status.

    Raises:
        EditorError: there is no editor, it ended with an error, or its text is not UTF-8 or longer than `MAX_BYTES`.
    """
    command = find_editor(editor_command)
    written = f"{text}\n".encode("utf-8", "replace")  # editors want a last line end; this one is taken off again
    path = _temporary(written)
    try:
        _run(command, path, run)
        edited = _read(path)
    except EditorError as error:
        error.hint = _what_became_of(path, written)
        raise
    path.unlink(missing_ok=True)
    return edited


def find_editor(editor_command: str | None = None) -> list[str]:
    """The editor's command in words: the config's own, else `$VISUAL`, `$EDITOR`, or what this machine has.

    Raises:
        EditorError: there is none, or its quotes are not closed.
    """
    for command in (editor_command, os.environ.get("VISUAL"), os.environ.get("EDITOR")):
        if not (command or "").strip():
            continue
        try:
            return shlex.split(command or "")
        except ValueError as error:
            raise EditorError(
                f"The editor {command!r} is no command ({error}).", hint="Set $VISUAL, or app.editor in the config."
            ) from error
    if found := next(filter(shutil.which, USUAL_EDITORS), None):
        return [found]
    raise EditorError(
        f"There is no editor: $VISUAL and $EDITOR are not set, and none of {', '.join(USUAL_EDITORS)} is installed.",
        hint="Set $VISUAL, or app.editor in the config.",
    )


def _temporary(data: bytes) -> Path:
    """A new file that only its owner can read."""
    try:
        handle, name = tempfile.mkstemp(prefix="flux-prompt-", suffix=".txt")
        with open(handle, "wb") as file:
            file.write(data)
    except OSError as error:
        raise EditorError(
            f"The prompt could not be written for the editor: {error.strerror or error}.", hint="Is the disk full?"
        ) from error
    return Path(name)


def _run(command: list[str], path: Path, run: Callable[[Sequence[str]], int]) -> None:
    try:
        status = run([*command, str(path)])
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EditorError(f"The editor {command[0]!r} could not be run: {reason}.") from error
    if status:
        raise EditorError(
            f"The editor {command[0]!r} ended with status {status}; expected 0."
            if status > 0
            else f"The editor {command[0]!r} was ended by signal {-status}."
        )


def _read(path: Path) -> str:
    """What the editor has saved, without the newline at its end."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise EditorError(f"The editor's file cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise EditorError("The editor saved a text that is not UTF-8.") from error
    if len(data) > MAX_BYTES:
        raise EditorError(f"The editor saved a text of more than {MAX_BYTES} bytes.")
    return harmless(text).removesuffix("\n")


def _what_became_of(path: Path, written: bytes) -> str:
    """A hint; removes the file when there is nothing new in it."""
    try:
        with path.open("rb") as file:
            is_new = file.read(len(written) + 1) != written
    except OSError:
        return UNCHANGED
    if is_new:
        return f"{UNCHANGED} What the editor saved is in {path}."
    path.unlink(missing_ok=True)
    return UNCHANGED


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """While this lasts, Ctrl+C ends nothing here: it goes to every program of the terminal. A child hears it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: None)  # SIG_IGN would be inherited
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
