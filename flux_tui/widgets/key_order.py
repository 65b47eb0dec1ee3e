"""Keys of one burst, as a slow link sends them, act in the order in which they were pressed.

Textual lets a bound key rise from the widget to the app before it acts; the keys behind it are typed meanwhile. So
"a dog", Ctrl+W, "cat" became "a ", and Enter ran what was typed after it. Knows no widget in particular.
"""

from __future__ import annotations

from textual import events
from textual.widget import Widget


async def act_in_order(widget: Widget, event: events.Key) -> None:
    """To be called by the `_on_key` of a widget that takes text; its base class then types what is left.

    A bound key acts here and now. A key that comes after the focus has moved on goes to its new owner.
    """
    if widget.app.focused is not widget:
        event.stop()
        event.prevent_default()
        widget.app.post_message(events.Key(event.key, event.character))
    elif not event.is_printable or "alt+" in event.key:  # Alt+D comes as a printable "d" from most terminals
        await _act(widget, event)


async def _act(widget: Widget, event: events.Key) -> None:
    key = event.key.replace("\r", "enter")  # what tmux makes of Shift+Enter is "shift+\r" to Textual
    bound = widget.screen.active_bindings.get(key)
    if bound is not None:
        event.prevent_default()
        if await widget.app.run_action(bound.binding.action, bound.node):
            event.stop()
    elif key != "enter":
        event.prevent_default()
