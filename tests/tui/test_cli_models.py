"""Models named on the command line: read by the real engine, damaged, or fetched from the Hub."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flux_engine import __main__ as engine_main
from flux_engine import cli
from flux_engine.errors import CheckpointNotFound, FluxError
from flux_engine.request import FLUX_DEFAULTS
from flux_engine.weights.hub import download
from flux_tui import command_line as tui_main
from flux_tui.metadata import read_record
from tests.tui.fakes import FakeEngine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setattr(cli, "_real_engine", lambda *_: fake)
    return fake


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("GatedRepoError", FluxError, "is gated"),
        ("RepositoryNotFoundError", CheckpointNotFound, "is not on the Hub"),
        ("LocalEntryNotFoundError", FluxError, "could not be downloaded"),
        ("OfflineModeIsEnabled", FluxError, "could not be downloaded"),
    ],
)
def test_a_repository_that_cannot_be_had_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: type[FluxError], text: str
) -> None:
    import huggingface_hub
    from huggingface_hub import errors

    fault_type = getattr(errors, name)
    fault = fault_type.__new__(fault_type)
    Exception.__init__(fault, "the network is down")

    def refuse(*_: object, **__: object) -> str:
        raise fault

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(kind, match=text) as raised:
        download("owner/name")
    assert raised.value.hint


def test_a_repository_becomes_its_local_folder_and_a_bad_request_downloads_nothing(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(cli, "download", lambda repo: asked.append(repo) or "/cache/owner/name")
    flags = ["--prompt", "a", "--hf-repo", "owner/name"]
    for bad, complaint in (
        (["--width", "3"], "error: width"),
        (["--output", str(tmp_path)], "is there and is no file"),
    ):
        assert engine_main.main([*flags, *bad]) != 0
        assert complaint in capsys.readouterr().err
    assert asked == []
    assert engine_main.main([*flags, "--width", "64", "--output", str(tmp_path / "a.png")]) == 0
    [request] = engine.requests
    assert (request.checkpoint_dir, request.height) == ("/cache/owner/name", FLUX_DEFAULTS.height)
    assert tui_main.main(["--checkpoint-dir", "/one", "generate", *flags]) == 2
    assert "each name a model" in capsys.readouterr().err
    assert asked == ["owner/name"]


def test_a_name_that_is_no_repository_is_a_bad_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert engine_main.main(["--prompt", "a", "--hf-repo", "no such / name"]) == 2
    assert "is no repository name" in capsys.readouterr().err


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny_checkpoint import write_tiny_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    write_tiny_checkpoint(folder)
    return folder


SMALL = ["--prompt", "a hill", "--width", "32", "--height", "32", "--num-steps", "1", "--dtype", "float32"]


@pytest.mark.parametrize("program", ["flux_engine", "flux_tui"])
def test_the_real_engine_prints_the_path_and_nothing_else_on_stdout(
    program: str, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    verb = ["generate"] if program == "flux_tui" else []
    flags = ["--checkpoint-dir", str(tiny_checkpoint), "--output", str(tmp_path / "a.png")]
    done = subprocess.run(
        [sys.executable, "-m", program, *verb, *SMALL, *flags], capture_output=True, text=True, timeout=240
    )
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'a.png'}\n"), done.stderr
    assert "denoising  1/1" in done.stderr
    record = read_record(tmp_path / "a.png")
    assert record is not None and record.model_name == "tiny"


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda folder: shutil.rmtree(folder), "does not exist. A checkpoint has transformer/"),
        (lambda folder: shutil.rmtree(folder / "vae"), "vae: the folder"),
        (lambda folder: (folder / "t5_text/state/_METADATA").write_text("{"), "t5_text: "),
        (lambda folder: (folder / "transformer/config.json").write_text("{}"), "clip_text gives"),
        (lambda folder: (folder / "tokenizer/merges.txt").unlink(), "merges.txt is missing"),
    ],
    ids=["nothing there", "a part missing", "truncated", "another model's config", "no tokenizer"],
)
def test_a_checkpoint_that_cannot_be_read_is_one_line_and_status_1(
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], object],
    line: str,
) -> None:
    broken = shutil.copytree(tiny_checkpoint, tmp_path / "broken")
    damage(broken)
    output = tmp_path / "a.png"
    assert engine_main.main([*SMALL, "--checkpoint-dir", str(broken), "--output", str(output)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and not output.exists()
    [complaint] = [said for said in err.splitlines() if said.startswith("error: ")]
    assert line in complaint and err.splitlines()[-1] == complaint


def test_a_model_may_be_named_before_the_verb_or_after_it(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--prompt", "a hill", "--output", str(tmp_path / "a.png")]
    for argv in (["--checkpoint-dir", "/one", "generate", *flags], ["generate", "--checkpoint-dir", "/one", *flags]):
        assert tui_main.main(argv) == 0
    assert tui_main.main(["generate", *flags]) == 0
    assert [request.checkpoint_dir for request in engine.requests] == ["/one", "/one", None]


@pytest.mark.parametrize("flag", ["--checkpoint-dir", "--hf-repo", "--gallery", "--output"])
def test_an_empty_name_is_none(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        tui_main.main(["generate", "--prompt", "a hill", flag, ""])
    assert caught.value.code == 2
    assert "empty; leave it out for the default" in capsys.readouterr().err
