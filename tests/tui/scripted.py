"""Terminals that answer by script: the other end of a real pseudo-terminal, and a tmux around the test."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

from flux_tui.terminal.answers import FENCE

WAIT_S = 30.0


class ScriptedTerminal:
    """A terminal that runs `script(self)` once it has been asked for its device attributes.

    Attributes:
        slave: the descriptor that the program under test reads and writes.
        heard: what the program has written.
        settings: of the line, as they were when the question came.
    """

    def __init__(self, script: Callable[[ScriptedTerminal], None]) -> None:
        self.master, self.slave = os.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.heard = b""
        self.settings: list[int] = []
        self._script = script
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> ScriptedTerminal:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            os.write(self.slave, FENCE)  # if nothing was asked, the thread still waits
        self._thread.join(WAIT_S)
        for fd in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)

    def say(self, *pieces: bytes) -> None:
        """Send each piece when the one before has been read."""
        for piece in pieces:
            os.write(self.master, piece)
            until(lambda: not self.unread())

    def hang_up(self) -> None:
        """Close the window."""
        os.close(self.master)
        self.master = -1

    def unread(self) -> int:
        """Bytes that wait for the program."""
        return struct.unpack("i", fcntl.ioctl(self.slave, termios.FIONREAD, bytes(4)))[0]

    def interject(self, data: bytes) -> None:
        """Send to a program that does not listen; returns once the line has it, which its echo shows."""
        os.write(self.master, data)
        echo = b""
        while not echo.endswith(data[-1:]):
            echo += os.read(self.master, 4096)

    def resize(self, columns: int, lines: int, width_px: int, height_px: int) -> None:
        """Set the size, in cells and in pixels."""
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, width_px, height_px))

    def _live(self) -> None:
        while FENCE not in self.heard:
            self.heard += os.read(self.master, 4096)
        self.settings = termios.tcgetattr(self.slave)
        self._script(self)


def until(condition: Callable[[], object]) -> None:
    """Wait for something to be true."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        threading.Event().wait(0.002)


def fake_tmux(folder: Path, answer: str, status: int = 0) -> dict[str, str]:
    """A `tmux` that answers so and keeps its arguments and its stdin in `folder`; the environment that leads to it."""
    script = folder / "tmux"
    script.write_text(f"#!/bin/sh\necho \"$@\" >> '{folder}/asked'\ncat > '{folder}/given'\n{answer}\nexit {status}\n")
    script.chmod(0o755)
    return {"TMUX": "/nowhere,1,0", "TERM": "tmux-256color", "PATH": f"{folder}:{os.environ['PATH']}"}


class RealTmux:
    """A tmux server of its own, shown on a pseudo-terminal that says it is kitty and has true colour.

    Attributes:
        env: the environment of a program in its pane, in which `cat` runs.
        shown: what it has written to its terminal.
    """

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "tmux.sock"
        self.shown = b""
        self.env = {"PATH": os.environ["PATH"], "HOME": str(folder), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        features = ("set", "-as", "terminal-features", ",*:RGB")
        self.run("start-server", ";", *features, ";", "new-session", "-d", "-x", "80", "-y", "24", "cat")
        self.env |= {"TMUX": f"{self.socket},1,0", "TERM": "tmux-256color", "TMUX_PANE": self.run("list-panes", "-F#D")}

    def __enter__(self) -> RealTmux:
        self.master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 800, 480))
        env = {**self.env, "TERM": "xterm-256color"}
        del env["TMUX"]
        self.client = subprocess.Popen(
            self._command("attach"), stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
        )
        os.close(slave)
        self.read_until(lambda: b"\x1b[>q" in self.shown)
        os.write(self.master, b"\x1bP>|kitty(0.35.2)\x1b\\")
        self.read_until(lambda: "kitty" in self.run("list-clients", "-F#{client_termtype}"))
        return self

    def __exit__(self, *_: object) -> None:
        self.run("kill-server")
        self.client.wait(WAIT_S)
        os.close(self.master)

    def run(self, *arguments: str) -> str:
        """Run one of its commands; its output."""
        done = subprocess.run(
            self._command(*arguments), env=self.env, capture_output=True, text=True, check=True, timeout=WAIT_S
        )
        return done.stdout.strip()

    def read_until(self, condition: Callable[[], object]) -> None:
        """Read what it shows until something is true."""

        def is_so() -> object:
            if select.select([self.master], [], [], 0.0)[0]:
                self.shown += os.read(self.master, 65536)
            return condition()

        until(is_so)

    def _command(self, *arguments: str) -> list[str]:
        return ["tmux", "-S", str(self.socket), "-f", "/dev/null", *arguments]
