"""From the values of a config file to the values of the program, with everything that is wrong on the way.

Knows which tables and keys there are and what each takes; knows neither files nor TOML.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from flux_engine.errors import RequestError
from flux_engine.fields import FIELD, Field, check, parse
from flux_engine.request import GenerationRequest, is_whole
from flux_tui.metadata import harmless
from flux_tui.options import AppOptions, PreviewOptions, key_names, options_of
from flux_tui.settings import COUNT, SEED_USE, parse_count
from flux_tui.toml_file import plain, rooted, shown, unknown

TABLES: Mapping[str, type[AppOptions] | type[PreviewOptions]] = {"app": AppOptions, "preview": PreviewOptions}
SECTIONS = (*TABLES, "defaults", "presets", "keys")
SETTINGS: Mapping[str, Field] = {**FIELD, SEED_USE.name: SEED_USE, COUNT.name: COUNT}
"""What [defaults] and [presets.NAME] take, by name."""

Keys = tuple[str, ...]

LISTED: Mapping[Keys, str] = {("keys",): "expected an action's id, as 'flux-tui keys --list' has them"}
"""Where the names that a table takes can be read, if they are too many for a message."""


class Reader:
    """Takes a file's values apart.

    Args:
        folder: what relative paths are counted from.
        action_ids: those that [keys] may name; None takes any.

    Attributes:
        faults: where something is wrong, and in what words.
    """

    def __init__(self, folder: Path, action_ids: Collection[str] | None = None) -> None:
        self.folder = folder
        self.action_ids = action_ids
        self.faults: list[tuple[Keys, str]] = []

    def read(self, data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The values of every section; what is wrong is left out and noted in `faults`."""
        for name in data.keys() - set(SECTIONS):
            self.faults.append(((name,), _unknown_section(name)))
        tables = {name: self._table(data, (name,)) for name in SECTIONS}
        presets = {name: self._table(tables["presets"], ("presets", name)) for name in tables["presets"]}
        return {
            **{section: self._options(section, tables[section]) for section in TABLES},
            "defaults": self._settings(("defaults",), tables["defaults"]),
            "presets": {name: self._settings(("presets", name), table) for name, table in presets.items()},
            "keys": self._keys(tables["keys"]),
        }

    def _table(self, data: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
        value = data.get(keys[-1], {})
        if isinstance(value, dict):
            return value
        self.faults.append((keys, f"{_header(keys)} is {shown(value)}; expected a table."))
        return {}

    def _options(self, section: str, table: Mapping[str, Any]) -> dict[str, Any]:
        options = options_of(TABLES[section])
        values = {}
        for name, value in self._known((section,), table, options):
            try:
                values[name] = options[name].taken(value, self.folder)
            except ValueError as error:
                self._refuse((section, name), value, str(error))
        return values

    def _settings(self, keys: Keys, table: Mapping[str, Any]) -> dict[str, Any]:
        values = {}
        for name, value in self._known(keys, table, SETTINGS):
            try:
                values[name] = setting_value(SETTINGS[name], value, self.folder)
            except RequestError as error:
                self._refuse((*keys, name), value, str(error).removeprefix("Needs ").rstrip("."))
        try:
            GenerationRequest(prompt="any", **{name: value for name, value in values.items() if name in FIELD})
        except RequestError as error:  # each is right by itself, and one contradicts another
            self.faults.append((keys, f"{_header(keys)} {error}"))
            return {}
        return values

    def _keys(self, table: Mapping[str, Any]) -> dict[str, str]:
        known = table if self.action_ids is None else self.action_ids
        values = {}
        for name, value in self._known(("keys",), table, known):
            if not isinstance(value, str):
                self._refuse(("keys", name), value, 'keys as text, "f5,ctrl+g"')
                continue
            try:
                values[name] = key_names(value)
            except ValueError as error:
                self._refuse(("keys", name), value, str(error))
        return values

    def _known(self, keys: Keys, table: Mapping[str, Any], known: Collection[str]) -> list[tuple[str, Any]]:
        """The table's entries that are known; the others are faults."""
        for name in table.keys() - set(known):
            self.faults.append(((*keys, name), unknown(name, known, _header(keys) + " ", LISTED.get(keys, ""))))
        return [(name, value) for name, value in table.items() if name in known]

    def _refuse(self, keys: Keys, value: Any, expected: str) -> None:
        self.faults.append((keys, f"{_header(keys[:-1])} {plain(keys[-1])} is {shown(value)}; expected {expected}."))


def _unknown_section(name: str) -> str:
    for section, options in TABLES.items():
        if name in options_of(options):
            return f"{name} stands in no table; expected it in [{section}]."
    return unknown(name, SECTIONS)


def _header(keys: Keys) -> str:
    return f"[{'.'.join(plain(key) for key in keys)}]"


def setting_value(setting: Field, value: Any, folder: Path) -> Any:
    """A setting's value for a value of the file.

    Raises:
        RequestError: it takes no such value; the message starts with "Needs".
    """
    if setting.blank is not None and value == "":
        return parse(setting.name, "")
    if setting is COUNT:
        return parse_count(str(value) if is_whole(value) else "")
    if setting.kind == "choice" and value not in (choices := [name for _, name in setting.choices]):
        raise RequestError(f"Needs one of {', '.join(choices)}.")
    if setting.kind == "loras":
        if not isinstance(value, str) or harmless(value) != value:
            raise RequestError("Needs FILE[:STRENGTH], several with a ; between.")
        return parse(setting.name, value)
    if setting.kind == "text" and not (isinstance(value, str) and harmless(value) == value):
        raise RequestError("Needs plain text.")
    if setting.name == "checkpoint_dir":
        return str(rooted(folder, value))
    if setting.name in FIELD:
        check(setting.name, value)
    return float(value) if setting.kind == "number" else value
