"""What a PNG file says about itself: the text chunks before its pixels, and the request they hold.

Reads headers only, with bounds, from files that anybody may have written; knows no screen. `flux_engine.png` is the
writing half.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, BinaryIO

from flux_engine.errors import RequestError
from flux_engine.png import OWN_KEY, PARAMETERS_KEY, SAMPLER_NAMES, PictureRecord
from flux_engine.request import (
    MAX_BATCH,
    MAX_SEED,
    MAX_SIZE_PX,
    MAX_STEPS,
    SIZE_STEP_PX,
    GenerationRequest,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNK_BYTES = 4 * 1024 * 1024  # a longer text is no request; ComfyUI graphs stay below 1 MB
MAX_CHUNKS = 64
MAX_LINE = 8192

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_SETTING = re.compile(r'\s*(\w[\w \-/]{1,60}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_INTEGRATORS = {name.lower(): key for key, name in SAMPLER_NAMES.items()}


def read_record(path: Path) -> PictureRecord | None:
    """The record inside a picture: this program's own chunk, else the text of other tools; None if there is neither.

    Where its own chunk is none that can be taken, as one of a later version may be, the text is not asked: it knows no
    LoRAs, and its request would be another one.

    Raises:
        OSError: the file cannot be opened.
    """
    texts = read_texts(path)
    if OWN_KEY in texts:
        return record_from_json(texts[OWN_KEY])
    return record_from_parameters(texts.get(PARAMETERS_KEY, ""))


def read_texts(path: Path) -> dict[str, str]:
    """The text chunks of a PNG before its first pixels; empty when the file is no PNG or is damaged."""
    with path.open("rb") as file:
        if file.read(len(SIGNATURE)) != SIGNATURE:
            return {}
        return dict(_texts(file))


def _texts(file: BinaryIO) -> list[tuple[str, str]]:
    found = []
    for _ in range(MAX_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        if kind in (b"IDAT", b"IEND"):
            break
        if kind not in (b"tEXt", b"zTXt", b"iTXt") or length > MAX_CHUNK_BYTES:
            file.seek(length + 4, 1)
            continue
        body = file.read(length)
        (checksum,) = struct.unpack(">I", file.read(4).rjust(4, b"\0"))
        if zlib.crc32(kind + body) == checksum and (text := _decode(kind, body)):
            found.append(text)
    return found


def _decode(kind: bytes, body: bytes) -> tuple[str, str] | None:
    key, _, rest = body.partition(b"\0")
    try:
        if kind == b"tEXt":
            return key.decode("latin-1"), rest.decode("latin-1")
        if kind == b"zTXt":
            return key.decode("latin-1"), _inflate(rest[1:]).decode("latin-1")
        compressed = rest[:1] == b"\1"
        text = rest[2:].split(b"\0", 2)[2]  # after the flags: language, translated keyword, text
        return key.decode("latin-1"), (_inflate(text) if compressed else text).decode("utf-8")
    except (UnicodeDecodeError, IndexError, zlib.error):
        return None


def _inflate(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, MAX_CHUNK_BYTES)


def harmless(text: str) -> str:
    """The text without what a terminal obeys (C0 and C1 controls, but for newline and tab) and without surrogates."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", re.sub(r"\r\n?", "\n", text))


def all_harmless(value: Any) -> Any:
    """What JSON has given, with every text in it harmless."""
    if isinstance(value, str):
        return harmless(value)
    if isinstance(value, list):
        return [all_harmless(each) for each in value]
    if isinstance(value, dict):
        return {name: all_harmless(each) for name, each in value.items()}
    return value


def record_from_json(text: str) -> PictureRecord | None:
    """The record in this program's own chunk; None when it is not one. Keys of a later schema are passed over."""
    try:
        body = json.loads(text)
        known = {field.name for field in fields(GenerationRequest)}
        values = {key: all_harmless(value) for key, value in body["request"].items() if key in known}
        return PictureRecord(
            request=GenerationRequest(**values),
            picture=int(body.get("picture", 1)),
            model_name=harmless(str(body.get("model", ""))),
            created_at=str(body.get("created_at", "")),
            seconds={str(key): float(value) for key, value in body.get("seconds", {}).items()},
            versions={str(key): str(value) for key, value in body.get("versions", {}).items()},
        )
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
        return None


def record_from_parameters(text: str) -> PictureRecord | None:
    """The record in another tool's `parameters` text, fitted into the bounds of a request; None when there is none."""
    lines = harmless(text).strip().split("\n")
    pairs = _SETTING.findall(lines[-1][:MAX_LINE])  # the pattern is not linear
    if len(pairs) < 3:
        return None
    prompt, _, negative = "\n".join(lines[:-1]).partition("Negative prompt:")
    settings = {key.strip(): value.strip() for key, value in pairs}
    try:
        request = GenerationRequest(
            prompt=prompt.strip(), negative_prompt=negative.strip() or None, **_request_values(settings)
        )
    except (RequestError, ValueError, OverflowError):
        return None
    return PictureRecord(request=request, model_name=settings.get("Model", ""))


def _request_values(settings: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if size := re.fullmatch(r"(\d{1,6})\s*x\s*(\d{1,6})", settings.get("Size", "")):
        values["width"], values["height"] = (_fitted_size(int(side)) for side in size.groups())
    if "Steps" in settings:
        values["num_steps"] = min(max(int(settings["Steps"]), 1), MAX_STEPS)
    if "Seed" in settings:
        values["seed"] = min(max(int(settings["Seed"]), 0), MAX_SEED)
    if "Batch size" in settings:
        values["batch_size"] = min(max(int(settings["Batch size"]), 1), MAX_BATCH)
    if "Distilled CFG Scale" in settings:
        values["guidance_scale"] = float(settings["Distilled CFG Scale"])
        values["true_cfg_scale"] = max(float(settings.get("CFG scale", "1")), 1.0)
    elif guidance := settings.get("Guidance") or settings.get("CFG scale"):
        values["guidance_scale"] = float(guidance)
    values["integrator"] = _INTEGRATORS.get(settings.get("Sampler", "").lower(), "euler")
    return values


def _fitted_size(side_px: int) -> int:
    rounded = round(side_px / SIZE_STEP_PX) * SIZE_STEP_PX
    return min(max(rounded, SIZE_STEP_PX), MAX_SIZE_PX)
