"""A real pseudo-terminal with a program in it, read by pyte."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pyte

WAIT_S = 60.0
ANSWERS = {b"\x1b[c": b"\x1b[?62;22c", b"\x1b[6n": b"\x1b[1;1R"}  # its attributes; the cursor's place


class Terminal:
    """Runs `argv`; `until` reads what it paints until the screen says so."""

    def __init__(
        self,
        argv: list[str],
        cwd: Path,
        size: tuple[int, int] = (80, 24),
        wait_s: float = WAIT_S,
        variables: Mapping[str, str] | None = None,
        program: str = sys.executable,
    ) -> None:
        self.wait_s = wait_s
        self.screen = pyte.Screen(*size)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.is_plugged = True
        self.master, slave = os.openpty()
        self._resize(slave, size)
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONPATH": str(cwd)}
        environment |= variables or {}
        self.process = subprocess.Popen(
            [program, *argv], stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
        )
        os.close(slave)

    @classmethod
    def of(cls, argv: list[str], cwd: Path) -> Terminal:
        """One with a program that is not Python's."""
        return cls(argv[1:], cwd, program=argv[0])

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(WAIT_S)
        if self.is_plugged:
            os.close(self.master)

    def text(self) -> str:
        """What is on the screen."""
        return "\n".join(self.screen.display)

    def press(self, keys: str) -> None:
        """Send what a terminal sends."""
        os.write(self.master, keys.encode())

    def unplug(self) -> None:
        """Take the terminal away, as a link that breaks does."""
        self.is_plugged = False
        os.close(self.master)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size in mid-run."""
        self.screen.resize(lines, columns)
        self._resize(self.master, (columns, lines))
        os.killpg(self.process.pid, signal.SIGWINCH)

    def until(self, condition: Callable[[], object]) -> None:
        """Read until something is true."""
        deadline = time.monotonic() + self.wait_s
        while not condition():
            assert time.monotonic() < deadline, f"it never came:\n{self.text()}"
            self._read(0.2)

    def listen(self, seconds: float) -> None:
        """Read whatever comes for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._read(left)

    def settle(self) -> None:
        """Read until half a second passes in silence."""
        heard = -1
        while heard != len(self.raw):
            heard = len(self.raw)
            self.listen(0.5)

    def end(self) -> int:
        """Read to the end; the exit status."""
        self.until(lambda: self.process.poll() is not None)
        self._read(0.1)
        return self.process.returncode

    def _read(self, timeout_s: float) -> None:
        if select.select([self.master], [], [], timeout_s)[0]:
            try:
                part = os.read(self.master, 65536)
            except OSError:  # Linux says so when the other end has closed
                return
            self.raw += part
            self.stream.feed(part)
            for question, answer in ANSWERS.items():
                os.write(self.master, answer * part.count(question))

    @staticmethod
    def _resize(fd: int, size: tuple[int, int]) -> None:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
