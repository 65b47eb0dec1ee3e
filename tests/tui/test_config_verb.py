"""`flux-tui config`: where the file is, whether it is valid, what it may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from flux_tui import command_line as tui_main
from flux_tui.config import Config, load_config
from flux_tui.verbs import config


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("FLUX_TUI_CONFIG", str(path))
    return path


@pytest.fixture(autouse=True)
def some_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "_action_ids", lambda: frozenset({"generate"}))


def test_a_file_that_is_not_there_is_no_fault(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tui_main.main(["config"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{path}\n" and "the defaults hold" in err


def test_a_valid_file_is_said_to_be(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text('[app]\ntheme = "flux-light"\n[keys]\ngenerate = "f5"\n')
    assert tui_main.main(["config"]) == 0
    assert capsys.readouterr() == (f"{path}\n", "valid\n")


def test_every_fault_is_a_line_and_the_status_1(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text('[app]\nthem = "x"\nmouse = 3\n[keys]\ngenerat = "f5"\n')
    assert tui_main.main(["config"]) == 1
    out, err = capsys.readouterr()
    assert out == f"{path}\n"
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3 and "theme" in err and "generate" in err


def test_another_file_can_be_named(tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text("[[[")
    (tmp_path / "other.toml").write_text("")
    assert tui_main.main(["--config", str(tmp_path / "other.toml"), "config"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'other.toml'}\n"
    assert tui_main.main(["config"]) == 1


def test_the_template_is_a_file_that_changes_nothing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tui_main.main(["config", "--template"]) == 0
    path.write_text(capsys.readouterr().out)
    assert load_config(path) == Config()


def test_every_option_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert tui_main.main(["config", "--list"]) == 0
    out = capsys.readouterr().out
    assert 'app.theme  (plain text; default "flux-dark")' in out and "defaults.num_steps" in out
    assert all(len(line) <= 120 for line in out.splitlines())


def test_keys_that_clash_are_faults(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_text('[keys]\ngenerate = "f6"\n')
    assert tui_main.main(["config"]) == 1
    err = capsys.readouterr().err
    assert "generate: f6 is also the key of next-pane" in err and "other keys" in err


def test_an_action_that_nobody_knows_leads_to_their_list(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    path.write_text('[keys]\npiant = "f5"\ngenrate = "f5"\n')
    assert tui_main.main(["--config", str(path), "config"]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert errors[0].endswith("piant is unknown; expected an action's id, as 'flux-tui keys --list' has them.")
    assert errors[1].endswith("did you mean generate?")
