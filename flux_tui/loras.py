"""The LoRA folder: which files lie there, what short name stands for each, which words trigger them.

Knows names and folders, and the words that a file's header tells. What a LoRA changes, and whether it fits the model,
the engine sees.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from flux_engine.errors import FluxError, RequestError
from flux_engine.lora_text import SUFFIX, loras_text, parse_loras
from flux_engine.request import GenerationRequest, LoraUse
from flux_engine.weights.lora_metadata import printable, read_metadata, trigger_words

MAX_FILES = 2000  # the rest of a larger drawer is reached by path
MAX_ENTRIES = 50_000  # of all kinds; somebody may name the root of a disk
MAX_DEPTH = 4  # folders in folders: a link that leads in a circle ends here
MAX_NAME = 30  # signs of a name in a caption


@dataclass(frozen=True)
class LoraFile:
    """A file of the LoRA folder: `name` is what stands for it in a field, "style/ink"."""

    name: str
    path: Path
    size_bytes: int


def lora_files(folder: Path) -> list[LoraFile]:
    """The LoRAs in a folder and in those below it, by name; without the folder, none.

    A name that a terminal cannot show, or that cannot stand in a line of names, is passed over.

    Raises:
        OSError: the folder is there and cannot be read.
    """
    try:
        found = list(islice(_files_below(folder), MAX_FILES))
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda file: (file.name.casefold(), file.name))


def _files_below(folder: Path) -> Iterator[LoraFile]:
    waiting, seen = [(folder, 0)], 0
    while waiting and seen < MAX_ENTRIES:
        here, depth = waiting.pop()
        with contextlib.suppress(*([OSError] if depth else [])), os.scandir(here) as entries:
            for entry in entries:
                seen += 1
                if not entry.name.isprintable() or entry.name.startswith("."):
                    continue
                path = here / entry.name
                with contextlib.suppress(OSError):  # a link to nowhere, a file that went meanwhile
                    if entry.is_dir() and depth < MAX_DEPTH:
                        waiting.append((path, depth + 1))
                    elif entry.name.endswith(SUFFIX) and _has_name(path, folder) and entry.is_file():
                        yield LoraFile(short_name(str(path), folder), path, entry.stat().st_size)


def _has_name(file: Path, folder: Path) -> bool:
    """Whether its name can stand in a line: one with "; " in it would be two, one that begins with a space another."""
    use = LoraUse(file=short_name(str(file), folder))
    try:
        return parse_loras(loras_text([use])) == (use,)
    except RequestError:
        return False


def trigger_words_of(file: Path) -> tuple[str, ...]:
    """The words that a LoRA was trained to answer to, as its file tells; none of a file that cannot be read."""
    try:
        return trigger_words(read_metadata(file))
    except FluxError:  # what is wrong with it is said when it is used
        return ()


# Names and paths


def path_of(file: str, folder: Path) -> str:
    """Where a file lies that a person named: in the LoRA folder, with or without its suffix.

    A path from the root, from a home, or from the current folder as it begins with "./" or "../", is taken as it is.
    """
    path = os.path.abspath(file) if file.startswith(("./", "../")) else os.path.expanduser(file)
    within = folder / path  # the path itself where it is one from the root
    return str(within if os.path.isabs(path) or file.endswith(SUFFIX) else f"{within}{SUFFIX}")


def short_name(file: str, folder: Path) -> str:
    """What stands for a file in a field: its name in the LoRA folder without the suffix, else the whole path."""
    if file.endswith(SUFFIX) and Path(file).is_relative_to(folder):
        name = str(Path(file).relative_to(folder))
        short = name.removesuffix(SUFFIX)
        return next((each for each in (short, name) if path_of(each, folder) == file), file)
    return file


def located(request: GenerationRequest, folder: Path) -> GenerationRequest:
    """The request with a path for each LoRA that a person named.

    Raises:
        RequestError: two names mean one file.
    """
    return _renamed(request, lambda file: path_of(file, folder))


def in_short(request: GenerationRequest, folder: Path) -> GenerationRequest:
    """The request with the name that stands for each LoRA in a field."""
    return _renamed(request, lambda file: short_name(file, folder))


def _renamed(request: GenerationRequest, rename: Callable[[str], str]) -> GenerationRequest:
    return replace(request, loras=tuple(replace(lora, file=rename(lora.file)) for lora in request.loras))


def listed(loras: tuple[LoraUse, ...]) -> str:
    """LoRAs as a caption names them: "ink 0.8, film"."""
    return ", ".join(_listed(lora) for lora in loras)


def _listed(lora: LoraUse) -> str:
    name = printable(Path(lora.file).name.removesuffix(SUFFIX), MAX_NAME)
    return name if lora.strength == 1 else f"{name} {lora.strength:g}"
