"""When an app under a pilot has done what it was asked. Knows Textual's screens and asyncio's loop; measures nothing.

Textual's own pilot sleeps for 20 ms until its process has used less than 1 ms of processor time in them: a key takes
40 ms on an idle machine, and up to two seconds where other threads work.
"""

from __future__ import annotations

import asyncio

import textual.app
import textual.pilot
from textual._context import active_app
from textual.screen import Screen

THREADS_S = 0.002  # what a thread has ready by then is seen by this wait, and not by the next
ROUNDS = 1_000  # an animation never settles


async def settled(min_sleep: float = 0.0, max_sleep: float = 0.0) -> None:
    """Until nothing is left to do but what waits for a timer, a thread or the terminal; the screen is painted by then.

    Takes the arguments of `textual._wait.wait_for_idle`, and needs neither.
    """
    loop = asyncio.get_running_loop()
    app = active_app.get()
    await asyncio.sleep(THREADS_S)
    for _ in range(ROUNDS):
        await asyncio.sleep(0)
        if loop._ready:  # type: ignore[attr-defined]
            continue
        if app._resize_timer is not None:  # a new size is told to the screen after a 120th of a second
            await asyncio.sleep(THREADS_S)
            continue
        screens = (app.screen, *app._background_screens) if app.is_running and app.screen_stack else ()
        waiting = [screen for screen in screens if waits_for_paint(screen)]
        if not waiting:
            return
        for screen in waiting:
            screen._on_timer_update()  # as its timer does every 60th of a second


def waits_for_paint(screen: Screen[object]) -> bool:
    """Whether its timer has anything to do. A screen under another never ends to ask for a repaint of all of it."""
    return not screen.app._batch_count and bool(
        screen._layout_required
        or screen._scroll_required
        or (screen._repaint_required and screen is screen.app.screen)
        or screen._recompose_required
        or screen._dirty_widgets
        or screen._callbacks
    )


def install() -> None:
    """Every pilot of this process waits in this way."""
    textual.app.wait_for_idle = textual.pilot.wait_for_idle = settled
