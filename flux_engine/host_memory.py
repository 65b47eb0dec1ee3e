"""How much memory this machine has left, by Linux's own file; elsewhere nothing is known: None. stdlib only."""

from __future__ import annotations

from pathlib import Path

MEMINFO = Path("/proc/meminfo")


def memory_bytes(meminfo: Path = MEMINFO) -> tuple[int | None, int | None]:
    """(used, total) bytes of the machine's memory; used is what programs could not get."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        total, free = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):
        return None, None
    return total - free, total
