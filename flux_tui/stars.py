"""Which pictures are starred: a file of lines beside them, so that a copied gallery keeps its stars.

    <gallery>/.stars      2025-11-23/223900-1-42.png

One path a line: what damages a line costs one star. The file is read again before each change, so the stars that
another program set meanwhile stay. A star outlives its picture, and is there again when the picture comes back.
"""

from __future__ import annotations

import re
from pathlib import Path

from flux_engine.errors import OutputError
from flux_engine.png import write_file

STARS_FILE = ".stars"
MAX_BYTES = 16 * 1024 * 1024  # half a million stars

_LINE = re.compile(r"\d[^/\s]*/\d[^/\s]*\.png")  # begins with digits: no way out of the gallery


def read_stars(root: Path) -> frozenset[Path]:
    """The starred pictures of the gallery at `root`; none when its file is missing or not ours to read."""
    try:
        return frozenset(root / line for line in _lines(root))
    except OSError:
        return frozenset()


def write_star(root: Path, path: Path, starred: bool) -> frozenset[Path]:
    """Star a picture of the gallery at `root`, or take its star away; returns all that are starred then.

    Raises:
        OutputError: the file can be read no more, which would lose the other stars, or cannot be written.
    """
    file = root / STARS_FILE
    try:
        lines = set(_lines(root))
    except OSError as error:
        fault = f"{file} could not be read: {error.strerror}."
        raise OutputError(fault, hint="Make it yours to read, or move it away.") from error
    line = path.relative_to(root).as_posix()
    if starred != (line in lines):
        lines ^= {line}
        write_file(file, "".join(f"{line}\n" for line in sorted(lines)).encode(), replace=True)
    return frozenset(root / line for line in lines)


def _lines(root: Path) -> list[str]:
    try:
        with (root / STARS_FILE).open("rb") as file:
            text = file.read(MAX_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if _LINE.fullmatch(line)]
