"""The facts at the right of the status line: queue, device, model, memory, disk, what is prepared, as far as known."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from flux_engine.host_memory import memory_bytes
from flux_engine.request import EngineStatus, GenerationRequest
from flux_tui.jobs import JobQueue
from flux_tui.machine import DiskWatch
from flux_tui.progress import bytes_text

if TYPE_CHECKING:
    from flux_tui.screens.main import MainScreen


class Facts:
    """What the status line says of where things stand.

    Args:
        screen: whose status line; its gallery's disk is measured, in a thread.
        queue: what waits.
    """

    def __init__(self, screen: MainScreen, queue: JobQueue) -> None:
        self._screen = screen
        self._queue = queue
        self._engine = EngineStatus(device="")
        self._disk = DiskWatch(screen.gallery.root, partial(screen.to_screen, self._take_disk))
        self._free_bytes: int | None = None
        self._ahead: GenerationRequest | None = None

    @property
    def is_warming_up(self) -> bool:
        """Whether the engine compiles ahead, which a picture that is asked for waits for."""
        return self._ahead is not None

    def take(self, status: EngineStatus) -> None:
        """The engine has told how it is."""
        self._engine = status
        self.show()

    def warming_up(self, request: GenerationRequest | None) -> None:
        """The engine compiles ahead for this, or for nothing any more."""
        self._ahead = request
        self._tell()

    def show(self) -> None:
        """Say all of it as it is now; the disk as soon as it has answered."""
        self._disk.ask()
        self._tell()

    def _take_disk(self, free_bytes: int | None) -> None:
        if free_bytes != self._free_bytes:
            self._free_bytes = free_bytes
            self._tell()

    def _tell(self) -> None:
        waiting, engine = len(self._queue.waiting), self._engine
        queue = ["paused"] * self._queue.paused + [f"{waiting} waiting"] * bool(waiting)
        used, total = memory_bytes()
        self._screen.status.tell(
            ", ".join(queue),
            f"preparing {self._ahead.width}x{self._ahead.height}" if self._ahead else "",
            f"{engine.device} {_of(engine.bytes_in_use, engine.bytes_limit)}".strip(),
            engine.model_name,
            f"memory {_of(used, total)}" if total else "",
            "" if self._free_bytes is None else f"disk {bytes_text(self._free_bytes)} free",
        )


def _of(used: int | None, total: int | None) -> str:
    return "" if used is None or total is None else f"{used / 1e9:.1f}/{bytes_text(total)}"
