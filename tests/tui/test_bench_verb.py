"""`flux-tui bench`, in a process of its own as ever."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flux_tui.__main__ import main


def test_the_command_prints_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    small: tuple[Any, ...] = ("--width", "32", "--height", "32", "--num-steps", "1", "--dtype", "float32")
    assert main(["bench", "demo", *small]) == 0
    table = capsys.readouterr().out
    assert table.startswith("demo  float32  32x32  on ") and "peak memory" in table
    assert main(["bench", "demo", *small, "--json", "--waiting", "blocks", "encoders"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["event"] == "measured" and json.loads(line)["parameters"] == 9_043_059
    assert json.loads(line)["waiting"] == ["encoders", "blocks"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["flux-pro"], "The model is 'flux-pro'; expected one of demo, tiny, medium, flux-dev, flux-schnell."),
        (["--num-steps", "0"], "num_steps is 0; expected a whole number from 1 to 1000."),
        (["--width", "40"], "width is 40 pixels; expected a positive multiple of 16."),
    ],
)
def test_what_cannot_be_measured_is_refused(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *argv]) == 2
    assert f"error: {message}" in capsys.readouterr().err
