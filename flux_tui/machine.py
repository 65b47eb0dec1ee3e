"""How much memory and disk this machine has left. Linux's own files; elsewhere nothing is known, and None is said."""

from __future__ import annotations

import shutil
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


def free_disk_bytes(folder: Path) -> int | None:
    """Bytes left on the disk that holds a folder, or will once it is made."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except OSError:
            continue
    return None
