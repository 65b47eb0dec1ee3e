"""Checkpoints have names: in a file, on the command line, and in the app's picker."""

from __future__ import annotations

from pathlib import Path

import pytest

from flux_engine.errors import FluxError, RequestError
from flux_engine.loader import DEMO_CHECKPOINT
from flux_tui import command_line as program
from flux_tui import paths
from flux_tui.__main__ import main
from flux_tui.gallery import Gallery
from flux_tui.models import add_model, find_model, load_models, named_or_path, remove_model
from flux_tui.screens.picker import Picker
from tests.foreign_files import write_single_files
from tests.tui.driver import running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "models.toml"


def test_names_are_kept_beside_what_people_wrote(file: Path) -> None:
    file.parent.mkdir()
    file.write_text('# mine\nolder = "~/older"  # slow\n', encoding="utf-8")
    add_model(file, "flux-dev", Path("/data/flux"))
    add_model(file, "flux-dev", Path("/data/flux"))
    assert file.read_text(encoding="utf-8") == '# mine\nolder = "~/older"  # slow\nflux-dev = "/data/flux"\n'
    assert load_models(file) == ({"older": Path.home() / "older", "flux-dev": Path("/data/flux")}, [])
    remove_model(file, "older")
    assert "older" not in load_models(file)[0] and "# mine" in file.read_text(encoding="utf-8")


def test_a_name_of_another_model_or_none_at_all_is_refused(file: Path) -> None:
    add_model(file, "flux", Path("/one"))
    before = file.read_bytes()
    with pytest.raises(RequestError, match="flux is /one already"):
        add_model(file, "flux", Path("/two"))
    for name in ("", "-x", "a/b", "a b", "x" * 61, "\x1b[2J"):
        with pytest.raises(RequestError, match="is no name for a model") as caught:
            add_model(file, name, Path("/two"))
        assert str(caught.value).isprintable()
    with pytest.raises(RequestError, match="There is no model flix") as caught:
        find_model(file, "flix")
    assert caught.value.hint == "Did you mean flux?"
    assert file.read_bytes() == before


def test_entries_that_are_no_models_are_named_and_the_rest_holds(file: Path) -> None:
    file.parent.mkdir()
    file.write_text('good = "models/a"\nbad = 3\n["a table"]\nx = 1\n', encoding="utf-8")
    models, faults = load_models(file)
    assert models == {"good": file.parent / "models" / "a"}
    assert [fault.split(": ")[:2] for fault in faults] == [
        ["models.toml, line 2", "bad"],
        ["models.toml, line 3", "a table"],
    ]
    file.write_text("good = ", encoding="utf-8")
    with pytest.raises(FluxError, match=r"models\.toml"):
        load_models(file)
    assert named_or_path(file, "good") == "good"


def test_the_command_line_takes_a_name_where_no_such_path_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    opened: list[str] = []
    monkeypatch.setattr(
        program, "run_app", lambda gallery, checkpoint, launch, processes: opened.append(checkpoint) or 0
    )
    assert main(["models", "add", "demo", str(DEMO_CHECKPOINT)]) == 0
    assert main(["--checkpoint-dir", "demo"]) == 0
    (tmp_path / "demo").mkdir()
    assert main(["--checkpoint-dir", "demo"]) == 0
    assert main(["--checkpoint-dir", "/nowhere/else"]) == 0
    assert opened == [str(DEMO_CHECKPOINT), str(tmp_path / "demo"), "/nowhere/else"]


def test_models_are_listed_shown_and_forgotten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "No model has a name yet" in capsys.readouterr().err
    assert main(["models", "add", "gone", str(tmp_path / "gone")]) == 2
    add_model(paths.models_file(), "gone", tmp_path / "gone")
    assert main(["models", "add", "demo", str(DEMO_CHECKPOINT)]) == 0
    assert main(["models"]) == 0
    assert capsys.readouterr().out == f"demo  {DEMO_CHECKPOINT}\ngone  {tmp_path / 'gone'}  (not there)\n"
    assert main(["models", "show", "demo"]) == 0
    out = capsys.readouterr().out
    assert "FLUX.1-dev" in out and "transformer: in_channels 64" in out and "t5_text: vocab_size" in out
    assert main(["models", "show", "gone"]) == 1
    assert main(["models", "remove", "demo"]) == 0
    assert main(["models", "remove", "demo"]) == 2
    assert list(load_models(paths.models_file())[0]) == ["gone"]


def test_an_imported_model_has_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_single_files(tmp_path)
    assert main(["import", str(source), str(tmp_path / "mine")]) == 0
    assert find_model(paths.models_file(), "mine") == tmp_path / "mine"
    assert "It is known as mine" in capsys.readouterr().err


async def test_the_app_offers_models_by_their_names(gallery: Gallery, tmp_path: Path) -> None:
    add_model(paths.models_file(), "schnell", tmp_path)
    async with running(gallery) as driver:
        await driver.screen.action_pick_model()
        await driver.until(lambda: isinstance(driver.app.screen, Picker) and "schnell" in driver.screen_text())
        assert "demo model" in driver.screen_text()
        await driver.press(*"schn", "enter")
        assert driver.field("checkpoint_dir") == str(tmp_path)
        assert "is painted with" in driver.status
        await driver.screen.action_pick_model()
        await driver.until(lambda: isinstance(driver.app.screen, Picker) and "schnell" in driver.screen_text())
        await driver.press(*"demo", "enter")
        assert driver.field("checkpoint_dir") == ""
