"""A file of prompts: one a line, as plain words or as a JSON object of settings. Knows no parser and no engine."""

from __future__ import annotations

import difflib
import json
import os
import sys
from pathlib import Path
from typing import Any

from flux_engine.display import say
from flux_engine.errors import RequestError
from flux_engine.fields import FIELD
from flux_engine.lora_text import parse_loras
from flux_engine.request import LoraUse

STDIN = "-"
KNOWN = ("prompt", *FIELD)
HINT = 'A line that starts with { is a JSON object; a prompt that does goes inside one: {"prompt": "{...}"}.'


def prompt_lines(name: str) -> list[tuple[int, str]]:
    """The lines that ask for something, with their numbers from 1.

    Bytes that are not UTF-8 are kept as surrogates: the request that has them in its prompt refuses them, alone.

    Raises:
        RequestError: the file cannot be read, or asks for nothing.
    """
    try:
        data = _read_stdin() if name == STDIN else Path(os.path.expanduser(name)).read_bytes()
    except OSError as error:
        raise RequestError(
            f"{name} cannot be read: {error.strerror}.", hint="Name a file of prompts, or - for stdin."
        ) from None
    text = data.decode("utf-8-sig", "surrogateescape")
    numbered = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
    lines = [(number, line) for number, line in numbered if line and not line.startswith("#")]
    if not lines:
        raise RequestError(f"{name} has no prompt.", hint="Write one a line.")
    return lines


def _read_stdin() -> bytes:
    if sys.stdin is None:
        raise OSError(0, "stdin is closed")
    if sys.stdin.isatty():
        say("Type prompts, one a line; Ctrl+D at the start of a line ends.")
    return sys.stdin.buffer.read()


def settings_in(line: str, *, only_json: bool = False) -> dict[str, Any]:
    """The settings that a line gives, by field name; "prompt" is among them.

    Raises:
        RequestError: it starts with { and is no JSON object with a prompt, or names a setting that there is not;
            or it starts otherwise and `only_json` is true.
    """
    if not line.startswith("{"):
        if only_json:
            raise RequestError("a .jsonl file has JSON objects; expected a { first.")
        return {"prompt": line}
    settings = _json_object(line)
    if unknown := [name for name in settings if name not in KNOWN]:
        raise RequestError(f"no setting: {', '.join(map(_unknown, unknown))}.", hint=f"There are {', '.join(KNOWN)}.")
    if "prompt" not in settings:
        raise RequestError("there is no prompt.", hint='Add "prompt": "what to paint".')
    if "checkpoint_dir" in settings:
        settings["checkpoint_dir"] = _folder(settings["checkpoint_dir"])
    if isinstance(settings.get("loras"), str):
        settings["loras"] = _loras(settings["loras"])
    return settings


def _loras(text: str) -> tuple[LoraUse, ...]:
    try:
        return parse_loras(text)
    except RequestError as error:
        raise RequestError(f"loras is {text[:60]!r}. {error}", hint='Write them as "ink:0.8; film".') from None


def _json_object(line: str) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError as error:
        raise RequestError(f"no JSON: {error.msg} at column {error.colno}.", hint=HINT) from None
    except (ValueError, RecursionError):  # a number of 5000 digits, a thousand brackets
        raise RequestError("no JSON that could be read.", hint=HINT) from None
    return settings


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, KNOWN, 1)
    return f"{name[:40]!r}" + (f" (did you mean {near[0]!r}?)" if near else "")


def _folder(value: object) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise RequestError(f"checkpoint_dir is {value!r}; expected text.", hint="Name a checkpoint's folder or file.")
    return os.path.abspath(os.path.expanduser(value))
