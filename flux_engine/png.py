"""A picture as a PNG file with its whole request inside: two text chunks before the pixels.

`flux-tui` holds everything, as compact ASCII JSON; `parameters` holds what other image tools read, in the text form
that AUTOMATIC1111's web UI started. This module writes; it knows no array, no screen and no folder layout. Pillow is
imported inside the function that encodes, so importing this module costs nothing.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path

from flux_engine.errors import OutputError
from flux_engine.request import GenerationRequest, PicturesReady, RGBImage

OWN_KEY = "flux-tui"
PARAMETERS_KEY = "parameters"
SCHEMA = 1

SAMPLER_NAMES = {"euler": "Euler", "heun": "Heun", "ddim": "DDIM", "dpmpp_2s": "DPM++ 2S"}

FULLWIDTH_COLON = "\N{FULLWIDTH COLON}"


@dataclass(frozen=True, kw_only=True)
class PictureRecord:
    """What a saved picture remembers of how it was made.

    Attributes:
        request: everything that decides the picture.
        picture: its place in the batch, from 1.
        model_name: as the engine calls it.
        created_at: UTC, ISO 8601 ("2025-11-23T22:39:00Z"); "" where it is unknown.
        seconds: how long each stage took.
        versions: of the programs that took part.
    """

    request: GenerationRequest
    picture: int = 1
    model_name: str = ""
    created_at: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def records_of(ready: PicturesReady, created_at: str) -> tuple[PictureRecord, ...]:
    """One record for each picture of a batch."""
    versions = installed_versions()
    return tuple(
        PictureRecord(
            request=ready.request,
            picture=place,
            model_name=ready.model_name,
            created_at=created_at,
            seconds={stage: round(seconds, 4) for stage, seconds in ready.seconds.items()},
            versions=versions,
        )
        for place in range(1, len(ready.images) + 1)
    )


def installed_versions() -> dict[str, str]:
    """Versions of this program and of JAX, read from their metadata without importing them."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("flux-tui", "jax"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def record_json(record: PictureRecord) -> str:
    """The text of the `flux-tui` chunk: one line of ASCII JSON."""
    body = {
        "schema": SCHEMA,
        "request": asdict(record.request),
        "picture": record.picture,
        "model": record.model_name,
        "created_at": record.created_at,
        "seconds": dict(record.seconds),
        "versions": dict(record.versions),
    }
    return json.dumps(body, ensure_ascii=True, separators=(",", ":"))


def parameters_text(record: PictureRecord) -> str:
    """The text of the `parameters` chunk: prompt, `Negative prompt:` line (always), one line of settings."""
    request = record.request
    settings = {
        "Steps": str(request.num_steps),
        "Sampler": SAMPLER_NAMES[request.integrator],
        "Schedule type": "Simple",
        "CFG scale": f"{request.true_cfg_scale:g}",
        "Distilled CFG Scale": f"{request.guidance_scale:g}",
        "Seed": str(request.seed),
        "Size": f"{request.width}x{request.height}",
        "Model": _unquoted(record.model_name) or "unknown",
        **_lora_hashes(request),
        "Version": f"flux-tui {record.versions.get('flux-tui', 'unknown')}",
    }
    line = ", ".join(f"{key}: {value}" for key, value in settings.items())
    return f"{_harmless(request.prompt)}\nNegative prompt: {_harmless(request.negative_prompt or '')}\n{line}"


def _lora_hashes(request: GenerationRequest) -> dict[str, str]:
    """The LoRAs with a known hash, as `"name: hash, name: hash"`.

    The hash is AutoV2, the first 10 digits of the whole file's SHA-256, by which sites find a file as well as by
    AutoV3 (12 digits, of its tensors alone), for which the file would have to be read a second time. The prompt gets no
    `<lora:name:1>`: it would be painted as words by whoever copies it, and strengths are in the other chunk.
    """
    hashed = (lora for lora in request.loras if lora.sha256)
    known = [f"{_unquoted(Path(lora.file).stem) or 'unknown'}: {lora.sha256[:10]}" for lora in hashed]
    return {"Lora hashes": f'"{", ".join(known)}"'} if known else {}


