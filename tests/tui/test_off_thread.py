"""What touches a disk is waited for, and not for ever."""

from __future__ import annotations

import asyncio
import threading

import pytest

from flux_tui.off_thread import off_thread


def fail() -> None:
    raise ZeroDivisionError("by zero")


async def test_what_the_function_returns_or_raises_comes_back_from_another_thread() -> None:
    assert await off_thread(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError, match="by zero"):
        await off_thread(fail)


async def test_a_function_that_hangs_is_left_alone_and_its_late_answer_is_dropped() -> None:
    go_on, threads, faults = threading.Event(), [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))

    def hang() -> None:
        threads.append(threading.current_thread())
        go_on.wait(30)

    with pytest.raises(TimeoutError):
        await off_thread(hang, 0)
    go_on.set()
    while not threads:
        await asyncio.sleep(0)
    await asyncio.to_thread(threads[0].join, 30)
    await asyncio.sleep(0)  # the answer that comes too late
    assert not faults and not threads[0].is_alive()
