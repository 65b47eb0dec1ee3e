"""The keys of the app and of its one working screen: id, keys, what they do, what help and palette say of it.

The panes have keys of their own, in their files; `all_bindings` gathers them. No key needs the kitty protocol: legacy
terminals and tmux deliver all of them but the aliases Ctrl+Enter and Shift+Enter. Generate has no priority over the
panes: what was typed before it in the same burst is then in the prompt when it is acted upon. The keys that move the
focus have it: what is typed after them goes to the new place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import format_key

from flux_tui.config import UNBOUND

_NAMES = {"pageup": "PageUp", "pagedown": "PageDown"}

SCREEN_KEYS = (
    Binding(
        "f5,ctrl+g,ctrl+enter",
        "generate",
        "Paint",
        key_display="F5",
        id="generate",
        tooltip="Paint the prompt with these settings; while a picture is being painted, queue it",
    ),
    Binding(
        "shift+f5",
        "generate(True)",
        "Paint next",
        show=False,
        id="generate-first",
        tooltip="The same, but before everything that waits",
    ),
    Binding(
        "f9",
        "cancel",
        "Cancel",
        key_display="F9",
        id="cancel",
        tooltip="Stop the picture being painted, after the current step",
        priority=True,
    ),
    Binding(
        "ctrl+x",
        "cancel",
        "Cancel",
        show=False,
        id="cancel-outside-editor",
        tooltip="The same as F9, where no text is being edited",
    ),
    Binding(
        "f6",
        "next_pane(1)",
        "Panes",
        key_display="F6",
        id="next-pane",
        tooltip="Go to the next pane",
        priority=True,
    ),
    Binding(
        "shift+f6",
        "next_pane(-1)",
        "Previous pane",
        show=False,
        id="previous-pane",
        tooltip="Go to the pane before",
        priority=True,
    ),
    Binding("escape", "leave_zoom", "Leave zoom", show=False, id="leave-zoom", tooltip="Show the other panes again"),
    Binding("f3", "zoom", "Zoom", key_display="F3", id="zoom", tooltip="Give the picture the whole screen, and back"),
    Binding(
        "f4",
        "lock_seed",
        "Lock seed",
        show=False,
        id="lock-seed",
        tooltip="Keep the seed for the next pictures, or let it be random again",
    ),
    Binding(
        "f7",
        "pause",
        "Pause queue",
        show=False,
        id="pause",
        tooltip="Hold back the pictures that wait, or let them go on; the one being painted goes on",
    ),
    Binding(
        "ctrl+s", "swap_sides", "Swap sides", show=False, id="swap-sides", tooltip="Make a wide picture a tall one"
    ),
    Binding(
        "ctrl+l", "pick_preset", "Presets", show=False, id="pick-preset", tooltip="Take a preset's settings, by name"
    ),
    Binding(
        "ctrl+o", "jump", "Jump", show=False, id="jump", tooltip="Go to any pane or field by the letter shown on it"
    ),
    *(
        Binding(
            str(place),
            f"pane('{name}')",
            name.capitalize(),
            show=False,
            id=f"pane-{name}",
            tooltip=f"Go to the {name}, where no text is being edited",
        )
        for place, name in enumerate(("prompt", "settings", "picture", "queue", "history"), 1)
    ),
    Binding(
        "y", "copy('path')", "Copy path", show=False, id="copy-path", tooltip="Copy the path of the picture on show"
    ),
    Binding(
        "Y", "copy('prompt')", "Copy prompt", show=False, id="copy-prompt", tooltip="Copy the prompt of that picture"
    ),
    Binding(
        "question_mark",
        "app.keymap",
        "Keys",
        key_display="?",
        id="keymap",
        tooltip="Show all keys, where no text is being edited",
    ),
)

APP_KEYS = (
    Binding(
        "f1",
        "help",
        "Help",
        key_display="F1",
        id="help",
        tooltip="Explain the field or pane that has the focus",
        priority=True,
    ),
    Binding(
        "ctrl+p,f2",
        "command_palette",
        "Palette",
        key_display="^P",
        id="palette",
        tooltip="Find any action by its name",
        priority=True,
    ),
    Binding(
        "ctrl+q",
        "quit",
        "Quit",
        key_display="^Q",
        id="quit",
        tooltip="End the program; it asks when pictures would be lost",
        priority=True,
    ),
    Binding("ctrl+c", "help_quit", show=False, system=True),
)


def all_bindings() -> dict[str, tuple[Binding, ...]]:
    """Every action of the app that has an id, by the pane it belongs to. Imports the panes."""
    from flux_tui.widgets.field_rows import FieldRows
    from flux_tui.widgets.history import History
    from flux_tui.widgets.picture_keys import PICTURE_KEYS
    from flux_tui.widgets.prompt_keys import EDITING_KEYS, PANE_KEYS, PROMPT_KEYS, PROMPT_SCREEN_KEYS
    from flux_tui.widgets.queue_pane import QueuePane
    from flux_tui.widgets.row_list import RowList
    from flux_tui.widgets.settings_keys import SETTINGS_SCREEN_KEYS

    return {
        "Anywhere": _with_ids(SCREEN_KEYS, PROMPT_SCREEN_KEYS, SETTINGS_SCREEN_KEYS, APP_KEYS),
        "Prompt": _with_ids(PANE_KEYS, PROMPT_KEYS, EDITING_KEYS),
        "Settings": _with_ids(FieldRows.BINDINGS),
        "Picture": _with_ids(PICTURE_KEYS),
        "Queue": _with_ids(QueuePane.BINDINGS, RowList.BINDINGS),
        "History": _with_ids(History.BINDINGS),
    }


def keymap() -> list[Binding]:
    """Every binding with an id, and so with keys that the config can change: those of questions and lists, too.

    Imports the app: a class that is not there yet would be missed.
    """
    import flux_tui.app  # noqa: F401

    ours = (kind for kind in _subclasses(DOMNode) if kind.__module__.startswith("flux_tui."))
    tables = (*all_bindings().values(), *(vars(kind).get("BINDINGS", ()) for kind in ours))
    found: dict[str, Binding] = {}
    for binding in _with_ids(*tables):
        found.setdefault(str(binding.id), binding)
    return list(found.values())


def _subclasses(kind: type) -> Iterator[type]:
    subclasses: list[type] = type.__subclasses__(kind)
    for subclass in subclasses:
        yield subclass
        yield from _subclasses(subclass)


def effective_keys(configured: Mapping[str, str], swapped: Mapping[str, str]) -> dict[str, str]:
    """Every action's keys by its id: the config's, else those of the swap of Enter and Ctrl+J, else its own."""
    bindings = [binding for of_pane in all_bindings().values() for binding in of_pane]
    own = {str(binding.id): binding.key.replace(UNBOUND, "") for binding in bindings}
    return {**own, **swapped, **configured}


def key_faults(configured: Mapping[str, str]) -> list[str]:
    """What is wrong with the config's keys: two actions on one key, a letter that nobody could type any more."""
    faults = []
    keys = effective_keys(configured, {})
    for pane, bindings in all_bindings().items():
        for binding in bindings:
            for key in keys[str(binding.id)].split(","):
                others = [str(b.id) for b in bindings if b is not binding and key and key in keys[str(b.id)].split(",")]
                if binding.id in configured and others:
                    faults.append(f"[keys] {binding.id}: {key} is also the key of {', '.join(others)} ({pane}).")
                if binding.id in configured and binding.priority and len(key) == 1:
                    faults.append(
                        f"[keys] {binding.id}: {key} could not be typed any more; expected a key without text."
                    )
    if not keys["quit"]:
        faults.append("[keys] quit has no key; the palette still ends the program.")
    return faults


def _with_ids(*tables: Iterable[Any]) -> tuple[Binding, ...]:
    return tuple(binding for table in tables for binding in table if isinstance(binding, Binding) and binding.id)


def written(keys: str) -> str:
    """Keys as people write them: "F5  Ctrl+G", "S", "?"; "" of none."""
    return "  ".join(map(_written_key, keys.split(",")))


def _written_key(key: str) -> str:
    if len(key) == 1:
        return key  # case tells a key with shift from one without
    *modifiers, last = key.split("+")
    sign = format_key(last)  # an arrow or the like for a key without a sign, which is no ASCII
    name = sign.upper() if len(sign) == 1 and sign.isascii() else _NAMES.get(last, last.capitalize())
    return "+".join((*map(str.capitalize, modifiers), name))
