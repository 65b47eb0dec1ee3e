"""A folder of files that say what trainers say of a LoRA, and hold no weights."""

from __future__ import annotations

import json
import struct
from pathlib import Path


def write_lora(file: Path, **metadata: str) -> Path:
    """A safetensors file with this metadata and no tensor."""
    header = json.dumps({"__metadata__": metadata}).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    return file


def fill(folder: Path) -> Path:
    """Four LoRAs, one of them in a folder below, a damaged one, and what is none."""
    write_lora(folder / "ink.safetensors", trigger_words="ink style, brush")
    write_lora(folder / "Film.safetensors", ss_tag_frequency='{"1_a": {"grain": 9, "35mm": 3}}')
    write_lora(folder / "style" / "woodcut.safetensors", trigger_word="wdct")
    write_lora(folder / "plain.safetensors")
    (folder / "broken.safetensors").write_bytes(b"x")
    (folder / "notes.txt").touch()
    return folder
