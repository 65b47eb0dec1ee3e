"""A TOML file that a person wrote: its values, and the lines on which they stand.

Knows no option. What is wrong in the file is said in one line each; whoever reads it decides what that means.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flux_engine.errors import FluxError

MAX_BYTES = 1024 * 1024  # a thousand times a long config; beyond it somebody named the wrong file

_PART = r"""[\w-]+|"[^"]*"|'[^']*'"""
_KEY = rf"(?:{_PART})(?:\s*\.\s*(?:{_PART}))*"
_HEADER = re.compile(rf"\s*\[\[?\s*({_KEY})\s*\]")
_ASSIGNMENT = re.compile(rf"\s*({_KEY})\s*=")
_LONG_TEXT = re.compile(r'"{3}.*?"{3}|\'{3}.*?\'{3}', re.DOTALL)


class TomlFileError(FluxError):
    """A file that cannot be read, or is no TOML. The message names the file, line and column."""


@dataclass(frozen=True)
class TomlFile:
    """A file's values, and where they stand.

    Attributes:
        path: the file.
        data: its values, as `tomllib` gives them.
        text: the whole file.
    """

    path: Path
    data: dict[str, Any]
    text: str = field(repr=False)

    def lines_about(self, faults: Iterable[tuple[tuple[str, ...], str]]) -> list[str]:
        """What is wrong, from the top: "config.toml, line 3: ...".

        Args:
            faults: the keys that lead to a value, and what is said of it. A value without a line of its own has that
                of the table around it.
        """
        lines = dict(reversed(list(_lines(self.text))))  # of two that look alike, the first
        found = []
        for keys, words in faults:
            line = next((lines[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in lines), 0)
            found.append((line, f"{self.path.name}{f', line {line}' if line else ''}: {words}"))
        return [text for _, text in sorted(found)]


def read_toml(path: Path) -> TomlFile:
    """Read a file.

    Raises:
        FileNotFoundError: it is not there.
        TomlFileError: it cannot be read, is too long, is not UTF-8 or no TOML.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise TomlFileError(f"{path.name} cannot be read: {error.strerror}.") from error
    if len(raw) > MAX_BYTES:
        raise TomlFileError(f"{path.name} is longer than {MAX_BYTES} bytes; expected a text that a person wrote.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise TomlFileError(f"{path.name}, line {line}: not UTF-8; expected TOML in UTF-8.") from error
    return TomlFile(path, parsed(path, text), text)


def parsed(path: Path, text: str) -> dict[str, Any]:
    """The values of a text; `path` is named in what is said of it.

    Raises:
        TomlFileError: it is no TOML.
    """
    import tomllib

    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise TomlFileError(f"{path.name} is nested too deeply; expected tables and values.") from error
    except ValueError as error:
        what, _, place = str(error).partition(" (at ")
        where = ", ".join(part for part in (path.name, place.rstrip(")")) if part)
        raise TomlFileError(f"{where}: no TOML: {what}.") from error


def _lines(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Every key of a text with its line, from 1. Inline tables are not looked into."""
    table: tuple[str, ...] = ()
    text = _LONG_TEXT.sub(lambda match: "\n" * match[0].count("\n"), text)
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _HEADER.match(line):
            table = _parts(header[1])
            yield table, number
        elif assignment := _ASSIGNMENT.match(line):
            yield table + _parts(assignment[1]), number


def _parts(key: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in re.findall(_PART, key))


def shown(value: Any, limit: int = 60) -> str:
    """A value as a message quotes it: one line, cut, with nothing in it that a terminal obeys."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def plain(name: str) -> str:
    """A key as a message names it: quoted where it holds what a terminal obeys."""
    return name if name.isprintable() and len(name) <= 60 else shown(name)


def in_short(faults: Sequence[str], rest: str, most: int = 3) -> str:
    """Faults in one message: the first `most`, and how many more there are; `rest` says where these can be read."""
    more = len(faults) - most
    return "\n".join((*faults[:most], *([f"And {more} more. {rest}"] if more > 0 else [])))


def parted(fault: str) -> tuple[str, str]:
    """Where something is wrong ("" if it does not say so), and what."""
    where, _, what = fault.partition(": ")
    return (where, what) if what else ("", fault)


def unknown(name: str, known: Iterable[str], where: str = "", listed: str = "") -> str:
    """What is said of a name that is not among `known`: "them is unknown; did you mean theme?".

    Of more than 20 names, `listed` says where they can be read.
    """
    known = list(known)
    what = f"{where}{plain(name)} is unknown"
    if near := nearest(name, known):
        return f"{what}; did you mean {near}?"
    if not known:
        return f"{what}; there is none."
    if len(known) > 20:
        return f"{what}; {listed or f'expected one of {len(known)} others'}."
    return f"{what}; expected one of {', '.join(known)}."


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that was probably meant; "" if none is near."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name.lower()[:60], list(known), n=1)), "")


def rooted(folder: Path, text: str) -> Path:
    """A path that stands in a file of `folder`: `~` replaced, relative ones counted from there."""
    return folder.absolute() / os.path.expanduser(text)
