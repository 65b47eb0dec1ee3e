"""A real pseudo-terminal with a program in it, read by pyte."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
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
PIECE_BYTES = 4096  # what the screen says between two pieces is seen, too, however late they are read
PIECES = 16
PICTURE = re.compile(rb"\x1b_.*?\x1b\\", re.DOTALL)
ANSWERS = {b"\x1b[c": b"\x1b[?62;22c", b"\x1b[6n": b"\x1b[1;1R"}  # its attributes; the cursor's place


def fake_app(gallery: Path, *flags: str) -> list[str]:
    """What runs the whole program but for its engine."""
    return ["-m", "tests.tui.fake_app", str(gallery), *flags]


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
        self._undrawn = b""
        self._answered = 0  # how much of `raw` was looked through for questions
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
    def of(cls, argv: list[str], cwd: Path, wait_s: float = WAIT_S) -> Terminal:
        """One with a program that is not Python's."""
        return cls(argv[1:], cwd, program=argv[0], wait_s=wait_s)

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

    def stall(self) -> None:
        """Read no more, as a link that hangs, and fill what lies between: what is painted next waits."""
        slave = os.open(self.name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        while select.select([], [slave], [], 0.05)[1]:
            with contextlib.suppress(BlockingIOError):
                os.write(slave, bytes(4096))
        os.close(slave)

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait, and read nothing, until something is true."""
        deadline = time.monotonic() + self.wait_s
        while not condition():
            assert time.monotonic() < deadline, "it never came"
            self.process.poll()
            select.select([], [], [], 0.01)

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
        """Read until something is true, and then what has come with it: a painting may come in many pieces."""
        deadline = time.monotonic() + self.wait_s
        while not condition():
            assert time.monotonic() < deadline, f"it never came:\n{self.text()}"
            self._read(0.2)
        for _ in range(PIECES):
            if not self._read(0.0):
                break

    def listen(self, seconds: float) -> None:
        """Read whatever comes for so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._read(left)

    def settle(self, seconds: float = 0.5) -> None:
        """Read until so long passes in silence."""
        deadline, heard_at = time.monotonic() + self.wait_s, time.monotonic()
        while (now := time.monotonic()) - heard_at < seconds:
            assert now < deadline, f"it never rests:\n{self.text()}"
            if self._read(seconds):
                heard_at = time.monotonic()

    def end(self) -> int:
        """Read to the end; the exit status."""
        self.until(lambda: self.process.poll() is not None)
        while self._read(0.1):
            pass
        return self.process.returncode

    def _read(self, timeout_s: float) -> bool:
        """Whether something came within this time."""
        part = b""
        if select.select([self.master], [], [], timeout_s)[0]:
            with contextlib.suppress(OSError):  # Linux says so when the other end has closed
                part = os.read(self.master, PIECE_BYTES)
        self.raw += part
        self._show(part)
        self._answer()
        return bool(part)

    def _show(self, part: bytes) -> None:
        """Draw what came, but for kitty's pictures, which pyte takes for text; one may come in many pieces."""
        self._undrawn = PICTURE.sub(b"", self._undrawn + part)
        end = len(self._undrawn) if (start := self._undrawn.find(b"\x1b_")) < 0 else start
        end -= self._undrawn.endswith(b"\x1b", 0, end)
        self.stream.feed(self._undrawn[:end])
        self._undrawn = self._undrawn[end:]

    def _answer(self) -> None:
        """Answer what was asked since the last answer; a question may come in two pieces."""
        questions = re.compile(b"|".join(map(re.escape, self.answers)) or b"(?!)")
        for question in questions.finditer(self.raw, self._answered):
            self._answered = question.end()
            os.write(self.master, self.answers[question[0]])
        self._answered = max(self._answered, len(self.raw) - 3)

    @staticmethod
    def _resize(fd: int, size: tuple[int, int]) -> None:
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
