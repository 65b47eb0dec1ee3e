"""`flux-tui` itself: its verbs and what their help costs, the app's flags, terminals that no app can be drawn on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flux_engine.request import LoraUse
from flux_tui import command_line as tui_main
from flux_tui import opening
from flux_tui.launch import Launch
from tests.tui.terminal import Terminal
from tests.tui.test_walls import ARRAYS, PICTURES, SCREEN, modules_after

ROOT = Path(__file__).parents[2]
VERBS = (
    "generate",
    "replay",
    "pull",
    "import",
    "models",
    "loras",
    "verify",
    "plan",
    "bench",
    "doctor",
    "keys",
    "config",
    "completion",
)
HEAVY = ARRAYS | SCREEN | PICTURES | {"rich", "shtab", "tomlkit", "sqlite3", "tokenizers"}


@pytest.mark.parametrize("argv", [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)])
def test_help_and_version_import_nothing_heavy(argv: list[str]) -> None:
    assert not modules_after(f"from flux_tui.__main__ import main; main({argv})") & HEAVY


def test_the_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tui_main.main(["--help"])
    listed = capsys.readouterr().out.partition("verbs:")[2].split()
    assert set(VERBS) <= set(listed) and len(tui_main.VERBS) == len(VERBS)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """With what the app was opened."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        tui_main,
        "run_app",
        lambda gallery, checkpoint, launch, processes: calls.append((gallery, checkpoint, launch)) or 0,
    )
    return calls


def test_what_is_not_said_is_left_to_the_config(launched: list[tuple[Any, ...]]) -> None:
    assert tui_main.main([]) == 0
    ((gallery, checkpoint_dir, launch),) = launched
    assert launch == Launch() and set(vars(launch).values()) == {None}
    assert gallery is None and checkpoint_dir is None


def test_every_flag_of_the_app_reaches_it(launched: list[tuple[Any, ...]], tmp_path: Path) -> None:
    (tmp_path / "c.toml").touch()
    flags = "--low-bandwidth --no-sync --no-mouse --ascii --color 256 --graphics sixel --theme mine --no-warm-up"
    places = ["--gallery", str(tmp_path / "g"), "--checkpoint-dir", "/model", "--config", str(tmp_path / "c.toml")]
    loras = "--lora ink:0.5 --lora film --lora-fuse --no-lora-lenient"
    assert tui_main.main([*flags.split(), *places, *loras.split()]) == 0
    launch = Launch(
        low_bandwidth=True,
        sync=False,
        mouse=False,
        ascii=True,
        color="256",
        graphics="sixel",
        theme="mine",
        warm_up=False,
        config=tmp_path / "c.toml",
        loras=[LoraUse(file="ink", strength=0.5), LoraUse(file="film")],
        lora_fuse=True,
        lora_lenient=False,
    )
    assert launched == [(tmp_path / "g", "/model", launch)]


@pytest.mark.parametrize("flags", [["--color", "pink"], ["--graphics", "oil"], ["--theme", ""], ["paint"]])
def test_a_word_that_nobody_knows_is_one_line(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        tui_main.main(flags)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "flux-tui --help" in line


def test_the_app_without_a_terminal_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert tui_main.main([]) == 1
    assert capsys.readouterr().err == "flux-tui: the app needs a terminal; 'flux-tui generate' does not.\n"


START = """
import os, sys
os.environ.update({0!r})
os.execvp(sys.executable, [sys.executable, "-m", "flux_tui", *{1!r}])
"""


@pytest.mark.parametrize(
    ("environment", "flags", "complaint"),
    [
        ({"TERM": "dumb"}, [], "flux-tui: TERM is dumb: no screen can be drawn."),
        ({"TERM": "dumb"}, ["--ascii"], "flux-tui: TERM is dumb: no screen can be drawn."),
        ({"PYTHONIOENCODING": "latin-1"}, [], "flux-tui: the locale's encoding is iso8859-1, not UTF-8."),
    ],
)
def test_a_terminal_that_cannot_be_drawn_on_is_one_sentence(
    environment: dict[str, str], flags: list[str], complaint: str
) -> None:
    with Terminal(["-c", START.format(environment, flags)], cwd=ROOT, size=(160, 24)) as terminal:
        assert terminal.end() == 1
        (line,) = [line for line in terminal.screen.display if line.strip()]
        assert line.startswith(complaint) and b"\x1b[?1049h" not in terminal.raw


@pytest.mark.parametrize("said_in", ["flag", "config"])
def test_ascii_needs_no_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said_in: str) -> None:
    class Latin:
        encoding = "latin-1"

        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, Latin())
    config = tmp_path / "config.toml"
    config.write_text("[app]\nascii = true\n" if said_in == "config" else "")
    assert opening._unfit_terminal(Launch(ascii=said_in == "flag" or None, config=config)) == ""
    assert "--ascii" in opening._unfit_terminal(Launch(ascii=None, config=tmp_path / "none.toml"))
    assert "--ascii" in opening._unfit_terminal(Launch(ascii=False, config=config))


def test_an_interrupted_verb_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from flux_tui.verbs import doctor

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "_rows", interrupt)
    assert tui_main.main(["doctor"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


FULL = "error: stdout cannot be written: No space left on device\n"
SHELLS = [("{program} | true", 0, ""), ("{program} >&-", 0, "")]
if Path("/dev/full").exists():  # Linux has it
    SHELLS.append(("{program} > /dev/full", 1, FULL))


@pytest.mark.parametrize(("shell", "status", "complaint"), SHELLS)
def test_a_stdout_that_takes_nothing_gives_no_traceback(shell: str, status: int, complaint: str) -> None:
    line = "set -o pipefail; " + shell.format(program=f"{sys.executable} -m flux_tui config --template")
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, cwd=ROOT, env=buffered)
    assert (done.returncode, done.stderr) == (status, complaint)
