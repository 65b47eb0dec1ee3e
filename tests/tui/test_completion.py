"""`flux-tui completion`: the scripts are loaded by the shells that they are for, and asked with the Tab key."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flux_tui import command_line as tui_main
from flux_tui.verbs.completion import SHELLS
from tests.tui.terminal import Terminal

ROOT = Path(__file__).parents[2]
Check = Callable[..., None]
"""Type the beginning of a line and Tab, twice; all the words then have to be shown."""


@pytest.fixture
def script(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The script of the shell that the test names."""
    shell = request.node.callspec.params["shell"]
    if shell != "bash" and shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert tui_main.main(["completion", shell]) == 0
    folder = tmp_path / "scripts"
    folder.mkdir()
    path = folder / "_flux-tui"
    path.write_text(capsys.readouterr().out)
    return path


@contextmanager
def asking(shell: str, script: Path) -> Iterator[Check]:
    """An interactive shell that has read the script and nothing else."""
    if shell == "fish":
        yield lambda line, *words: fish(script, line, *words)
        return
    arguments = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[shell]
    setup = {
        "bash": f"source {script}",
        "zsh": f"fpath=({script.parent} $fpath); autoload -U compinit; compinit -D -u",
    }[shell]
    start = f"import os; os.environ.update(PS1='> ', PROMPT='> '); os.execvp({shell!r}, {[shell, *arguments]!r})"
    with Terminal(["-c", start], cwd=ROOT, size=(160, 50)) as terminal:
        terminal.until(lambda: "> " in terminal.text())
        terminal.press(f"{setup}; echo re''ady\r")
        terminal.until(lambda: "\nready" in terminal.text())

        def check(line: str, *words: str) -> None:
            terminal.press(f"\x15clear\r{line}\t\t")
            terminal.until(lambda: line in terminal.screen.display[0])
            terminal.until(lambda: all(word in terminal.text() for word in words))

        yield check


def fish(script: Path, line: str, *words: str) -> None:
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {script}; complete -C {line!r}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and done.stderr == ""
    assert all(word in done.stdout for word in words)


@pytest.mark.parametrize("shell", SHELLS)
def test_verbs_flags_choices_and_files_are_completed(shell: str, script: Path, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "hills.txt").write_text("")
    with asking(shell, script) as check:
        check("flux-tui gen", "flux-tui generate" if shell != "fish" else "generate")
        check("flux-tui generate --integ", "--integrator")
        check("flux-tui generate --integrator ", "euler", "heun", "ddim", "dpmpp_2s")
        check("flux-tui generate --integrator dp", "dpmpp_2s")
        check(f"flux-tui generate --prompts {tmp_path}/files/hi", "hills.txt")
        check(f"flux-tui replay {tmp_path}/files/hi", "hills.txt")
        check(f"flux-tui generate --checkpoint-dir {tmp_path}/files/hi", "hills.txt")
        check("flux-tui completion z", "zsh")


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        tui_main.main(["completion", "ksh"])
    assert caught.value.code == 2
    assert "choose from" in capsys.readouterr().err
