"""Named models: a TOML file of names and of where each one's checkpoint lies, which people may write, too.

    flux-dev = "/data/flux1-dev"
    schnell = "~/models/flux1-schnell.safetensors"

Knows names and paths. Whether a checkpoint lies there, and what it is, is seen when it is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from flux_engine.errors import RequestError
from flux_tui.toml_file import TomlFileError, nearest, plain, read_toml, rooted

NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,59}")


def load_models(file: Path) -> tuple[dict[str, Path], list[str]]:
    """The models by name, and a line about each entry that is none; without the file, none.

    Raises:
        TomlFileError: it cannot be read, or is no TOML.
    """
    try:
        data = read_toml(file)
    except FileNotFoundError:
        return {}, []
    models, faults = {}, []
    for name, value in data.data.items():
        if isinstance(value, str) and value and NAME.fullmatch(name):
            models[name] = rooted(file.parent, value)
        else:
            faults.append(
                ((name,), f'{plain(name)}: expected a name and a path, such as flux-dev = "/data/flux1-dev".')
            )
    return models, data.lines_about(faults)


def add_model(file: Path, name: str, checkpoint: Path) -> None:
    """Give a checkpoint a name; what else is in the file stays.

    Raises:
        RequestError: it is no name, or another model has it.
        TomlFileError: the file cannot be read.
        OutputError: it cannot be written.
    """
    if not NAME.fullmatch(name):
        hint = "Use letters, digits, and _ . + - between them, at most 60."
        raise RequestError(f"{plain(name)} is no name for a model.", hint=hint)
    models, _ = load_models(file)
    if name in models and models[name] != checkpoint:
        raise RequestError(f"{name} is {models[name]} already.", hint="Take another name, or remove that one first.")
    _edit(file, {name: str(checkpoint)})


def remove_model(file: Path, name: str) -> None:
    """Forget a name; the checkpoint stays where it is.

    Raises:
        RequestError: there is no such name.
        TomlFileError, OutputError: as `add_model`.
    """
    find_model(file, name)
    _edit(file, {name: None})


def find_model(file: Path, name: str) -> Path:
    """Where the model of that name lies.

    Raises:
        RequestError: there is no such name.
        TomlFileError: the file cannot be read.
    """
    models, _ = load_models(file)
    if name not in models:
        near = nearest(name, models)
        hint = f"Did you mean {near}?" if near else "'flux-tui models' lists them."
        raise RequestError(f"There is no model {plain(name)}.", hint=hint)
    return models[name]


def named_or_path(file: Path, text: str) -> str:
    """A path for what `--checkpoint-dir` was given: the path itself where something is, else that of a name."""
    name = os.path.basename(text)
    if os.path.exists(os.path.expanduser(text)) or not NAME.fullmatch(name):
        return text
    try:
        return str(load_models(file)[0].get(name, text))
    except TomlFileError:
        return text


def _edit(file: Path, changes: Mapping[str, str | None]) -> None:
    import tomlkit

    from flux_engine.png import write_file

    document = tomlkit.parse(read_toml(file).text if file.exists() else "")
    for name, value in changes.items():
        document.pop(name, None)
        if value is not None:
            document.append(name, tomlkit.item(value))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file.resolve(), tomlkit.dumps(document).encode(), replace=True)
