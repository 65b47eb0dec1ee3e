"""The config file: what it says, and everything that is wrong with it at once.

    [app] [preview]     see `flux_tui.options`
    [defaults]          settings of a picture that hold where nobody says otherwise
    [presets.NAME]      settings of a picture that are taken by name
    [keys]              the keys of an action by its id

Reads with `tomllib`; writes with `tomlkit`, which keeps comments and order. Knows no screen.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flux_engine.errors import FluxError, RequestError
from flux_engine.fields import text_of
from flux_tui.config_help import describe, template
from flux_tui.config_reader import Keys, Reader
from flux_tui.options import AppOptions, PreviewOptions
from flux_tui.toml_file import TomlFile, TomlFileError, parsed, read_toml, shown, unknown

_WRITING = threading.Lock()  # a theme and a preset may be written at the same time

UNBOUND = "unbound"  # the name of no key: Textual leaves an action its keys when it gets none

__all__ = ["Config", "ConfigFileError", "describe", "load_config", "set_value", "template"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the config file says; without one, the defaults.

    Attributes:
        app, preview: every option of these tables.
        defaults: settings of a picture by name, those that are written.
        presets: the same by the preset's name.
        keys: "key,key" by an action's id; "" takes all its keys away.
    """

    app: AppOptions = field(default_factory=AppOptions)
    preview: PreviewOptions = field(default_factory=PreviewOptions)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)

    @property
    def keymap(self) -> dict[str, str]:
        """The keys as Textual's `set_keymap` takes them, to which "" would mean the keys that were."""
        return {name: keys or UNBOUND for name, keys in self.keys.items()}

    def preset(self, name: str) -> Mapping[str, Any]:
        """A preset's settings.

        Raises:
            RequestError: there is none of that name.
        """
        if name not in self.presets:
            raise RequestError(unknown(name, self.presets, "preset "), hint="Presets stand in the config file.")
        return self.presets[name]


class ConfigFileError(FluxError, ValueError):
    """A config file that is wrong somewhere.

    Attributes:
        faults: all that is wrong, a line each: file, line, key, got, expected.
        config: what the rest of the file says, the defaults in place of what is wrong.
    """

    def __init__(self, path: Path, faults: Sequence[str], config: Config, hint: str = "") -> None:
        count = f"{len(faults)} faults: " if len(faults) > 1 else ""
        hint = hint or f"Correct {path}, or move it away: the defaults hold then."
        super().__init__(count + "; ".join(faults), hint=hint)
        self.faults = tuple(faults)
        self.config = config


def load_config(path: Path, *, action_ids: Collection[str] | None = None) -> Config:
    """What a config file says; the defaults where there is none.

    Args:
        path: the file.
        action_ids: those that [keys] may name; None takes any.

    Raises:
        ConfigFileError: the file cannot be read, or says something that cannot be.
    """
    file = _file(path)
    reader = Reader(path.parent, action_ids)
    config = _config(reader.read(file.data))
    if reader.faults:
        raise ConfigFileError(path, file.lines_about(reader.faults), config)
    return config


def _file(path: Path) -> TomlFile:
    try:
        return read_toml(path)
    except FileNotFoundError:
        return TomlFile(path, {}, "")
    except TomlFileError as error:
        raise ConfigFileError(path, [str(error)], Config()) from error


def _config(sections: Mapping[str, dict[str, Any]]) -> Config:
    return Config(
        app=AppOptions(**sections["app"]),
        preview=PreviewOptions(**sections["preview"]),
        defaults=sections["defaults"],
        presets=sections["presets"],
        keys=sections["keys"],
    )


def set_value(path: Path, key: str | Keys, value: Any) -> None:
    """Write one value into a config file; comments and order stay as they are.

    Args:
        path: the file, made if it is missing.
        key: "app.theme"; a tuple where a name has a dot in it.
        value: what the file shall say; a mapping writes a whole preset; None takes the key out.

    Raises:
        ConfigFileError: the file cannot be read, or the key takes no such value; the file is as before.
        OutputError: it cannot be written.
    """
    from flux_engine.png import write_file

    keys = tuple(key.split(".")) if isinstance(key, str) else key
    with _WRITING:
        text = _edited(path, _file(path).text, keys, value)
        reader = Reader(path.parent)
        reader.read(parsed(path, text))
        faults = [fault for fault in reader.faults if fault[0][: len(keys)] == keys[: len(fault[0])]]
        if faults and value is not None:  # what else is wrong with the file stays so
            lines = [f"{path.name}: {words}" for _, words in faults]
            raise ConfigFileError(path, lines, Config(), hint="Nothing was written.")
        write_file(path.resolve(), text.encode(), replace=True)  # resolved: a link of a dotfiles folder stays a link


def _edited(path: Path, text: str, keys: Keys, value: Any) -> str:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        document = tomlkit.parse(text)
        table: MutableMapping[str, Any] = document
        for name in keys[:-1]:
            table = table.setdefault(name, tomlkit.table())
            if not isinstance(table, MutableMapping):
                raise ConfigFileError(path, [f"{path.name}: {name} is {shown(table)}; expected a table."], Config())
        old = table.get(keys[-1])
        if value is None:
            table.pop(keys[-1], None)
        elif isinstance(value, Mapping) and isinstance(old, MutableMapping):  # in place: comments stay
            for name in old.keys() - value.keys():
                del old[name]
            old.update(_for_toml(value))
        else:
            table[keys[-1]] = _for_toml(value)
        return tomlkit.dumps(document)
    except TOMLKitError as error:
        raise ConfigFileError(path, [f"{path.name} cannot be edited: {error}."], Config()) from error


def _for_toml(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _for_toml(each) for name, each in value.items()}
    if isinstance(value, tuple):  # LoRAs
        return text_of(value)
    return "" if value is None else str(value) if isinstance(value, Path) else value
