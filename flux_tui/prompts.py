"""Every prompt that was ever run, kept apart from the pictures: deleting one loses no prompt.

    <state>/prompts.jsonl    one use a line, the last use last: {"prompt", "negative_prompt", "when", "uses"}

Lines are only added, each in one write, so that several programs may share the file; when it grows beyond its bounds
it is written anew with its newest prompts. Four megabytes take 0.1 s to read, on a slow disk much more: what touches
the disk may be called in any thread. Knows no screen.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from flux_engine.png import write_file
from flux_engine.request import is_whole
from flux_tui.locks import locked
from flux_tui.metadata import harmless

MAX_ENTRIES = 10_000
MAX_LINES = 12_500  # then the file is written anew, with each prompt once
MAX_BYTES = 4 * 1024 * 1024  # the same; three quarters stay, or it would happen at every prompt from then on
MAX_LINE_BYTES = 64 * 1024  # a longer prompt is a pasted file; T5 reads 512 tokens, about 2 KB

Texts = tuple[str, str | None]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A prompt with its negative prompt.

    Attributes:
        used_at: its last use, UTC, ISO 8601; "" where it is not known.
        uses: how many times it was run; 0 is a draft.
    """

    prompt: str
    negative_prompt: str | None = None
    used_at: str = ""
    uses: int = 0

    @property
    def texts(self) -> Texts:
        """What makes two entries the same."""
        return self.prompt, self.negative_prompt


