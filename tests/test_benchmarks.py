"""The benchmarks can be started, and their figures are what they say; what they measure is for a quiet machine."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import benchmarks
from benchmarks.figures import MET, MISSED, Figure, quantile, report, table

SCRIPTS = sorted(path.stem for path in Path(benchmarks.__path__[0]).glob("*.py"))
COMMANDS = [
    *("against_diffusers", "bytes_a_second", "first_text", "key_to_paint", "processor_time"),
    *("quantised", "step_cache", "thin_link"),
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_importing_a_script_starts_nothing(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert module.__doc__


@pytest.mark.parametrize("name", COMMANDS)
def test_each_benchmark_tells_how_it_is_run(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmarks.{name}").main()
    assert ended.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_the_readme_names_each_benchmark() -> None:
    text = Path(benchmarks.__path__[0], "README.md").read_text(encoding="utf-8")
    assert not [name for name in COMMANDS if f"python -m benchmarks.{name}" not in text]


def test_of_a_hundred_values_all_but_one_keep_to_the_99_percent_value() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert quantile(values, 0.99) == 99.0
    assert quantile(values, 0.5) == 50.0


def test_few_values_are_judged_by_their_worst() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0


@pytest.mark.parametrize(
    ("value", "below", "verdict"), [(4.9, True, MET), (5.0, True, MISSED), (5.0, False, MET), (5.1, False, MISSED)]
)
def test_a_bar_is_to_be_kept_below_or_may_be_reached(value: float, below: bool, verdict: str) -> None:
    assert Figure("it", {"s": value}, "s", 5.0, below=below).verdict == verdict


def test_what_has_no_bar_has_no_verdict() -> None:
    assert Figure("it", {"s": 1.0}).verdict == ""


def test_a_missed_bar_is_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert report("Title", [Figure("it", {"s": 1.0}, "s", 2.0)], as_json=True) == 0
    assert report("Title", [Figure("it", {"s": 2.0}, "s", 2.0)], as_json=False) == 1
    assert "MISSED" in capsys.readouterr().out


def test_a_figure_without_a_value_leaves_its_cell_empty() -> None:
    lines = table([Figure("a", {"x": 1.0}), Figure("b", {"y": 2.5})]).splitlines()
    assert [line.split() for line in lines] == [["x", "y", "bar"], ["a", "1"], ["b", "2.5"]]
