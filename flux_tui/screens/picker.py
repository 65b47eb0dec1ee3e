"""A list to pick from by typing: prompts of the history, styles, presets.

Knows labels and how one of them is found; what is picked goes back to whoever asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, TypeVar

from rich.cells import cell_len
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList, Static

from flux_tui.cell_text import shortened
from flux_tui.glyphs import UNICODE
from flux_tui.off_thread import PATIENCE_S, off_thread
from flux_tui.screens.modal import Modal
from flux_tui.widgets.key_footer import KeyFooter

PADDED_NAME = re.compile(r"[\w-](?:[\w -]{0,9}[\w-])? {2,12}")
MAX_SHOWN = 200  # more words find the rest; an OptionList lays out every row, 10 ms for these

T = TypeVar("T")
Label = str | tuple[str, str]
"""A row: words, or a column that stays as it is and the words behind it."""


class Typed(Input):
    """What is typed to find rows, and the keys for the one under the cursor."""

    BINDINGS: ClassVar = [
        Binding("enter", "screen.take", "Take", key_display="Enter", id="picker-take", tooltip="Take this one")
    ]


class Picker(Modal[T | None]):
    """Type, see what matches, take one: its value is the screen's result, None when nothing was taken.

    Args:
        title: what is picked.
        find: what was typed -> (label, value) pairs, the best first. Called at every key.
        read: called once, in a thread, before the first `find`, which may then be asked for what it has read.
        empty: said when nothing is found.
        placeholder: said where nothing is typed.
        ellipsis: what ends a label that is cut.
    """

    # Transparent: a tint would change the colour that carries a kitty picture's number, and the picture would go.
    DEFAULT_CSS = """
    Picker {
        align: center middle;
        background: transparent;
        & > Vertical {
            width: 90%; max-width: 110; min-width: 20; height: 85%; max-height: 30;
            border: round $accent; border-title-color: $text-accent; border-subtitle-color: $text-muted;
            background: $background; padding: 0 1;
        }
        &.-narrow > Vertical { width: 100%; height: 100%; }
        Input { border: none; &:focus { border: none; } padding: 0; height: 1; background: $surface; margin-bottom: 1; }
        #picker-empty { color: $text-muted; display: none; }
        .-none #picker-empty { display: block; }
        .-none _Matches { display: none; }
    }
    """

    TYPED: ClassVar[type[Typed]] = Typed

    BINDINGS: ClassVar = [
        Binding(
            "escape", "leave", "Leave", key_display="Esc", id="picker-leave", tooltip="Leave without taking anything"
        ),
        Binding("up", "move('cursor_up')", "Up", show=False, id="picker-up"),
        Binding("down,ctrl+n,ctrl+r", "move('cursor_down')", "Down", show=False, id="picker-down"),
        Binding("pageup", "move('page_up')", "Page up", show=False, id="picker-page-up"),
        Binding("pagedown", "move('page_down')", "Page down", show=False, id="picker-page-down"),
    ]

    def __init__(
        self,
        title: str,
        find: Callable[[str], Sequence[tuple[Label, T]]],
        *,
        read: Callable[[], object] | None = None,
        empty: str = "Nothing matches.",
        placeholder: str = "Type to search",
        ellipsis: str = UNICODE.ellipsis,
    ) -> None:
        super().__init__()
        self.HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (48, "-normal")]  # from where on cells can be spared around it
        self._find = find
        self._read = read
        self._has_read = asyncio.Event()
        self._empty = Static(empty, id="picker-empty", markup=False)
        self._found: Sequence[tuple[Label, T]] = ()
        self._searched = ""
        self._typed = self.TYPED(placeholder=placeholder, select_on_focus=False)
        self._matches = _Matches(ellipsis)
        # Held, not queried: what is read may come when the screen has lost its widgets and still goes.
        self._box = Vertical(self._typed, self._empty, self._matches)
        self._box.border_title = title

    def compose(self) -> ComposeResult:
        yield self._box
        yield KeyFooter()

    def on_mount(self) -> None:
        self._typed.cursor_blink = False  # a blinking cursor sends bytes for ever
        self.set_focus(self._typed)  # at once: keys that came in one burst with the one that opened this go into it
        self.run_worker(self._begin())

    async def _begin(self) -> None:
        if self._read is not None:
            try:
                await off_thread(self._read)
            except TimeoutError:
                self.say_empty("The disk does not answer.")
        self._has_read.set()
        self._search()

    def say_empty(self, words: str) -> None:
        """Say this from now on when nothing is found."""
        if self._empty.content != words:
            self._empty.update(words)

    @on(Input.Changed)
    def _search(self) -> None:
        if not self._has_read.is_set():
            return
        self._searched = self._typed.value
        self._draw_again(0)

    def _draw_again(self, place: int | None = None) -> None:
        """Find once more, with the cursor on the row at a place, or where it was."""
        self._found = self._find(self._searched)
        self._matches.show([label for label, _ in self._found[:MAX_SHOWN]], self.place if place is None else place)
        self._box.set_class(not self._found, "-none")
        self._box.border_subtitle = self.count_shown(len(self._found))

    def count_shown(self, count: int) -> str:
        """What is said of how many were found."""
        return f"{MAX_SHOWN} of {count:,}" if count > MAX_SHOWN else str(count or "")

    @property
    def place(self) -> int | None:
        """The row under the cursor, from 0; None where there is none."""
        return self._matches.highlighted

    def action_move(self, how: str) -> None:
        """Move the cursor of the list, which never has the focus. `how` is an action of its own."""
        if self._matches.scrollable_content_region or not how.startswith("page"):  # Textual fails at a page of nothing
            getattr(self._matches, f"action_{how}")()

    async def action_take(self) -> None:
        """Take what the cursor is on, if anything was found."""
        await self.catch_up()
        if self.place is not None:
            self.take(self.place)

    async def catch_up(self) -> None:
        """Have found what was typed, also when a key came in one burst with the words."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._has_read.wait(), PATIENCE_S)
        if self._searched != self._typed.value:
            self._search()

    def take(self, place: int) -> None:
        """Close with the row at a place."""
        self.dismiss(self._found[place][1])

    def action_leave(self) -> None:
        """Close; nothing is taken."""
        self.dismiss(None)

    @on(OptionList.OptionSelected)
    def _take_clicked(self, event: OptionList.OptionSelected) -> None:
        self.take(event.option_index)