class PromptHistory:
    """The history in a file, and a place in it for going back and forth. Making one touches no disk.

    Args:
        path: the file; it and its folder are made by the first prompt.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filed: dict[Texts, Entry] = {}
        self._unfiled: dict[Texts, Entry] = {}  # what the file has not taken: this session remembers it all the same
        self._waiting: list[Entry] = []  # for `file`
        self._adding = threading.Lock()  # of these two; nothing is waited for while it is held
        self._disk = threading.RLock()  # of everything about the file
        self._inode = self._lines = self._bytes = 0  # of the file, as far as it was read
        self.leave()

    def add(self, prompt: str, negative_prompt: str | None = None, now: datetime | None = None) -> None:
        """Note a use, without touching the disk; ends a walk through the history.

        Args:
            prompt, negative_prompt: what was run.
            now: when, with a zone; this moment if None.
        """
        self.leave()
        when = (now or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        entry = Entry(
            prompt=harmless(prompt), negative_prompt=harmless(negative_prompt or "") or None, used_at=when, uses=1
        )
        with self._adding:
            _fold(self._unfiled, entry)
            self._waiting.append(entry)

    def file(self) -> str | None:
        """Write what was added since the last time into the file.

        Returns:
            Why the file does not keep some of it, for a person; None when it does. This session remembers it in any
            case, and it is not tried again.
        """
        with self._disk:
            with self._adding:
                waiting, self._waiting = self._waiting, []
            reasons = [reason for entry in waiting if (reason := self._file(entry))]
            if waiting:
                self._compact()
        return f"The prompt history does not keep this one: {reasons[0]}." if reasons else None

    def _file(self, entry: Entry) -> str:
        """Why the file does not take an entry; "" when it does."""
        line = _line(entry)
        if len(line) > MAX_LINE_BYTES:
            return f"the prompt has {len(line)} bytes; expected {MAX_LINE_BYTES} at most"
        try:
            self._append(line)
        except OSError as error:
            return str(error.strerror or error)
        with self._adding:
            self._unfiled.pop(entry.texts, None)
        return ""

    def entries(self) -> list[Entry]:
        """Every prompt, its last use first; what other programs have added meanwhile is among them."""
        with self._disk:
            self._read()
            with self._adding:
                unfiled = dict(self._unfiled)
            newest = [entry for entry in reversed(self._filed.values()) if entry.texts not in unfiled]
        for entry in unfiled.values():  # the file's own order needs no clock; these have nothing else
            before = (place for place, filed in enumerate(newest) if filed.used_at <= entry.used_at)
            newest.insert(next(before, len(newest)), entry)
        return newest[:MAX_ENTRIES]

    def older(self, prompt: str, negative_prompt: str | None = None) -> Entry | None:
        """The prompt before the one on show; None at the oldest.

        Args:
            prompt, negative_prompt: what now stands in the pane, typed or changed: the way back finds it again.
        """
        return self._walk_on(1, Entry(prompt=prompt, negative_prompt=negative_prompt))

    def newer(self, prompt: str, negative_prompt: str | None = None) -> Entry | None:
        """The prompt after the one on show, the draft at last; None beyond it. The arguments are those of `older`."""
        return self._walk_on(-1, Entry(prompt=prompt, negative_prompt=negative_prompt))

    def leave(self) -> None:
        """End the walk: the next one starts from what then stands in the pane."""
        self._walk: list[Entry] = []
        self._place = 0

    def _walk_on(self, by: int, here: Entry) -> Entry | None:
        if not self._walk:
            self._walk = [here, *(entry for entry in self.entries() if entry.texts != here.texts)]
        if here.texts != self._walk[self._place].texts:
            self._walk[self._place] = here
        if not 0 <= self._place + by < len(self._walk):
            return None
        self._place += by
        return self._walk[self._place]

    def _append(self, line: bytes) -> None:
        with locked(self.path.parent):
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                size = os.fstat(handle).st_size
                if size and os.pread(handle, 1, size - 1) != b"\n":  # somebody was cut off in the middle of a line
                    line = b"\n" + line
                if os.write(handle, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(handle)

    def _read(self) -> None:
        """Take in the lines that the file has gained, or all of them when it was written anew."""
        try:
            with self.path.open("rb") as file:
                now = os.fstat(file.fileno())
                if now.st_ino != self._inode or now.st_size < self._bytes:
                    self._filed, self._inode, self._lines = {}, now.st_ino, 0
                    self._bytes = max(0, now.st_size - 2 * MAX_BYTES)
                file.seek(self._bytes)
                read = file.read(2 * MAX_BYTES)
        except OSError:  # not there yet, or not ours to read
            return
        whole = read[: read.rfind(b"\n") + 1]  # of a line that is just being written, the rest comes later
        self._bytes += len(whole)
        for line in whole.splitlines():
            self._lines += 1
            if entry := _entry(line):
                _fold(self._filed, entry)

    def _compact(self) -> None:
        """Write the file anew when it is beyond its bounds: each prompt once, the newest of them."""
        self._read()
        if self._lines <= MAX_LINES and self._bytes <= MAX_BYTES:
            return
        with contextlib.suppress(OSError), locked(self.path.parent):  # without, it stays as long as it is
            self._read()
            write_file(self.path, _newest(self._filed.values()), replace=True)


def holding(entries: Iterable[Entry], words: str) -> list[Entry]:
    """The entries whose prompts hold all the words, in any order and case."""
    wanted = words.casefold().split()
    return [entry for entry in entries if all(word in entry.prompt.casefold() for word in wanted)]


def _fold(entries: dict[Texts, Entry], entry: Entry) -> None:
    """Put a use last, with those before it counted in."""
    if before := entries.pop(entry.texts, None):
        entry = replace(entry, uses=entry.uses + before.uses)
    entries[entry.texts] = entry


def _line(entry: Entry) -> bytes:
    body = {"prompt": entry.prompt, "negative_prompt": entry.negative_prompt, "when": entry.used_at, "uses": entry.uses}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _entry(line: bytes) -> Entry | None:
    """The entry in a line; None when there is none."""
    try:
        body = json.loads(line)
        prompt, negative, uses = body["prompt"], body.get("negative_prompt"), body.get("uses", 1)
        return Entry(
            prompt=harmless(prompt),
            negative_prompt=harmless(negative or "") or None,
            used_at=harmless(str(body.get("when", ""))),
            uses=uses if is_whole(uses) and uses > 0 else 1,
        )
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        return None


def _newest(entries: Iterable[Entry]) -> bytes:
    """The lines of the newest entries, within the bounds, the last use last."""
    lines: list[bytes] = []
    room = MAX_BYTES * 3 // 4
    for entry in list(entries)[: -MAX_ENTRIES - 1 : -1]:
        room -= len(line := _line(entry))
        if room < 0:
            break
        lines.append(line)
    return b"".join(reversed(lines))
