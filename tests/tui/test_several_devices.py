"""`--mesh` and `--coordinator`: which devices paint is no setting of a picture, and reaches the engine all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flux_engine import cli
from flux_engine.where import MeshSizes, Processes
from flux_tui import paths
from flux_tui.command_line import main, parser
from flux_tui.config import ConfigFileError, load_config, set_value
from flux_tui.launch import launch_from
from flux_tui.session import Session
from tests.tui.fakes import FakeEngine

MESH = MeshSizes(data=2, tensor=4)
TOGETHER = ("--coordinator", "here:1234", "--processes", "2", "--process")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What engines were asked for."""
    engines: list[tuple[Any, ...]] = []
    monkeypatch.setattr(cli, "_real_engine", lambda *given: engines.append(given) or FakeEngine())
    return engines


@pytest.mark.parametrize("argv", [["--mesh", "data=2,tensor=4", "generate"], ["generate", "--mesh", "tensor=4,data=2"]])
def test_a_mesh_may_be_named_before_the_verb_and_after(
    asked: list[tuple[Any, ...]], argv: list[str], tmp_path: Path
) -> None:
    assert main([*argv, "--prompt", "a hill", "--gallery", str(tmp_path)]) == 0
    assert asked == [(False, MESH, None)]


def test_the_configs_mesh_holds_where_no_flag_names_one(asked: list[tuple[Any, ...]], tmp_path: Path) -> None:
    paths.config_file().parent.mkdir(parents=True, exist_ok=True)
    paths.config_file().write_text('[app]\nmesh = "data=2,tensor=4"\n')
    assert load_config(paths.config_file()).app.mesh == MESH
    picture = ["generate", "--prompt", "a hill", "--output", str(tmp_path / "hill.png")]
    assert main(picture) == 0
    assert main([*picture, "--mesh", "data=1"]) == 0
    assert asked == [(False, MESH, None), (False, MeshSizes(), None)]
    assert Session().option("mesh") == MESH
    assert Session(launch_from(parser().parse_args(["--mesh", "sequence=2"]))).option("mesh") == MeshSizes(sequence=2)


def test_a_config_that_names_no_mesh_is_told_what_one_is() -> None:
    with pytest.raises(ConfigFileError, match="expected data, sequence or tensor with a number each: data=2,tensor=4"):
        set_value(paths.config_file(), "app.mesh", "heads=3")
    set_value(paths.config_file(), "app.mesh", "sequence=2")
    assert load_config(paths.config_file()).app.mesh == MeshSizes(sequence=2)
    set_value(paths.config_file(), "app.mesh", "")
    assert load_config(paths.config_file()).app.mesh is None


def test_a_flag_that_names_no_mesh_is_told_what_one_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--mesh", "heads=3"])
    assert "expected axes out of data, sequence, tensor with a number each" in capsys.readouterr().err


def test_process_0_paints_and_keeps_the_others_follow(
    asked: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    followed: list[Processes] = []
    monkeypatch.setattr(cli, "follow", lambda processes, verbose: followed.append(processes) or 0)
    picture = ["generate", "--mesh", "data=2", "--prompt", "a hill", "--output", str(tmp_path / "hill.png")]
    first, second = (Processes(coordinator="here:1234", count=2, index=index) for index in (0, 1))
    assert main([*picture, *TOGETHER, "0"]) == 0
    assert asked == [(False, MeshSizes(data=2), first)]
    for argv in (picture, []):  # whatever process 0 was started with: these only follow, without a terminal
        assert main([*argv, *TOGETHER, "1"]) == 0
    assert followed == [second, second]
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--processes", "2"], "--processes and --process need a --coordinator"),
        ([*TOGETHER, "2"], "This is process 2 of 2; expected a number from 0 to 1."),
    ],
)
def test_processes_that_cannot_be_are_refused(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(argv)
    assert message in capsys.readouterr().err


def test_a_verb_that_paints_nothing_takes_no_processes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TOGETHER, "1", "models"]) == 2
    assert "'flux-tui models' runs in one process" in capsys.readouterr().err


def test_a_mesh_without_devices_for_it_has_no_plan(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "demo", "--mesh", "tensor=400"]) == 2
    assert "The mesh tensor=400 needs 400 devices; there are" in capsys.readouterr().err
