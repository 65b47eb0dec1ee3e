"""Waiting for what touches a disk without standing still. Knows no screen."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 2.0  # a disk that takes longer hangs; whoever pressed the key wants to go on


async def off_thread(function: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """What a function returns, called in a thread of its own, which does not keep a program alive that ends.

    Args:
        function: what may take its time.
        patience_s: for how many seconds it is waited for.

    Raises:
        TimeoutError: it has not returned by then; it goes on, and what it returns is dropped.
        Exception: whatever the function raises.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = function()
        except Exception as error:
            tell(answer.set_exception, error)
        else:
            tell(answer.set_result, result)

    def tell(say: Callable[..., None], what: object) -> None:
        if not loop.is_closed():  # else nobody is left to tell
            loop.call_soon_threadsafe(lambda: None if answer.done() else say(what))

    threading.Thread(target=run, name="flux-disk", daemon=True).start()
    return await asyncio.wait_for(answer, patience_s)
