"""The files of a checkpoint's `tokenizer/` and `tokenizer_2/`, read and checked. Knows no token and no text."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from flux_engine.errors import TokenizerError

UNLIMITED = 10**6  # transformers writes a model_max_length of 1e30 for "not said"
WHOLE = "tokenizer.json"  # all that transformers 5 writes, beside the config
# Where the files of each folder come from for those who have single files of weights, which carry no vocabulary.
HOMES = {
    "tokenizer": "openai/clip-vit-large-patch14 vocab.json merges.txt tokenizer_config.json",
    "tokenizer_2": "google/t5-v1_1-xxl spiece.model tokenizer_config.json",
}


def is_there(place: Path) -> bool:
    """Whether there is such a file or folder.

    Raises:
        TokenizerError: that cannot be told.
    """
    try:
        return place.exists()
    except OSError as error:  # a folder that is closed to this user
        raise TokenizerError(f"{place} cannot be read: {error.strerror}.", hint="Check its permissions.") from error


def existing(file: Path) -> Path:
    if not is_there(file):
        raise TokenizerError(f"{file} is missing.", hint=how_to_get(file.parent))
    return file


def how_to_get(*folders: Path) -> str:
    """The next move for folders of a checkpoint that are missing or lack a file."""
    homes = {folder: HOMES[folder.name] for folder in folders if folder.name in HOMES}
    commands = [f"hf download {home} --local-dir {shlex.quote(str(folder))}" for folder, home in homes.items()]
    copy = "Copy it from a diffusers folder of FLUX.1"
    return f"{copy}, or run: {' && '.join(commands)}" if commands else f"{copy}."


def read_json(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(existing(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise TokenizerError(f"{file} cannot be read: {error.strerror}.", hint="Check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{file} is not JSON ({error}).", hint="Fetch the tokenizer's folder again.") from error
    if not isinstance(config, dict):
        raise TokenizerError(f"{file} holds {type(config).__name__}; expected an object of settings.")
    return config


def only_whole(path: Path, name: str) -> Tokenizer | None:
    """The tokenizer in tokenizer.json, if the file `name` of the older form is not there.

    Raises:
        TokenizerError: it is damaged.
    """
    file = path / WHOLE
    if is_there(path / name) or not is_there(file):
        return None
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the Rust reader raises plain Exception, and panics at a damaged table of signs
        raise TokenizerError(f"{file} is no tokenizer ({error}).", hint=how_to_get(path)) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def token_text(path: Path, config: dict[str, Any], name: str, default: str) -> str:
    """A token is written as text, or as an object with its `content`."""
    token = config.get(name) or default
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str):
        raise TokenizerError(
            f"{path}: {name} is {token!r}; expected text, or an object with text as its content.",
            hint="Check tokenizer_config.json.",
        )
    return text


def added_tokens(path: Path, config: dict[str, Any]) -> dict[str, tuple[int, dict[str, Any]]]:
    """Special tokens that the config declares: text -> id and flags."""
    try:
        declared = {token["content"]: (int(id), token) for id, token in config.get("added_tokens_decoder", {}).items()}
        for text, (_, flags) in declared.items():
            if not isinstance(text, str) or not isinstance(flags.get("normalized", False), bool):
                raise TypeError(f"{flags} has a content that is no text, or is normalized neither true nor false")
        return declared
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TokenizerError(
            f"{path}: added_tokens_decoder is not a table of tokens by id ({error!r}).",
            hint="Check tokenizer_config.json.",
        ) from error


def model_max_length(path: Path, config: dict[str, Any], default: int) -> int:
    length = config.get("model_max_length", default)
    if type(length) is not int or length < 2:
        raise TokenizerError(
            f"{path}: model_max_length is {length!r}; expected a number of tokens, 2 or more.",
            hint="Check tokenizer_config.json.",
        )
    return length if length < UNLIMITED else default
