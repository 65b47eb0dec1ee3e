"""What trainers write about a LoRA into its file, beside the weights. Stdlib only.

Knows the header of a safetensors file and reads nothing behind it. Everything in it was written by strangers: sizes
are bounded, text comes out without control characters, and rubbish is as good as nothing.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from heapq import nlargest
from pathlib import Path
from typing import Any

from flux_engine.errors import CheckpointCorrupt, CheckpointNotFound
from flux_engine.request import is_number
from flux_engine.weights.opening import opened

MAX_HEADER_BYTES = 32 * 2**20  # the largest of a FLUX.1 LoRA has a tenth: 3,000 tensors, and the tags of its pictures
MAX_TRIGGER_WORDS = 12
MAX_TRIGGER_CHARACTERS = 80

# Where people and programs write them: the Model Metadata Standard (modelspec), ComfyUI's and CivitAI's tools.
_EXPLICIT = ("modelspec.trigger_phrase", "trigger_phrase", "trigger_words", "trigger_word", "ss_trigger_words")
_TAGS = "ss_tag_frequency"  # kohya's: {"10_folder": {"tag": count}}; ai-toolkit writes its trigger word there, too


def read_metadata(file: Path) -> dict[str, str]:
    """The `__metadata__` of a safetensors file; {} if it has none. Reads the header only, at most MAX_HEADER_BYTES.

    Raises:
        CheckpointNotFound: there is no such file, or it may not be read.
        CheckpointCorrupt: it is no safetensors file.
    """
    try:
        with opened(file) as its:
            start = its.read(8)
            size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if size > MAX_HEADER_BYTES:
                raise ValueError(f"its header would have {size} bytes")
            header = json.loads(its.read(size))
        if not isinstance(header, dict):
            raise ValueError("its header is no object")
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointNotFound(f"{file} cannot be read: {reason}.", hint="Check its name and permissions.") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointCorrupt(
            f"{file} is no safetensors file ({printable(str(error))}).", hint="Copy or download it again."
        ) from error
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict):
        return {}
    return {key: value for key, value in metadata.items() if isinstance(value, str)}


def trigger_words(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Words that a prompt needs for the LoRA to show, as its trainer wrote them, or the most frequent tags.

    At most MAX_TRIGGER_WORDS, each on one line and at most MAX_TRIGGER_CHARACTERS long. Raises nothing.
    """
    told = _harmless(word for key in _EXPLICIT for word in _words(metadata.get(key)))
    return told or _harmless(_frequent_tags(metadata.get(_TAGS)))


def _harmless(words: Iterable[str]) -> tuple[str, ...]:
    found = (printable(word, MAX_TRIGGER_CHARACTERS) for word in words)
    return tuple(dict.fromkeys(word for word in found if word))[:MAX_TRIGGER_WORDS]


def printable(text: str, limit: int = 200) -> str:
    """The text on one line, without what a terminal obeys, cut to `limit` characters."""
    visible = "".join(sign if sign.isprintable() else " " for sign in text[: 4 * limit])
    line = " ".join(visible.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _words(value: object) -> list[str]:
    """Words of a list in JSON, or with commas between them."""
    if not isinstance(value, str):
        return []
    listed = parsed(value)
    if isinstance(listed, list):
        return [word for word in listed if isinstance(word, str)]
    return value[: 4 * MAX_TRIGGER_WORDS * MAX_TRIGGER_CHARACTERS].split(",")


def _frequent_tags(value: object) -> list[str]:
    counts: dict[str, float] = {}
    for tag, count in _tags(parsed(value) if isinstance(value, str) else None):
        counts[tag] = counts.get(tag, 0) + count
    return nlargest(2 * MAX_TRIGGER_WORDS, counts, key=counts.__getitem__)


def _tags(folders: object) -> Iterator[tuple[str, float]]:
    for tags in folders.values() if isinstance(folders, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if is_number(count) and tag.strip():
                yield tag.strip(), float(count)


def parsed(text: str) -> Any:
    """What JSON says; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
