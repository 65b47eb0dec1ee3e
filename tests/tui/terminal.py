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
CONTROLLED = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
ANSWERS = {b"\x1b[c": b"\x1b[?62;22c", b"\x1b[6n": b"\x1b[1;1R"}  # its attributes; the cursor's place


class Terminal:
    """Runs `argv`; `until` reads what it paints until the screen says so.

    Only where it `controls` the program does Ctrl+C interrupt and an unplugged terminal send SIGHUP.
    """

    def __init__(
        self,
        argv: list[str],
        cwd: Path,
        size: tuple[int, int] = (80, 24),
        wait_s: float = WAIT_S,
        variables: Mapping[str, str] | None = None,
        program: str = sys.executable,
        controls: bool = False,
    ) -> None:
        self.wait_s = wait_s
        self.screen = pyte.Screen(*size)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.is_plugged = True
        self.answers = ANSWERS
        self.master, slave = os.openpty()
        self.name = os.ttyname(slave)
        self._resize(slave, size)
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "PYTHONPATH": str(cwd)}
        environment |= variables or {}
        command = [*([sys.executable, "-c", CONTROLLED] if controls else []), program, *argv]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True
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

    def stall(self, paintings: int = 0) -> None:
        """Read no more, as a link that hangs, until the kernel takes no more; then let so many paintings queue up."""
        slave = os.open(self.name, os.O_RDWR | os.O_NOCTTY)
        while (takes := bool(select.select([], [slave], [], 0.05)[1])) or paintings > 0:
            paintings -= not takes
            self.resize(80, 47 - self.screen.lines)  # paints it all
            # More signals would fill asyncio's wakeup socket (277 bytes), and CPython 3.11 deadlocks in its handler.
            select.select([], [], [], 0.05)
        os.close(slave)

    @property
    def echoes(self) -> bool:
        """Whether it shows what is typed and hands over whole lines, as a shell's does."""
        flags = termios.tcgetattr(self.master)[3]
        return bool(flags & termios.ECHO and flags & termios.ICANON)

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
            for question, answer in self.answers.items():
                os.write(self.master, answer * part.count(question))

    @staticmethod
    def _resize(fd: int, size: tuple[int, int]) -> None:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
