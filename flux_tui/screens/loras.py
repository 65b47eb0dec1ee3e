"""The LoRAs of the next pictures, chosen from a folder: which of them, how strong, and the words that trigger them.

Knows the folder and what is chosen; the form and the prompt get both from whoever opened it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len
from textual.binding import Binding

from flux_engine.lora_text import tuned
from flux_engine.request import LoraUse
from flux_tui.cell_text import padded, shortened
from flux_tui.glyphs import Glyphs
from flux_tui.loras import lora_files, path_of, short_name, trigger_words_of
from flux_tui.off_thread import off_thread
from flux_tui.screens.picker import Label, Picker, Typed
from flux_tui.styles import matching

STEP = 0.05  # of a strength
NAME_CELLS = (12, 40)  # at least and at most
AT_A_TIME = 50  # headers that are read before their words are shown: some have a megabyte

Loras = tuple[LoraUse, ...]


class _Typed(Typed):
    """The words to search by; a space, which no search needs, and the arrows are for the row under the cursor."""

    BINDINGS: ClassVar = [
        Binding(
            "enter,space",
            "screen.take",
            "On/off",
            key_display="Enter",
            id="lora-toggle",
            tooltip="Use this LoRA, or not any more",
        ),
        Binding("left", f"screen.tune(-{STEP})", "Weaker", id="lora-weaker", tooltip="Use this LoRA, and less of it"),
        Binding("right", f"screen.tune({STEP})", "Stronger", id="lora-stronger", tooltip="Use this LoRA, more of it"),
    ]

    def check_consume_key(self, key: str, character: str | None) -> bool:
        return character != " " and super().check_consume_key(key, character)


class LoraPicker(Picker[Loras]):
    """Its result is what is chosen in the end, by names as they stand in the form; None if nothing was changed.

    Args:
        folder: of the files.
        chosen: what is chosen at first; it comes before the others.
        insert: gets the trigger words that were asked for.
        signs: the mark of what is chosen, and of a cut.
    """

    TYPED = _Typed

    BINDINGS: ClassVar = [
        Binding(
            "ctrl+t",
            "insert_words",
            "Words into the prompt",
            key_display="^T",
            id="lora-words",
            tooltip="Put the trigger words of this LoRA into the prompt",
        ),
        Binding("escape", "leave", "Done", key_display="Esc", id="lora-done", tooltip="Go on with what is chosen"),
    ]

    def __init__(self, folder: Path, chosen: Loras, insert: Callable[[tuple[str, ...]], None], signs: Glyphs) -> None:
        super().__init__("LoRAs", self._rows, read=self._read, ellipsis=signs.ellipsis)
        self._folder = folder
        self._insert = insert
        self._signs = signs
        self._tuned = {lora.file: lora for lora in (self._named(lora) for lora in chosen)}
        self._before = self._chosen = self._names = list(self._tuned)
        self._first = self._result
        self._words: dict[str, tuple[str, ...]] = {}
        self._fault = f"{folder} does not answer."  # until it does

    def _named(self, lora: LoraUse) -> LoraUse:
        name = short_name(path_of(lora.file, self._folder), self._folder)
        return LoraUse(file=name, strength=lora.strength)

    @property
    def _result(self) -> Loras:
        return tuple(self._tuned[name] for name in self._chosen)

    # The rows

    def _read(self) -> None:
        try:
            found, self._fault = [file.name for file in lora_files(self._folder)], ""
        except OSError as error:
            found, self._fault = [], f"{self._folder} cannot be read: {error.strerror}."
        self._names = [*self._before, *(name for name in found if name not in self._before)]

    async def _begin(self) -> None:
        await super()._begin()
        self.refresh_bindings()
        for start in range(0, len(self._names), AT_A_TIME):
            names = self._names[start : start + AT_A_TIME]
            try:
                self._words |= await off_thread(lambda names=names: self._words_of(names))  # type: ignore[misc]
            except TimeoutError:  # these have no words, then
                continue
            self._draw_again()
            await asyncio.sleep(0)  # keys that came meanwhile

    def _words_of(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        return {name: trigger_words_of(Path(path_of(name, self._folder))) for name in names}

    def _rows(self, typed: str) -> Sequence[tuple[Label, Loras]]:
        found, typed = matching(self._names, typed), typed.casefold()
        known = set(found)
        found += [name for name in self._names if name not in known and typed in self._joined(name).casefold()]
        self.say_empty("No LoRA has such a name, or such words." if self._names else self._how_to)
        longest = max(map(cell_len, found), default=0)
        room = min(max(longest, NAME_CELLS[0]), NAME_CELLS[1], max(self.size.width * 2 // 5, NAME_CELLS[0]))
        self._found_names = found
        return [((self._head(name, room), self._joined(name)), ()) for name in found]

    @property
    def _how_to(self) -> str:
        if self._fault:
            return f"{self._fault} Name another folder as lora_folder in the config."
        return f"There is no LoRA in {self._folder}: put files there, or name another as lora_folder in the config."

    def _head(self, name: str, room: int) -> str:
        is_on = name in self._chosen
        mark, strength = (self._signs.done, f"{self._tuned[name].strength:.2f}") if is_on else (" ", "")
        return f"{mark} {padded(shortened(name, room, self._signs.ellipsis), room)} {strength:>6}  "

    def _joined(self, name: str) -> str:
        return ", ".join(self._words.get(name, ()))

    def count_shown(self, count: int) -> str:
        listed, on = super().count_shown(count), len(self._chosen)
        return ", ".join([f"{on} on"] * bool(on) + [f"{listed} listed"] * bool(listed))

    # What is done with the row under the cursor

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer what is done with a LoRA unless it is known that there is none."""
        is_empty = self._has_read.is_set() and not self._names
        return not (is_empty and action in ("take", "tune", "insert_words"))

    def take(self, place: int) -> None:
        """Use a LoRA, or not any more; with the strength it had before."""
        name = self._found_names[place]
        if name in self._chosen:
            self._chosen = [each for each in self._chosen if each != name]
        else:
            self._choose(name)
        self._draw_again()

    async def action_tune(self, by: float) -> None:
        """Change a strength; one who does wants the LoRA."""
        await self.catch_up()
        if name := self._under_cursor:
            if name in self._chosen:
                self._tuned[name] = tuned(self._tuned[name], by)
            self._choose(name)
            self._draw_again()

    async def action_insert_words(self) -> None:
        """Put the trigger words into the prompt."""
        await self.catch_up()
        if name := self._under_cursor:
            if name not in self._words:  # its file has not had its turn
                with contextlib.suppress(TimeoutError):
                    self._words |= await off_thread(lambda: self._words_of([name]))
            self._insert(self._words.get(name, ()))

    def action_leave(self) -> None:
        """Close; what is chosen holds."""
        self.dismiss(self._result if self._result != self._first else None)

    def _choose(self, name: str) -> None:
        self._tuned.setdefault(name, LoraUse(file=name))
        if name not in self._chosen:
            self._chosen = [*self._chosen, name]

    @property
    def _under_cursor(self) -> str:
        """The LoRA on the row under the cursor; "" where there is none."""
        return "" if self.place is None else self._found_names[self.place]
