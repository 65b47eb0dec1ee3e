"""Opens files that people name. Stdlib only."""

from __future__ import annotations

import errno
import stat
from io import BufferedReader
from pathlib import Path


def opened(file: Path) -> BufferedReader:
    """The file, to be read.

    Raises:
        OSError: it cannot be opened, or is none: one who opens a pipe waits until somebody writes into it.
    """
    mode = file.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of a folder `open` says so
        raise OSError(errno.EINVAL, "It is no regular file", str(file))
    return open(file, "rb")
