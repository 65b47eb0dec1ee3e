"""A picture's request survives the way into a PNG file and back, and other tools' pictures are understood."""

from __future__ import annotations

import json
import struct
import unicodedata
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from flux_engine.png import OWN_KEY, PARAMETERS_KEY, PictureRecord, encode_png, parameters_text, record_json, write_file
from flux_engine.request import GenerationRequest, LoraUse
from flux_tui.metadata import read_record, read_texts, record_from_json, record_from_parameters
from tests.tui.fakes import gradient

REQUEST = GenerationRequest(
    prompt="A serene landscape with mountains at sunset",
    negative_prompt="people",
    width=192,
    height=128,
    num_steps=28,
    guidance_scale=3.5,
    true_cfg_scale=2.0,
    seed=4294967295,
    batch_size=3,
    integrator="dpmpp_2s",
    sigma_shift=1.15,
    noise="torch",
    dtype="float32",
    step_cache=0.08,
    weights="int4",
    checkpoint_dir="/models/flux, dev: é",
    loras=(LoraUse(file='/loras/ink, "dark": \\é.safetensors', strength=-0.5, sha256="0123456789abcdef" * 4),),
    lora_fuse=True,
)
RECORD = PictureRecord(
    request=REQUEST,
    picture=2,
    model_name="flux1-dev",
    created_at="2025-11-23T22:39:00Z",
    seconds={"denoising": 1.5},
    versions={"flux-tui": "0.1.0"},
)
AWKWARD = [
    "café under 満月, tiny \N{ROCKET} and \N{FAMILY}",
    'she said "hello, world": a, b: c',
    "one line\nanother\n\n\nand one after blank ones",
    "a cat\nNegative prompt: dogs\nSteps: 3, Sampler: x, Seed: 9",
    "Steps: 20, Sampler: Euler, CFG scale: 7",
    "  leading, trailing  and \t tabs \n",
    "x" * 20_000,
    "1girl, (masterpiece:1.2), <lora:name:0.8>, Size: 3x3",
]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(path: Path, *chunks: bytes) -> Path:
    """A PNG of one pixel with these chunks before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\0\0\0"))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b""))
    return path


def saved(path: Path, record: PictureRecord) -> Path:
    write_file(path, encode_png(gradient(record.request.width, record.request.height), record), replace=False)
    return path


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t"))
prompts = texts.filter(str.strip)


def test_the_whole_record_comes_back(tmp_path: Path) -> None:
    assert read_record(saved(tmp_path / "a.png", RECORD)) == RECORD


@pytest.mark.parametrize("prompt", AWKWARD)
def test_awkward_prompts_come_back_letter_for_letter(tmp_path: Path, prompt: str) -> None:
    record = replace(RECORD, request=replace(REQUEST, prompt=prompt, negative_prompt=prompt))
    assert read_record(saved(tmp_path / "a.png", record)) == record


@given(prompts, st.none() | texts)
@settings(max_examples=60, deadline=None)
def test_any_prompt_survives_its_json(prompt: str, negative: str | None) -> None:
    record = replace(RECORD, request=replace(REQUEST, prompt=prompt, negative_prompt=negative))
    text = record_json(record)
    assert text.isascii() and "\n" not in text
    assert record_from_json(text) == record


@given(prompts, st.none() | texts)
@settings(max_examples=60, deadline=None)
def test_any_prompt_leaves_the_settings_of_the_parameters_readable(prompt: str, negative: str | None) -> None:
    text = parameters_text(replace(RECORD, request=replace(REQUEST, prompt=prompt, negative_prompt=negative)))
    assert text.count("Negative prompt:") == 1
    assert sum(line.lstrip().startswith("Steps:") for line in text.split("\n")) == 1
    found = record_from_parameters(text)
    if found is not None:  # None: nothing of the prompt but signs that no reader keeps
        assert (found.request.num_steps, found.request.seed, found.request.width) == (28, 4294967295, 192)


def test_the_chunks_are_before_the_pixels_and_other_tools_can_read_them(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", RECORD)
    data = path.read_bytes()
    assert 0 < data.index(PARAMETERS_KEY.encode()) < data.index(OWN_KEY.encode() + b"\0") < data.index(b"IDAT")
    with Image.open(path) as picture:
        assert picture.size == (192, 128)
        assert picture.text[PARAMETERS_KEY] == (
            "A serene landscape with mountains at sunset\n"
            "Negative prompt: people\n"
            "Steps: 28, Sampler: DPM++ 2S, Schedule type: Simple, CFG scale: 2, Distilled CFG Scale: 3.5, "
            "Seed: 4294967295, Size: 192x128, Model: flux1-dev, "
            'Lora hashes: "ink dark é: 0123456789", Version: flux-tui 0.1.0'
        )
        assert json.loads(picture.text[OWN_KEY])["schema"] == 1


def test_only_loras_with_a_known_hash_are_among_the_parameters_and_the_prompt_stays_as_it_is() -> None:
    loras = (*REQUEST.loras, LoraUse(file="/loras/film.safetensors"), LoraUse(file=",", sha256="f" * 64))
    text = parameters_text(replace(RECORD, request=replace(REQUEST, loras=loras)))
    assert text.endswith(', Lora hashes: "ink dark é: 0123456789, unknown: ffffffffff", Version: flux-tui 0.1.0')
    assert "<lora" not in text and "film" not in text
    found = record_from_parameters(text)
    assert found is not None and found.request.seed == REQUEST.seed and found.model_name == "flux1-dev"
    assert "Lora" not in parameters_text(replace(RECORD, request=replace(REQUEST, loras=loras[1:2])))


@pytest.mark.parametrize(
    "loras",
    [
        3,
        "ink",
        [3],
        [{}],
        [{"file": 3}],
        [{"file": "ink", "strength": "much"}],
        [{"file": "ink", "strength": 1e400}],
        [{"file": "ink", "sha256": "0F"}],
        [{"file": "ink", "sha256": []}],
        [{"file": "ink"}, {"file": "ink"}],
        [{"file": "ink", "later": 1}],
        [[["ink"]]],
    ],
)
def test_a_record_with_strange_loras_is_none(loras: object) -> None:
    body = json.loads(record_json(RECORD))
    body["request"]["loras"] = loras
    assert record_from_json(json.dumps(body)) is None


def test_a_loras_name_in_a_record_is_made_harmless_and_a_record_without_them_is_one() -> None:
    body = json.loads(record_json(RECORD))
    body["request"]["loras"] = [{"file": "a\x1b[2J", "strength": 2}]
    record = record_from_json(json.dumps(body))
    assert record is not None and record.request.loras == (LoraUse(file="a\N{REPLACEMENT CHARACTER}[2J", strength=2),)
    for name in ("loras", "lora_fuse", "lora_lenient"):
        del body["request"][name]
    record = record_from_json(json.dumps(body))
    assert record is not None and record.request == replace(REQUEST, loras=(), lora_fuse=False)


def test_a_negative_prompt_line_is_always_there() -> None:
    text = parameters_text(replace(RECORD, request=replace(REQUEST, negative_prompt=None)))
    assert "\nNegative prompt: \nSteps: " in text


def test_text_beyond_ascii_goes_into_itxt_as_utf8(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", replace(RECORD, request=replace(REQUEST, prompt="café")))
    data = path.read_bytes()
    assert b"iTXt" + PARAMETERS_KEY.encode() in data and "café".encode() in data
    assert b"tEXt" + OWN_KEY.encode() in data
    plain = saved(tmp_path / "b.png", replace(RECORD, request=replace(REQUEST, loras=()))).read_bytes()
    assert b"iTXt" not in plain  # ASCII goes into tEXt


def test_what_breaks_other_readers_is_not_in_the_parameters() -> None:
    prompt = "a\n\n  \nb\nNegative prompt: c\n Steps: 4, d"
    text = parameters_text(replace(RECORD, model_name='a, "b": c', request=replace(REQUEST, prompt=prompt)))
    assert text.split("\n")[:4] == ["a", "b", "Negative prompt\uff1a c", " Steps\uff1a 4, d"]
    assert "Model: a b c," in text


A1111 = """a castle, (masterpiece:1.2)
second line
Negative prompt: blurry, low
quality
Steps: 28, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Distilled CFG Scale: 3.5, Seed: 5, Size: 1024x760, \
Model hash: 4610115bb0, Model: flux1-dev, Lora hashes: "a: 1, b: 2", Version: f2.0"""


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "iTXt compressed"])
def test_a_picture_of_another_tool_gives_its_settings(tmp_path: Path, kind: str) -> None:
    key, text = PARAMETERS_KEY.encode(), A1111.encode()
    body = {
        "tEXt": key + b"\0" + text,
        "zTXt": key + b"\0\0" + zlib.compress(text),
        "iTXt": key + b"\0\0\0\0\0" + text,
        "iTXt compressed": key + b"\0\1\0\0\0" + zlib.compress(text),
    }[kind]
    record = read_record(png_with(tmp_path / "a.png", chunk(kind[:4].encode(), body)))
    assert record is not None and record.model_name == "flux1-dev"
    assert record.request == GenerationRequest(
        prompt="a castle, (masterpiece:1.2)\nsecond line",
        negative_prompt="blurry, low\nquality",
        num_steps=28,
        guidance_scale=3.5,
        seed=5,
        width=1024,
        height=768,
    )


def test_another_tools_values_are_fitted_into_our_bounds() -> None:
    record = record_from_parameters("cat\nSteps: 5000, CFG scale: 7, Seed: 99999999999, Size: 20000x3, Sampler: Heun")
    assert record is not None
    assert record.request == GenerationRequest(
        prompt="cat", num_steps=1000, guidance_scale=7.0, seed=2**32 - 1, width=8192, height=16, integrator="heun"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "only a prompt",
        "Steps: 3, Seed: 4, Size: 16x16",
        "cat\nSteps: many, Seed: 4, Size: 16x16",
        "cat\nSteps: 3, CFG scale: inf, Seed: 4",
        "cat\nSteps: 3, Seed: " + "9" * 5000 + ", Size: 16x16",
    ],
)
def test_text_without_a_request_gives_none(text: str) -> None:
    assert record_from_parameters(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"request":{}}',
        '{"request":{"prompt":""}}',
        '{"request":{"prompt":"a","width":"wide"}}',
        '{"request":{"prompt":"a","guidance_scale":null}}',
        '{"request":{"prompt":"a"},"seconds":[1]}',
        '{"request":{"prompt":7}}',
        '{"request":{"prompt":"a","noise":["jax"]}}',
        "[" * 100_000,
    ],
)
def test_a_chunk_that_only_pretends_to_be_ours_gives_none(text: str) -> None:
    assert record_from_json(text) is None


def test_keys_of_a_later_version_are_passed_over() -> None:
    body = json.loads(record_json(RECORD))
    body["request"]["invented_later"] = 1
    body["schema"] = 9
    assert record_from_json(json.dumps(body)) == RECORD


def test_our_chunk_is_preferred_and_a_broken_one_falls_back(tmp_path: Path) -> None:
    theirs = chunk(b"tEXt", PARAMETERS_KEY.encode() + b"\0" + A1111.encode())
    ours = chunk(b"tEXt", OWN_KEY.encode() + b"\0" + record_json(RECORD).encode())
    assert read_record(png_with(tmp_path / "a.png", theirs, ours)) == RECORD
    broken = ours[:-4] + b"\0\0\0\0"  # a wrong checksum
    record = read_record(png_with(tmp_path / "b.png", theirs, broken))
    assert record is not None and record.request.seed == 5


def test_a_chunk_of_a_later_version_is_not_replaced_by_a_text_that_says_less(tmp_path: Path) -> None:
    theirs = chunk(b"tEXt", PARAMETERS_KEY.encode() + b"\0" + A1111.encode())
    later = record_json(RECORD).replace('"weights":"int4"', '"weights":"int2"')
    ours = chunk(b"tEXt", OWN_KEY.encode() + b"\0" + later.encode())
    assert later != record_json(RECORD)
    assert read_record(png_with(tmp_path / "a.png", theirs, ours)) is None


@pytest.mark.parametrize("cut", [0, 4, 12, 33, 60, 200])
def test_a_truncated_file_gives_none(tmp_path: Path, cut: int) -> None:
    path = saved(tmp_path / "a.png", RECORD)
    path.write_bytes(path.read_bytes()[:cut])
    assert read_record(path) is None


def test_a_text_that_inflates_without_end_is_cut(tmp_path: Path) -> None:
    bomb = chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * 20_000_000))
    assert len(read_texts(png_with(tmp_path / "a.png", bomb))["parameters"]) == 4 * 1024 * 1024


HOSTILE = "a \x1b]0;title\x07 \x1b[31mhill\x9b1m\0\x7f"


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"request": {"prompt": HOSTILE, "negative_prompt": HOSTILE}, "model": HOSTILE}),
        json.dumps({"request": {"prompt": "a \ud800 hill"}, "model": "\udfff"}),
    ],
)
def test_what_a_terminal_would_obey_is_taken_out_of_a_file(text: str) -> None:
    record = record_from_json(text)
    assert record is not None
    said = record.request.prompt + str(record.request.negative_prompt) + record.model_name
    assert "hill" in said and "\N{REPLACEMENT CHARACTER}" in said
    assert not any(unicodedata.category(sign) in ("Cc", "Cs") for sign in said)


def test_lines_end_as_everywhere() -> None:
    record = record_from_json(json.dumps({"request": {"prompt": "one\r\ntwo\rthree\n\tfour"}}))
    assert record is not None and record.request.prompt == "one\ntwo\nthree\n\tfour"


def test_another_tools_text_is_harmless_too() -> None:
    record = record_from_parameters(f"{HOSTILE}\nSteps: 3, Seed: 1, Model: x\x1b[0m")
    assert record is not None
    assert not any(unicodedata.category(sign) == "Cc" for sign in record.request.prompt + record.model_name)


def test_numbers_that_are_none_give_none() -> None:
    text = json.dumps({"request": {"prompt": "a hill"}, "picture": float("inf")})
    assert "Infinity" in text and record_from_json(text) is None
