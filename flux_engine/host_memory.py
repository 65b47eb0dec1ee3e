"""How much memory this machine has left, and how much of a GPU's JAX may take. Stdlib only: before JAX is imported."""

from __future__ import annotations

import os
from pathlib import Path

STATM = Path("/proc/self/statm")
DEVICE_SHARE = "0.92"  # of a GPU's memory; by itself JAX takes 0.75, and FLUX.1-dev would not fit 24 GB
MEMINFO = Path("/proc/meminfo")


def allow_most_of_the_device() -> None:
    """Let JAX take nearly all of a GPU's memory, as it is needed; what the environment says already is kept."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", DEVICE_SHARE)


def memory_bytes(meminfo: Path = MEMINFO) -> tuple[int | None, int | None]:
    """(used, total) bytes of the machine's memory, by Linux's own file, or None; used is what is not to be had."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        total, free = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return None, None
    return total - free, total


def process_bytes(statm: Path = STATM) -> int | None:
    """What this process has in memory, by Linux's own file, or None."""
    try:
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