def _harmless(text: str) -> str:
    """Text that no reader of `parameters` mistakes for its own marks; the exact prompt is in the other chunk.

    Readers drop blank lines, split on every `Negative prompt:` and take a line that starts with `Steps:` for settings.
    """
    text = re.sub(r"\r\n?", "\n", text).replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
    text = re.sub(r"\n\s*\n", "\n", text).strip()
    text = text.replace("Negative prompt:", f"Negative prompt{FULLWIDTH_COLON}")
    return re.sub(r"^(\s*Steps):", rf"\1{FULLWIDTH_COLON}", text, flags=re.MULTILINE)


def _unquoted(value: str) -> str:
    """A value without the signs that would need quotes in the settings line."""
    return re.sub(r"[,:\s\"\\]+", " ", _harmless(value)).strip()


def encode_png(image: RGBImage, record: PictureRecord) -> bytes:
    """The bytes of a PNG file: both text chunks, then the pixels."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, text in ((PARAMETERS_KEY, parameters_text(record)), (OWN_KEY, record_json(record))):
        # Pillow would write Latin-1 into tEXt, which others read as UTF-8: ASCII alone goes there.
        if text.isascii():
            info.add_text(key, text)
        else:
            info.add_itxt(key, text)
    buffer = BytesIO()
    picture = Image.frombytes("RGB", (image.width, image.height), image.data)
    picture.save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def write_file(path: Path, data: bytes, *, replace: bool) -> bool:
    """Write a whole file or nothing: temporary file in the same folder, fsync, rename, fsync of the folder.

    Args:
        path: where; its folder is made if it is missing.
        data: what.
        replace: whether a file that is there may be lost.

    Returns:
        False when the file was there and `replace` is false; nothing is written then.

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            done = _put_in_place(temporary, path, replace)
        finally:
            temporary.unlink(missing_ok=True)
        _fsync_folder(path.parent)
    except OSError as error:
        raise _output_error(path, error) from error
    return done


def check_file(path: Path) -> None:
    """Make sure that `write_file` can write `path`, and would replace nothing but a file.

    Raises:
        OutputError: it cannot.
    """
    try:
        replaces_a_file = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        replaces_a_file = True
    except OSError as error:
        raise _output_error(path, error) from error
    if not replaces_a_file:
        raise OutputError(f"{path} is there and is no file.", hint="Give the name of a file.")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Make sure that files can be written into `folder`, which is made if it is missing.

    Raises:
        OutputError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _output_error(folder, error) from error


def _put_in_place(temporary: Path, path: Path, replace: bool) -> bool:
    if replace:
        os.replace(temporary, path)
        return True
    try:
        os.link(temporary, path)  # the one call that names a file and never overwrites another
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links (FAT, some network shares)
        if path.exists():
            return False
        os.replace(temporary, path)
    return True


def _fsync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems refuse to sync a folder; the file itself is safe
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _output_error(path: Path, error: OSError) -> OutputError:
    hints = {
        errno.ENOSPC: "The disk is full. Free some space and try again.",
        errno.EDQUOT: "Your disk quota is used up. Free some space and try again.",
        errno.EACCES: "The folder is not yours to write in. Choose another one.",
        errno.EROFS: "The disk is read-only. Choose a folder on another one.",
        errno.ENOTDIR: "A part of this path is a file, not a folder. Choose another folder.",
        errno.EEXIST: "A part of this path is a file, not a folder. Choose another folder.",
        errno.EISDIR: "This is a folder. Give the name of a file.",
    }
    reason = (error.strerror or str(error)).rstrip(".")
    hint = hints.get(error.errno or 0, "Choose another place to write to.")
    return OutputError(f"{path} could not be written: {reason}.", hint=hint)
