"""Keys of one burst, as a slow link sends them, act in the order in which they were pressed.

Textual gives every key to the widget that has the focus when the key comes, and lets a bound one rise from there to the
app before it acts; the keys behind it are typed meanwhile. So "a dog", Ctrl+W, "cat" became "a ", Enter ran what was
typed after it, and keys for a screen that the first of them opens were lost or came in another order. Here the next key
is looked at when the one before has acted. Knows no widget in particular.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from textual import events
from textual.app import App


class KeysInOrder(App[None]):
    """An app in which every key and every paste finds the focus, the screen and the text that those before it left."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._keys_held: deque[events.Key | events.Paste] = deque()
        self._key_acts = True  # until the first screen is there, with its focus

    def on_mount(self) -> None:
        self.screen.call_after_refresh(self.call_later, self._first_key)  # the screen gives the focus meanwhile

    async def _first_key(self) -> None:
        """Go on with what came before there was anything to see: an Enter among it is a new line, and runs nothing."""
        early, self._keys_held = self._keys_held, deque()
        for event in early:
            is_enter = isinstance(event, events.Key) and event.key == "enter"
            self._keys_held.append(events.Paste("\n") if is_enter else event)
        await self._next_key()

    @property
    def keys_wait(self) -> bool:
        """Whether a key that has come has not acted yet."""
        return self._key_acts

    async def on_event(self, event: events.Event) -> None:
        """Hold keys and pastes; everything else goes its usual way."""
        if not isinstance(event, (events.Key, events.Paste)) or event.is_forwarded:
            await super().on_event(event)
            return
        self._keys_held.append(event)
        if not self._key_acts:
            self._key_acts = True
            await self._next_key()

    async def _next_key(self) -> None:
        if not self._keys_held:
            self._key_acts = False
            return
        try:
            await self._act(self._keys_held.popleft())
        finally:
            self.call_later(self._settle)  # Textual moves the focus by a callback in the app's queue

    def _settle(self) -> None:
        """Go on when what has the focus, or a screen that is still opening, has done what it was told."""
        for pump in (self.focused, self.screen):
            if pump is not None and pump.call_later(self.call_later, self._next_key):
                return
        self.call_later(self._next_key)

    async def _act(self, event: events.Key | events.Paste) -> None:
        if isinstance(event, events.Paste) or self._types(event):
            await super().on_event(event)
            return
        key = event.key.replace("\r", "enter")  # what tmux makes of Shift+Enter is "shift+\r" to Textual
        bound = self.screen.active_bindings.get(key)
        if bound is not None and await self.run_action(bound.binding.action, bound.node):
            return
        if "alt+" not in key:  # Alt+D comes as a printable "d" from most terminals, and would be typed
            await super().on_event(events.Key(key, event.character))

    def _types(self, event: events.Key) -> bool:
        """Whether a key is text for what has the focus."""
        focused = self.focused
        return (
            focused is not None
            and event.is_printable
            and "alt+" not in event.key
            and focused.check_consume_key(event.key, event.character)
        )
