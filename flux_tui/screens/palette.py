"""Textual's palette of commands, which may be asked to turn a page before there is one."""

from __future__ import annotations

from textual.command import CommandList, CommandPalette


class Palette(CommandPalette):
    """The palette; where its list has no place on the screen yet, keys for the list do nothing."""

    def _action_command_list(self, action: str) -> None:
        if self.query_one(CommandList).scrollable_content_region:
            super()._action_command_list(action)
