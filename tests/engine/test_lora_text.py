"""LoRAs in one line: what is written is read again, whatever stands in a path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux_engine.errors import RequestError
from flux_engine.lora_text import lora_text, loras_text, parse_lora, parse_loras, tuned
from flux_engine.request import MAX_LORA_STRENGTH, LoraUse

STRENGTHS = st.floats(-MAX_LORA_STRENGTH, MAX_LORA_STRENGTH)


@pytest.mark.parametrize(
    ("text", "file", "strength"),
    [
        ("ink", "ink", 1.0),
        ("ink.safetensors:0.8", "ink.safetensors", 0.8),
        (" /data/my loras/ink : -.5 ", "/data/my loras/ink", -0.5),
        (r"C:\loras\ink.safetensors", r"C:\loras\ink.safetensors", 1.0),
        ("C:/loras/ink:+1.25", "C:/loras/ink", 1.25),
        ("a:b:2", "a:b", 2.0),
        ("ink:", "ink:", 1.0),
        ("ink:nan", "ink:nan", 1.0),
        ("ink:1e-1", "ink", 0.1),
    ],
)
def test_only_a_number_after_the_last_colon_is_a_strength(text: str, file: str, strength: float) -> None:
    assert parse_lora(text) == LoraUse(file=file, strength=strength)


def test_several_stand_in_one_line() -> None:
    loras = LoraUse(file="ink", strength=0.8), LoraUse(file="a;b"), LoraUse(file="film")
    assert loras_text(loras) == "ink:0.8; a;b; film"
    assert parse_loras(loras_text(loras)) == loras
    assert parse_loras(" ink:0.8;  a;b ; ; film; ") == loras
    assert parse_loras("") == ()


@given(st.text(min_size=1).filter(lambda file: file == file.strip()), STRENGTHS)
def test_what_is_written_is_read_again(file: str, strength: float) -> None:
    lora = LoraUse(file=file, strength=strength)
    assert parse_lora(lora_text(lora)) == lora


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (":0.5", "Needs a file before the strength."),
        ("ink:11", "Needs a strength from -10 to 10 for ink."),
        ("film; ink:-1e9", "Needs a strength from -10 to 10 for ink."),
        ("ink; film; ink.safetensors:0.5", "Needs each file once."),
    ],
)
def test_what_means_no_lora_is_refused_with_what_is_needed(text: str, said: str) -> None:
    with pytest.raises(RequestError) as raised:
        parse_loras(text)
    assert str(raised.value) == said


def test_a_strength_is_tuned_in_hundredths_and_stays_within_its_bounds() -> None:
    lora = LoraUse(file="ink", strength=0.3)
    for _ in range(3):
        lora = tuned(lora, -0.05)
    assert lora_text(lora) == "ink:0.15"
    assert tuned(LoraUse(file="ink", strength=-0.05), 0.05).strength.hex() == (0.0).hex()
    assert tuned(LoraUse(file="ink", strength=9.98), 0.05).strength == MAX_LORA_STRENGTH
