"""A program in a pseudo-terminal whose other end is read at a chosen pace, and the home it runs in.

What is read is kept with the time at which it had arrived, so that nothing is looked for, and no screen is drawn, while
something is timed. Knows the terminal's two answers; knows no figure and no bar.
"""

from __future__ import annotations

import bisect
import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

Size = tuple[int, int]

WAIT_S = 180.0  # a busy machine compiles the demo model for a minute
PACKET_BYTES = 1000  # a slow link delivers so many at once: 10 ms of 100 kB/s
ANSWERS = {b"\x1b[c": b"\x1b[?62;22c", b"\x1b[6n": b"\x1b[1;1R"}  # its attributes; the cursor's place
QUESTION = re.compile(rb"\x1b\[(?:c|6n)")
REQUEST = b"\x1b[6n"  # follows every preview

WELCOME = b"press F5"  # the last words of the first screen
UPPER_HALF = "\N{UPPER HALF BLOCK}".encode()  # pictures are made of it, and nothing else is
F5 = "\x1b[15~"

TMUX_CONFIG = """
set -g status off
set -g default-terminal tmux-256color
set -as terminal-features ',*:RGB'
"""


class Link:
    """Runs a program in a terminal at the far end of a link.

    Args:
        argv: the program.
        env: its whole environment.
        size: columns and lines.
        bytes_per_s: how many the link carries; None for as many as come. There is no delay beside that: over a real
            link, a round trip comes on top of what is measured.

    Attributes:
        heard: everything that has arrived.
        started_at_s: when the program was started, by the monotonic clock.
    """

    def __init__(
        self, argv: Sequence[str], env: dict[str, str], size: Size = (120, 40), bytes_per_s: float | None = None
    ) -> None:
        self.heard = bytearray()
        self._ends: list[int] = []  # of each piece in `heard`
        self._times_s: list[float] = []  # when it had arrived
        self._answered = 0
        self._bytes_per_s = bytes_per_s
        self._free_at_s = 0.0
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.started_at_s = time.monotonic()
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True)
        os.close(slave)

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)
        os.close(self.master)

    def press(self, keys: str) -> float:
        """Send keys; returns when."""
        now_s = time.monotonic()
        os.write(self.master, keys.encode())
        return now_s

    def arrival(self, mark: bytes, since: int = 0) -> float:
        """Read until `mark` has arrived, somewhere behind the first `since` bytes; returns when that was."""
        deadline_s, start = time.monotonic() + WAIT_S, since
        while (place := self.heard.find(mark, start)) < 0:
            if time.monotonic() > deadline_s:
                sys.exit(f"error: {mark.decode()!r} was not painted within {WAIT_S:g} s")
            start = max(since, len(self.heard) - len(mark))
            self._read(0.2)
        return self._times_s[bisect.bisect_left(self._ends, place + len(mark))]

    def listen(self, seconds: float) -> int:
        """Read for so long; returns how many bytes arrived."""
        before, deadline_s = len(self.heard), time.monotonic() + seconds
        while (left_s := deadline_s - time.monotonic()) > 0:
            self._read(left_s)
        return len(self.heard) - before

    def settle(self) -> None:
        """Read until two seconds pass in silence: the state is written 1 s after the last change."""
        while self.listen(2.0):
            pass

    def pieces(self) -> Iterator[tuple[float, bytes]]:
        """Everything that has arrived, and when."""
        for start, end, at_s in zip([0, *self._ends], self._ends, self._times_s, strict=False):
            yield at_s, bytes(self.heard[start:end])

    def _read(self, timeout_s: float) -> None:
        if not select.select([self.master], [], [], timeout_s)[0]:
            return
        try:
            piece = os.read(self.master, PACKET_BYTES if self._bytes_per_s else 65536)
        except OSError:  # Linux says so when the other end has closed
            sys.exit(f"error: the program has ended, after {self.heard[-500:].decode(errors='replace')!r}")
        if self._bytes_per_s:
            self._free_at_s = max(self._free_at_s, time.monotonic()) + len(piece) / self._bytes_per_s
            time.sleep(max(self._free_at_s - time.monotonic(), 0.0))
        self.heard += piece
        self._ends.append(len(self.heard))
        self._times_s.append(time.monotonic())
        self._answer()

    def _answer(self) -> None:
        """Answer what has arrived, in order, as a terminal behind a slow link can do no sooner."""
        for question in QUESTION.finditer(self.heard, self._answered):
            self._answered = question.end()
            os.write(self.master, ANSWERS[question[0]])
        self._answered = max(self._answered, len(self.heard) - 3)  # a question may have been cut in two


@dataclass(frozen=True)
class Home:
    """A folder in which a program finds nothing of this user's: no config, no state, no pictures."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment; true colours, and Python keeps its bytecode as it does of installed packages."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LC_ALL": "C.UTF-8",
            "FLUX_TUI_CONFIG": str(self.folder / "config.toml"),
            "FLUX_TUI_GALLERY": str(self.folder / "pictures"),
        }

    def log(self) -> str:
        """The end of what the app wrote into its log."""
        files = self.folder.rglob("flux-tui.log")
        return "".join(file.read_text(encoding="utf-8", errors="replace")[-5000:] for file in files)

    def open(self, argv: Sequence[str], size: Size, bytes_per_s: float | None = None) -> Link:
        """Run a program in a terminal of its own."""
        return Link(argv, self.env, size, bytes_per_s)


@contextmanager
def home(**defaults: int) -> Iterator[Home]:
    """A home for a while.

    Args:
        defaults: settings of a picture, as the config names them.
    """
    with tempfile.TemporaryDirectory(prefix="flux-bench-", ignore_cleanup_errors=True) as folder:
        config = "".join(f"{name} = {value}\n" for name, value in defaults.items())
        Path(folder, "config.toml").write_text(f"[defaults]\n{config}", encoding="utf-8")
        yield Home(Path(folder))


@contextmanager
def opened(
    home: Home, argv: Sequence[str], size: Size, *, bytes_per_s: float | None = None, tmux: bool = False
) -> Iterator[Link]:
    """A program in a terminal, or in a tmux of its own in one; both end with this."""
    config, server = home.folder / "tmux.conf", ["tmux", "-S", str(home.folder / "tmux.sock")]
    config.write_text(TMUX_CONFIG, encoding="utf-8")
    command = [*server, "-f", str(config), "new-session", *argv] if tmux else argv
    try:
        with home.open(command, size, bytes_per_s) as link:
            yield link
    except SystemExit:
        print(home.log(), file=sys.stderr)  # the folder goes, and the log with it
        raise
    finally:
        if tmux:
            subprocess.run([*server, "kill-server"], capture_output=True, check=False)


def app() -> list[str]:
    """The installed program, of the environment that this runs in."""
    program = Path(sys.executable).parent / "flux-tui"
    if not program.exists():
        sys.exit(f"error: there is no {program}; install the project first: pip install -e '.[dev]'")
    return [str(program)]
