"""What the config file may say, told to people: rows for the command line, and a file to start from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from textwrap import fill
from typing import Any, NamedTuple

from flux_engine.fields import MODEL_FIELDS, text_of
from flux_engine.request import FLUX_DEFAULTS, GenerationRequest
from flux_tui.config_reader import SETTINGS, TABLES
from flux_tui.field_help import accepted_by
from flux_tui.options import options_of
from flux_tui.settings import COUNT, RANDOM, SEED_USE

LINE = 100  # columns of the written comments

_INTRO = "Every option of flux-tui, each as it is without this file. Take away the # before its name to set it."
_DEFAULTS = "Settings of a picture that hold where nobody says otherwise. Size, steps and guidance follow the model."
_PRESETS = """\
# [presets.NAME] holds settings of a picture that are taken by name: any of those in [defaults].

#[presets.quick]
#num_steps = 8
"""
_KEYS = """\
[keys]
# The keys of an action by its id, which `flux-tui keys --list` shows. "" takes them away.
#generate = "f5,ctrl+g"
"""


class Row(NamedTuple):
    """An option: its dotted key, what it takes, its default as the file writes it, and what it is for."""

    key: str
    accepts: str
    default: str
    help: str


def describe() -> list[Row]:
    """Every option of the file, in its order."""
    return [*_option_rows(), *_setting_rows(), *_free_rows()]


def _option_rows() -> Iterator[Row]:
    for section, options in TABLES.items():
        for option in options_of(options).values():
            yield Row(f"{section}.{option.name}", option.accepts, _toml(option.default), option.help)


def _setting_rows() -> Iterator[Row]:
    for name, setting in SETTINGS.items():
        default = "the model's" if name in MODEL_FIELDS else _toml(_default_of(name))
        yield Row(f"defaults.{name}", accepted_by(setting), default, setting.help)


def _free_rows() -> Iterator[Row]:
    yield Row("presets.NAME", "a table", "none", "Settings of a picture, taken by name: any of those in defaults.")
    yield Row("keys.ACTION", "keys: f5,ctrl+g", "its own", 'The keys of an action by its id; "" takes them away.')


def _default_of(name: str) -> Any:
    if name in MODEL_FIELDS:
        return getattr(FLUX_DEFAULTS, name)
    return {SEED_USE.name: RANDOM, COUNT.name: 1}.get(name, getattr(GenerationRequest, name, None))


def template() -> str:
    """A config file to start from: every option as a comment at its default, so that it changes nothing."""
    tables = ["\n".join((f"[{name}]", *_entries(name))) for name in TABLES]
    defaults = "\n".join(("[defaults]", _comment(_DEFAULTS), *_default_entries()))
    return "\n".join((_comment(_INTRO), *tables, defaults, _PRESETS, _KEYS))


def _entries(section: str) -> Iterator[str]:
    for option in options_of(TABLES[section]).values():
        yield _entry(option.name, option.default, option.help, option.accepts)


def _default_entries() -> Iterator[str]:
    for name, setting in SETTINGS.items():
        yield _entry(name, _default_of(name), setting.help, accepted_by(setting))


def _entry(name: str, default: Any, help: str, accepts: str) -> str:
    return f"{_comment(f'{help} Takes {accepts}.')}#{name} = {_toml(default)}\n"


def _comment(text: str) -> str:
    return fill(text, LINE, initial_indent="# ", subsequent_indent="# ") + "\n"


def _toml(value: Any) -> str:
    """A value as TOML writes it; what is unset is an empty text, and LoRAs are one."""
    plain = text_of(value) if value is None or isinstance(value, tuple) else value
    return json.dumps(plain)  # TOML's numbers, truths and plain texts are JSON's
