"""What the machine has left, also where a disk does not answer."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from flux_tui import machine


def test_a_disk_that_does_not_answer_keeps_nobody_and_is_asked_once_more_when_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back, calls = threading.Event(), queue.Queue[Path]()

    def hang(place: Path) -> SimpleNamespace:
        calls.put(place)
        assert back.wait(60)
        return SimpleNamespace(free=7)

    monkeypatch.setattr(machine.shutil, "disk_usage", hang)
    told = queue.Queue[int | None]()
    watch = machine.DiskWatch(tmp_path, told.put)
    watch.ask()
    assert calls.get(timeout=60) == tmp_path
    watch.ask()
    watch.ask()
    assert told.empty()
    back.set()
    assert [told.get(timeout=60) for _ in range(2)] == [7, 7]
    watch.ask()
    assert told.get(timeout=60) == 7
    assert calls.qsize() == 2 and told.empty()
