"""Both command lines: one line of complaint and a status, progress on stderr, paths and nothing else on stdout."""

from __future__ import annotations

import argparse
import io
import os
import pty
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from flux_engine import __main__ as engine_main
from flux_engine import cli
from flux_engine.arguments import add_prompt, add_request_arguments, request_from
from flux_engine.checkpoint_cli import _progress_on_stderr
from flux_engine.display import _rich_display
from flux_engine.errors import CheckpointNotFound
from flux_engine.request import DEMO_DEFAULTS, FLUX_DEFAULTS, Event, GenerationRequest, StageStarted
from flux_tui import command_line as tui_main
from flux_tui.metadata import read_record
from tests.tui.fakes import FakeEngine, fill_up_after

ROOT = Path(__file__).parents[2]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setattr(cli, "_real_engine", lambda *_: fake)
    return fake


def arguments(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_prompt(parser, required=True)
    add_request_arguments(parser)
    return parser.parse_args(["--prompt", "a hill", *flags])


def test_every_flag_reaches_the_request(tmp_path: Path) -> None:
    flags = (
        f"--checkpoint-dir {tmp_path} --negative-prompt fog --height 64 --width 32 --num-steps 5 --sigma-shift 1.5 "
        "--guidance-scale 2.5 --seed 9 --batch-size 2 --true-cfg-scale 3 --integrator heun "
        "--noise torch --dtype bfloat16 --step-cache 0.08 --weights fp8_fast"
    )
    assert request_from(arguments(*flags.split())) == GenerationRequest(
        prompt="a hill",
        checkpoint_dir=str(tmp_path),
        negative_prompt="fog",
        height=64,
        width=32,
        num_steps=5,
        sigma_shift=1.5,
        guidance_scale=2.5,
        seed=9,
        batch_size=2,
        true_cfg_scale=3.0,
        integrator="heun",
        noise="torch",
        dtype="bfloat16",
        step_cache=0.08,
        weights="fp8_fast",
    )


def test_what_is_not_said_is_the_models_default(tmp_path: Path) -> None:
    for flags, defaults in (((), DEMO_DEFAULTS), (("--checkpoint-dir", str(tmp_path)), FLUX_DEFAULTS)):
        request = request_from(arguments(*flags))
        assert (request.width, request.height) == (defaults.width, defaults.height)
        assert (request.num_steps, request.guidance_scale) == (defaults.num_steps, defaults.guidance_scale)


def test_the_engines_command_writes_the_file_it_was_given(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "deep" / "a.png"
    assert engine_main.main(["--prompt", "a hill", "--num-steps", "3", "--output", str(output)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{output}\n"
    assert "denoising  3/3" in err
    record = read_record(output)
    assert record is not None and record.request == engine.requests[0]


def test_without_an_output_it_is_flux_output_and_a_batch_is_numbered(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second time replaces the files of the first
        assert engine_main.main(["--prompt", "a hill", "--batch-size", "2"]) == 0
        assert capsys.readouterr().out == "flux_output_00.png\nflux_output_01.png\n"
    assert engine_main.main(["--prompt", "a hill"]) == 0
    assert capsys.readouterr().out == "flux_output.png\n"
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        "flux_output.png",
        "flux_output_00.png",
        "flux_output_01.png",
    ]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--width", "130"], "error: width is 130 pixels; expected a multiple of 16. Nearest: 128 or 144."),
        (["--num-steps", "-3"], "error: num_steps is -3; expected a whole number from 1 to 1000."),
        (["--prompt", " \n"], "error: The prompt is empty. Say in a few words what to paint."),
        (["--guidance-scale", "nan"], "error: guidance_scale is nan; expected a number of at least 0."),
    ],
)
@pytest.mark.parametrize("main", [engine_main.main, lambda argv: tui_main.main(["generate", *argv])])
def test_a_bad_request_is_one_line_and_status_2(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], main: object, flags: list[str], line: str
) -> None:
    assert callable(main) and main(["--prompt", "a hill", *flags]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{line}\n")
    assert engine.requests == []


@pytest.mark.parametrize(
    ("fault", "status", "line"),
    [
        (CheckpointNotFound("No folder\nthere.", hint="Name another."), 1, "error: No folder there. Name another."),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (
            ZeroDivisionError("by zero"),
            1,
            "error: Something unexpected went wrong: ZeroDivisionError: by zero. "
            "Run again with --verbose-loading for the details.",
        ),
        (
            RuntimeError("RESOURCE_EXHAUSTED: 9 GiB"),
            1,
            "error: There is not enough memory for this picture. Choose a smaller size or batch. "
            "Run again with --verbose-loading for the details.",
        ),
    ],
)
def test_a_fault_while_painting_is_one_line_and_a_status(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], fault: BaseException, status: int, line: str
) -> None:
    engine.fault = fault
    assert engine_main.main(["--prompt", "a hill"]) == status
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{line}\n")


def test_an_output_that_cannot_be_written_is_status_1(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert engine_main.main(["--prompt", "a hill", "--output", str(tmp_path / "file" / "a.png")]) == 1
    assert "could not be written" in capsys.readouterr().err.splitlines()[-1]


def test_a_missing_prompt_is_one_line_that_names_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        engine_main.main([])
    assert raised.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--prompt" in line and "python -m flux_engine --help" in line


BAR = """
import sys
from flux_engine import cli
from tests.tui.fakes import FakeEngine
cli._real_engine = lambda *_: FakeEngine()
from flux_engine.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_on_a_terminal_there_is_a_bar_with_stages_steps_and_pace(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    flags = ["--prompt", "a hill", "--num-steps", "4", "--output", str(tmp_path / "a.png")]
    process = subprocess.Popen(
        [sys.executable, "-c", BAR, *flags],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
    )
    os.close(theirs)
    painted = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux says so when the other end has closed
            break
        if not part:
            break
        painted += part
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert out.decode() == f"{tmp_path / 'a.png'}\n"
    for word in ("loading", "encoding", "denoising", "decoding", "saving", "4/4", "it/s", "━", "ETA"):
        assert word in painted.decode(), word


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_square_brackets_stand_beside_a_bar_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with _rich_display() as show:
        show(StageStarted("loading", "LoRA style[v2]"))
    assert "loading LoRA style[v2]" in terminal.getvalue()
    with _progress_on_stderr() as (watch, clear):
        watch("reading style[v3]", 0.5)
        clear()
    assert "reading style[v3]" in terminal.getvalue()


def test_an_output_that_is_a_folder_is_said_before_anything_is_painted(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert engine_main.main(["--prompt", "a hill", "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path} is there and is no file. Give the name of a file.\n"
    assert engine_main.main(["--prompt", "a hill", "--output", str(tmp_path / "a.jpg")]) == 1
    assert capsys.readouterr().err == "error: a.jpg would be a PNG all the same. Give a name that ends in .png.\n"
    os.mkfifo(tmp_path / "pipe")
    assert engine_main.main(["--prompt", "a hill", "--output", str(tmp_path / "pipe")]) == 1
    assert "pipe is there and is no file" in capsys.readouterr().err
    assert engine_main.main(["--prompt", "a hill", "--output", str(tmp_path / ("a" * 300))]) == 1
    assert "could not be written: File name too long" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert tui_main.main(["--gallery", str(tmp_path / "file"), "generate", "--prompt", "a hill"]) == 1
    assert "could not be written" in capsys.readouterr().err
    assert engine.requests == []


def test_the_names_of_a_batch_are_checked_before_anything_is_painted(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a_01.png").mkdir()
    assert engine_main.main(["--prompt", "a hill", "--batch-size", "2", "--output", str(tmp_path / "a.png")]) == 1
    assert "a_01.png is there and is no file" in capsys.readouterr().err
    long = tmp_path / f"{'a' * 249}.png"  # 253 bytes, of 255
    assert tui_main.main(["generate", "--prompt", "a hill", "--count", "2", "--output", str(long)]) == 1
    assert capsys.readouterr().err.count("could not be written: File name too long") == 2
    assert engine.requests == []
    assert engine_main.main(["--prompt", "a hill", "--output", str(long)]) == 0


def test_a_tilde_is_the_home_folder_and_nobodys_home_is_none(
    engine: FakeEngine, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert engine_main.main(["--prompt", "a hill", "--output=~/a.png"]) == 0
    assert (own_home / "a.png").exists()
    assert tui_main.main(["--gallery", "~nobody-at-all", "generate", "--prompt", "a hill"]) == 0
    assert list((tmp_path / "~nobody-at-all").rglob("*.png"))
    assert request_from(arguments("--checkpoint-dir", "~nobody-at-all/x")).checkpoint_dir == str(
        tmp_path / "~nobody-at-all" / "x"
    )


FULL = "error: stdout cannot be written: No space left on device. It would have said: {output}"
SHELLS = [("{program} | true", 0, ""), ("{program} >&-", 0, "")]
if Path("/dev/full").exists():  # Linux has it
    SHELLS += [("{program} > /dev/full", 1, FULL), ("{program} 2> /dev/full", 0, "")]


@pytest.mark.parametrize(("shell", "status", "complaint"), SHELLS)
def test_a_stream_that_takes_nothing_loses_no_picture(tmp_path: Path, shell: str, status: int, complaint: str) -> None:
    output = tmp_path / "a.png"
    program = f"{sys.executable} -m tests.tui.fake_generate --prompt hill --output {output}"
    line = "set -o pipefail; " + shell.format(program=program)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, cwd=ROOT, env=buffered)
    said = done.stderr.splitlines()
    assert (done.returncode, [text for text in said if "error" in text or "Exception" in text]) == (
        status,
        [complaint.format(output=output)] if complaint else [],
    )
    assert output.exists() and "Traceback" not in done.stderr


def test_a_path_beyond_the_terminals_encoding_is_printed_as_it_is(tmp_path: Path) -> None:
    output = tmp_path / "café.png"
    argv = [sys.executable, "-m", "tests.tui.fake_generate", "--prompt", "hill", "--output", str(output)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(argv, capture_output=True, timeout=60, cwd=ROOT, env=environment)
    assert (done.returncode, done.stdout) == (0, os.fsencode(output) + b"\n")


@pytest.mark.parametrize("to", ["--output", "--gallery"])
def test_what_was_saved_of_a_batch_is_named_before_the_fault(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], to: str
) -> None:
    fill_up_after(2, monkeypatch)
    flags = ["--prompt", "a hill", "--batch-size", "3", to, str(tmp_path / "out")]
    assert tui_main.main(["generate", *flags]) == 1
    out, err = capsys.readouterr()
    assert [Path(path).exists() for path in out.splitlines()] == [True, True]
    assert "No space left on device" in err.splitlines()[-1]


def test_a_folder_that_is_gone_is_no_place(tmp_path: Path) -> None:
    command = f"mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir {tmp_path}/gone && {sys.executable} -m flux_engine"
    done = subprocess.run(
        ["bash", "-c", f"{command} --prompt hill --output a.png"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2 and "the current folder is gone" in done.stderr and "Traceback" not in done.stderr


def test_a_closed_stderr_leaves_stdout_to_the_path(tmp_path: Path) -> None:
    output = tmp_path / "a.png"
    program = f"{sys.executable} -m tests.tui.fake_generate --prompt hill --output {output} 2>&-"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, f"{output}\n")


def test_a_python_warning_is_a_note_even_before_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class WarningEngine(FakeEngine):
        def generate(self, request: GenerationRequest) -> Iterator[Event]:
            warnings.warn("ignored 3 norm scales", stacklevel=1)
            yield StageStarted("loading")
            raise CheckpointNotFound("No folder there.")

    monkeypatch.setattr(cli, "_real_engine", lambda *_: WarningEngine())
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert engine_main.main(["--prompt", "a hill", "--output", str(tmp_path / "a.png")]) == 1
    notes = ["note: ignored 3 norm scales", "error: No folder there."]
    assert capsys.readouterr().err.splitlines()[-2:] == notes
