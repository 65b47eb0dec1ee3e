"""What trainers write into a LoRA's header: trigger words, whatever the rest of it is."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flux_engine.errors import CheckpointCorrupt
from flux_engine.weights.lora_metadata import (
    MAX_HEADER_BYTES,
    MAX_TRIGGER_CHARACTERS,
    MAX_TRIGGER_WORDS,
    read_metadata,
    trigger_words,
)
from tests.lora_files import write_lora

KOHYA = {"10_girl": {"ohwx woman": 30, "smile": 4, " hat": 9}, "5_more": {"ohwx woman": 2, "hat": 10, "": 99}}


def test_metadata_is_read_from_the_header(tmp_path: Path) -> None:
    file = write_lora(
        tmp_path / "x.safetensors", {"a": np.zeros(2)}, {"ss_output_name": "style", "trigger_word": "ohwx"}
    )
    assert read_metadata(file) == {"ss_output_name": "style", "trigger_word": "ohwx"}
    assert read_metadata(write_lora(tmp_path / "none.safetensors", {"a": np.zeros(2)})) == {}


def test_what_is_no_text_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    for metadata in (None, [], "text", {"a": 1, "b": {}}):
        header = json.dumps({"__metadata__": metadata}).encode()
        file.write_bytes(struct.pack("<Q", len(header)) + header)
        assert read_metadata(file) == {}


def test_a_header_larger_than_any_loras_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(struct.pack("<Q", MAX_HEADER_BYTES + 1) + b" " * 100)
    with pytest.raises(CheckpointCorrupt, match="its header would have 33554433 bytes"):
        read_metadata(file)


def test_a_header_that_is_none_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "x.safetensors"
    for header in (b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000):
        file.write_bytes(struct.pack("<Q", len(header)) + header)
        with pytest.raises(CheckpointCorrupt, match=r"x\.safetensors is no safetensors file"):
            read_metadata(file)


WORDS = {
    "a phrase": ({"modelspec.trigger_phrase": "ohwx woman, in a hat"}, ("ohwx woman", "in a hat")),
    "a list": ({"trigger_words": '["ohwx", "p1xel", 3]'}, ("ohwx", "p1xel")),
    "each once": ({"trigger_word": "ohwx,ohwx", "ss_trigger_words": "ohwx"}, ("ohwx",)),
    "kohya's tags, the most frequent first": (
        {"ss_tag_frequency": json.dumps(KOHYA)},
        ("ohwx woman", "hat", "smile"),
    ),
    "ai-toolkit's trigger": ({"ss_tag_frequency": '{"1_p3rson": {"p3rson": 1}}'}, ("p3rson",)),
    "a phrase before tags": ({"trigger_phrase": "ohwx", "ss_tag_frequency": json.dumps(KOHYA)}, ("ohwx",)),
    "an empty phrase": ({"trigger_phrase": " , ", "ss_tag_frequency": '{"a": {"b": 1}}'}, ("b",)),
    "none": ({"ss_output_name": "style"}, ()),
    "controls": ({"trigger_word": "\x1b[31mred\n\x07\x9bbell\u202e"}, ("[31mred bell",)),
}


@pytest.mark.parametrize("form", WORDS)
def test_trigger_words_are_found(form: str) -> None:
    metadata, expected = WORDS[form]
    assert trigger_words(metadata) == expected


def test_trigger_words_are_few_and_short() -> None:
    tags = {f"tag {number} " + "x" * 500: number + 1 for number in range(1000)}
    words = trigger_words({"ss_tag_frequency": json.dumps({"1_a": tags})})
    assert len(words) == MAX_TRIGGER_WORDS
    assert words[0].startswith("tag 999 xxx") and words[0].endswith("…")
    assert {len(word) for word in words} == {MAX_TRIGGER_CHARACTERS}
    assert len(trigger_words({"trigger_word": ",".join(map(str, range(100)))})) == MAX_TRIGGER_WORDS


RUBBISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@settings(max_examples=400)
@given(value=st.text(max_size=20) | RUBBISH.map(json.dumps) | st.just("[" * 100_000) | st.just('{"a": {"b": 1e999}}'))
def test_no_rubbish_is_an_error(value: str) -> None:
    for key in ("ss_tag_frequency", "modelspec.trigger_phrase"):
        assert all(word.isprintable() and word for word in trigger_words({key: value}))


def test_reading_metadata_needs_no_array() -> None:
    code = "import sys, flux_engine.weights.lora_metadata; sys.exit(bool({'numpy', 'jax'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