async def pick(app: App[Any], picker: Picker[T], take: Callable[[T], Awaitable[None] | None]) -> None:
    """Show a picker; `take` gets what is picked, if anything is."""

    async def taken(value: T | None) -> None:
        if value is not None and (taking := take(value)) is not None:
            await taking

    await app.push_screen(picker, taken)  # awaited: the keys that follow in one burst are for the picker


class _Matches(OptionList, can_focus=False):
    """The rows, cut anew at every width."""

    DEFAULT_CSS = """
    _Matches {
        height: 1fr; border: none; padding: 0; background: $background; scrollbar-size-vertical: 1;
        & > .option-list--option-highlighted {
            color: $block-cursor-foreground; background: $block-cursor-background; text-style: $block-cursor-text-style;
        }
        &:nocolor > .option-list--option-highlighted { text-style: bold underline; }
    }
    """

    def __init__(self, ellipsis: str) -> None:
        super().__init__()
        self._ellipsis = ellipsis
        self._labels: Sequence[Label] = ()

    def show(self, labels: Sequence[Label], place: int | None) -> None:
        """Show these, the one at a place highlighted."""
        self._labels = labels
        self._fill()
        self.highlighted = min(place or 0, len(labels) - 1) if labels else None

    def on_resize(self) -> None:
        place = self.highlighted
        self._fill()
        self.highlighted = place

    def _fill(self) -> None:
        width = self.scrollable_content_region.width
        self.set_options([Content(_row(label, width, self._ellipsis) or " ") for label in self._labels])


def _row(label: Label, width: int, ellipsis: str) -> str:
    """The label in one line; the spaces after a name that was padded stay, so that what follows is a column."""
    if isinstance(label, str):
        name = padded_name.group() if (padded_name := PADDED_NAME.match(label)) else ""
        label = name, label[len(name) :]
    name, words = label
    return name + shortened(words, max(width - cell_len(name), 0), ellipsis)
