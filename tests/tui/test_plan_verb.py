"""`flux-tui plan`: what a picture would take, of a model by name or of a checkpoint."""

from __future__ import annotations

import json

import pytest

from flux_engine.loader import DEMO_CHECKPOINT
from flux_tui import models, paths
from flux_tui.__main__ import main

SMALL = ("--width", "32", "--height", "32", "--dtype", "float32")


def planned(capsys: pytest.CaptureFixture[str], model: str) -> list[dict[str, object]]:
    assert main(["plan", model, *SMALL, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_checkpoint_its_name_and_the_models_own_sizes_have_the_same_plan(capsys: pytest.CaptureFixture[str]) -> None:
    models.add_model(paths.models_file(), "mine", DEMO_CHECKPOINT)
    plans = [planned(capsys, model) for model in ("demo", str(DEMO_CHECKPOINT), "mine")]
    stages = [[(line["stage"], line["networks"], line["working_bytes"]) for line in plan] for plan in plans]
    assert stages[0] == stages[1] == stages[2]
    assert [stage for stage, *_ in stages[0]] == ["prompt", "steps", "decoding"]


def test_what_does_not_fit_is_said_by_stage_and_by_the_exit_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "demo", *SMALL, "--memory", "0.03"]) == 1
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert head == "demo  float32  32x32  on cpu, 30.0 MB free"
    assert [row.split()[0] for row in rows if row.endswith("does not fit")] == ["steps", "decoding"]
    assert rows[-2:] == [
        "  on the device: CLIP 2.1 MB, T5 1.6 MB, transformer 21.5 MB, autoencoder 11.1 MB",
        "  read from the disk for every new prompt: all",
    ]


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        (["nothing"], 1, "nothing does not exist."),
        (["demo", "--width", "7"], 2, "width is 7 pixels; expected a positive multiple of 16."),
        (["demo", "--batch-size", "0"], 2, "batch_size is 0; expected a whole number from 1 to 64."),
    ],
)
def test_what_has_no_plan_is_told_so(
    argv: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", *argv]) == status
    assert f"error: {message}" in capsys.readouterr().err


@pytest.mark.parametrize("memory", ["nan", "inf", "1e400", "1e300", "0", "-3", "much"])
def test_a_memory_that_no_device_has_is_refused(memory: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["plan", "demo", "--memory", memory])
    assert f"--memory: '{memory}'; expected gigabytes, more than 0" in capsys.readouterr().err
