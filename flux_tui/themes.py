"""The app's own themes, and those that people write as TOML files. Knows Textual's colours and no widget.

Text of the own themes stands out from its ground by a contrast of 4.5 at least (WCAG 2.2, 1.4.3, level AA), of
flux-contrast by 7 (1.4.6, level AAA); the tests compute it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from textual.color import Color, ColorParseError
from textual.theme import Theme

from flux_engine.request import is_number
from flux_tui.options import DEFAULT_THEME
from flux_tui.toml_file import TomlFileError, read_toml, shown, unknown

# Muted text has a colour of its own: Textual paints its "auto 60%" at full strength where a part of a line asks for it.
OWN_THEMES = (
    Theme(
        name=DEFAULT_THEME,
        primary="#7aa6d8",
        secondary="#8fb3a9",
        accent="#e3aa5d",
        warning="#e3c25d",
        error="#e8807e",
        success="#86bd8c",
        foreground="#d9dce2",
        background="#14161a",
        surface="#1d2026",
        panel="#23272f",
        variables={
            "text-muted": "#aaaeb7",
            "text-disabled": "auto 50%",
            "block-cursor-background": "#2f4158",
            "block-cursor-foreground": "#ffffff",
            "block-cursor-text-style": "none",
            "block-cursor-blurred-background": "#262f3b",
            "button-color-foreground": "#14161a",
        },
    ),
    Theme(
        name="flux-light",
        primary="#2a5c94",
        secondary="#3b6b5f",
        accent="#8f4a00",
        warning="#7a5600",
        error="#ad2626",
        success="#2b6a38",
        foreground="#24272d",
        background="#f7f6f2",
        surface="#edebe5",
        panel="#e5e2da",
        dark=False,
        variables={
            "text-muted": "#5b5e63",
            "text-disabled": "auto 56%",
            "foreground-muted": "#5b5e63",
            "block-cursor-background": "#cfdded",
            "block-cursor-foreground": "#101318",
            "block-cursor-text-style": "none",
            "block-cursor-blurred-background": "#e1e6ec",
            "button-color-foreground": "#ffffff",
        },
    ),
    Theme(
        name="flux-contrast",
        primary="#8cc8ff",
        secondary="#b5e0d2",
        accent="#ffd24d",
        warning="#ffd24d",
        error="#ffb0b0",
        success="#93ef9f",
        foreground="#ffffff",
        background="#000000",
        surface="#0d0d0d",
        panel="#161616",
        variables={
            "text": "auto 100%",
            "text-muted": "#d0d0d0",
            "text-disabled": "auto 64%",
            "foreground-muted": "#d0d0d0",
            # Dark, since marks in every other colour stand on it; underlined, since black and blue differ little.
            "block-cursor-background": "#00377d",
            "block-cursor-foreground": "#ffffff",
            "block-cursor-text-style": "bold underline",
            "block-cursor-blurred-background": "#1d2b3d",
            "button-color-foreground": "#000000",
        },
    ),
)

_NUMBERS = ("luminosity_spread", "text_alpha")
_COLOURS = tuple(
    field.name for field in fields(Theme) if field.name not in ("name", "dark", "variables", "ansi", *_NUMBERS)
)
_STYLES = {"not", "bold", "b", "dim", "italic", "i", "underline", "u", "reverse", "strike"}
_SHARE = re.compile(r"auto \d{1,3}%")


def load_user_themes(folder: Path) -> tuple[list[Theme], list[str]]:
    """The themes of a folder's `*.toml` files, and one line about each thing that is wrong.

    A file that is wrong anywhere gives no theme; the others load all the same. A theme may take the name of an own one
    and replaces it then.
    """
    themes: dict[str, Theme] = {}
    faults: list[str] = []
    for path in _theme_files(folder):
        try:
            file = read_toml(path)
        except TomlFileError as error:
            faults.append(str(error))
            continue
        except FileNotFoundError:
            faults.append(f"{path.name} cannot be read: it links to nothing.")
            continue
        values = {"name": path.stem, **file.data}
        wrong = list(_faults(values))
        faults += file.lines_about(wrong)
        if not wrong:
            themes[values["name"]] = Theme(**values)
    return list(themes.values()), faults


def _theme_files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".toml")
    except OSError:  # no such folder: no such themes
        return []


def _faults(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Everything that a theme cannot be made of: the keys that lead there, and what is said of it."""
    known = ("name", "dark", *_COLOURS, *_NUMBERS, "variables")
    if "primary" not in values:
        yield ("primary",), "primary is missing; expected a colour such as #7aa6d8."
    for name, value in values.items():
        if name not in known:
            yield (name,), unknown(name, known)
        elif name == "variables":
            yield from _variable_faults(value)
        elif expected := _expected(name, value):
            yield (name,), f"{name} is {shown(value)}; expected {expected}."


def _expected(name: str, value: Any) -> str:
    """What a key takes in place of a value; "" if it takes it."""
    if name == "name":
        return "" if isinstance(value, str) and value.strip() and value.isprintable() else "a name"
    if name == "dark":
        return "" if isinstance(value, bool) else "true or false"
    if name in _NUMBERS:
        return "" if is_number(value) and 0 <= value <= 1 else "a number from 0 to 1"
    return "" if _is_colour(value) else "a colour such as #7aa6d8"


def _variable_faults(table: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    if not isinstance(table, dict):
        yield ("variables",), f"variables is {shown(table)}; expected a table."
        return
    known = Theme(name="", primary="red").to_color_system().generate()
    for name, value in table.items():
        if name not in known:
            yield ("variables", name), unknown(name, known, "variables.")
        elif expected := _expected_variable(name, value, known[name]):
            yield ("variables", name), f"variables.{name} is {shown(value)}; expected {expected}."


def _expected_variable(name: str, value: Any, default: str) -> str:
    """What a variable takes in place of a value; "" if it takes it."""
    if value == default:
        return ""
    if "-style" in name:
        return "" if isinstance(value, str) and _is_style(value.split()) else 'words such as "bold underline"'
    if default.startswith("auto"):  # Textual itself computes with the others, and "auto 60%" is no colour yet
        share = isinstance(value, str) and _SHARE.fullmatch(value)
        return "" if share or _is_colour(value) else 'a colour such as #7aa6d8, or "auto 60%"'
    return "" if _is_colour(value) else "a colour such as #7aa6d8"


def _is_style(words: list[str]) -> bool:
    return words == ["none"] or (bool(words) and set(words) <= _STYLES)


def _is_colour(value: Any) -> bool:
    """Whether it is a colour that can be seen: the terminal's own ones do not blend, and Textual trips over none."""
    try:
        colour = Color.parse(value) if isinstance(value, str) else None
    except ColorParseError:
        return False
    return colour is not None and colour.ansi is None and colour.a > 0
