"""`flux-tui loras`: the files of the LoRA folder, with their sizes and trigger words. Knows flags and lines."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence

from flux_engine.arguments import DONE, FAILED
from flux_engine.display import Stdout, say
from flux_tui.loras import LoraFile, lora_files, trigger_words_of
from flux_tui.verbs import Verbs, configured, lora_folder


def add_parser(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """The flags."""
    parser = verbs.add_parser(
        "loras",
        help="what lies in the LoRA folder",
        description="List the LoRA folder: the names that --lora and the app take, sizes, and trigger words.",
        epilog="The folder is lora_folder in the config, else loras in the app's data. Other files go by their paths.",
    )
    parser.add_argument("--json", action="store_true", help="JSON lines on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """List; the exit status."""
    folder = lora_folder(configured(arguments))
    try:
        found = lora_files(folder)
    except OSError as error:
        say(f"error: {folder} cannot be read: {error.strerror}. Name another one as lora_folder in the config.")
        return FAILED
    if not found:
        say(f"No LoRA yet: put .safetensors files into {folder}")
    Stdout().write(*(line.encode() for line in (_json_lines(found) if arguments.json else _lines(found))))
    return DONE


def _lines(found: Sequence[LoraFile]) -> Iterator[str]:
    from rich.cells import cell_len

    from flux_tui.cell_text import padded
    from flux_tui.progress import bytes_text

    width = max((cell_len(file.name) for file in found), default=0)
    for file in found:
        size, words = bytes_text(file.size_bytes), ", ".join(trigger_words_of(file.path))
        yield f"{padded(file.name, width)}  {size:>7}  {words}".rstrip()


def _json_lines(found: Sequence[LoraFile]) -> Iterator[str]:
    for file in found:
        words = trigger_words_of(file.path)
        told = {"name": file.name, "path": str(file.path), "bytes": file.size_bytes, "trigger_words": words}
        yield json.dumps(told)
