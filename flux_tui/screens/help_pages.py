"""What the help says: of what has the focus, of keys, settings and folders, and of what is to be mended.

Everything comes from the tables that the program itself uses, so the help cannot fall behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from flux_tui.field_help import taken_in_form
from flux_tui.keys import all_bindings, written
from flux_tui.screens.help import Section
from flux_tui.screens.main import MainScreen
from flux_tui.settings import FORM_FIELDS
from flux_tui.toml_file import parted


def help_sections(
    screen: MainScreen, keys: Mapping[str, str], wrong: Iterable[str], folders: Iterable[tuple[str, str]]
) -> Iterator[Section]:
    """The help, from the top.

    Args:
        screen: whose focus is explained.
        keys: of every action, by its id; "" where there is none.
        wrong: faults of config and state, and what the terminal lacks.
        folders: (what for, where) pairs.
    """
    if to_mend := [parted(words) for words in wrong]:
        yield "To be mended", to_mend
    yield from _focus_sections(screen, keys)
    yield from (section for section in key_sections(keys) if section[0] == "Anywhere")
    yield "Settings", [(field.label, field.help) for field in FORM_FIELDS]
    yield "Folders", list(folders)


def key_sections(keys: Mapping[str, str]) -> Iterator[Section]:
    """The keys of each pane and what they do."""
    for pane, bindings in all_bindings().items():
        told = [binding for binding in bindings if binding.tooltip]
        yield pane, [(written(keys[str(binding.id)]) or "the palette", f"{binding.tooltip}.") for binding in told]


def _focus_sections(screen: MainScreen, keys: Mapping[str, str]) -> Iterator[Section]:
    """What the focused field is for, or which keys the focused pane has."""
    for row in screen.form.rows.values():
        if row.has_focus_within:
            takes = f"{taken_in_form(row.field, screen.form.model)}."
            yield row.field.label, [("What it does", row.field.help), ("What it takes", takes)]
    for section in key_sections(keys):
        if section[0] != "Anywhere" and screen.query_one(f"#{section[0].lower()}").has_focus_within:
            yield section
