"""`flux-tui doctor`: every part has rows, each with a verdict, and what is bad comes with what to do."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from flux_tui import command_line as tui_main
from flux_tui.verbs import checks
from flux_tui.verbs.checks import Row
from tests.tui.terminal import Terminal

ROOT = Path(__file__).parents[2]
CPU = 'print(\'[{"platform": "cpu", "kind": "cpu"}]\')'
GPU = 'print(\'hello\\n[{"platform": "gpu", "kind": "H100", "bytes_limit": 3221225472, "bytes_in_use": 1073741824}]\')'


@pytest.fixture(autouse=True)
def jax_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "JAX_CODE", CPU)
    monkeypatch.setattr(checks, "NVIDIA", ())


def verdicts(rows: list[Row]) -> dict[str, str]:
    return {row.name: row.verdict for row in rows}


def test_a_healthy_machine_is_status_0_and_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert tui_main.main(["doctor", "--gallery", str(tmp_path / "mine")]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if not line.startswith(" ")] == [
        *("versions", "devices", "terminal", "folders", "memory")
    ]
    rows = {line.split()[1]: line.split() for line in out if line.startswith("  ")}
    for name in ("python", "flux-tui", "jax", "textual", "cpu", "TERM", "encoding", "gallery", "log", "host"):
        assert rows[name][0] in ("ok", "warn"), rows[name]
    assert str(tmp_path / "mine,") in rows["gallery"]
    assert not (tmp_path / "mine").exists()  # looking leaves nothing behind


def test_what_is_bad_is_status_1_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert tui_main.main(["doctor", "--gallery", str(tmp_path / "file" / "mine")]) == 1
    out = capsys.readouterr().out.splitlines()
    (place,) = [number for number, line in enumerate(out) if "bad" in line.split()]
    assert "gallery" in out[place] and "could not be written" in out[place]
    assert out[place + 1].strip() == "-> A part of this path is a file, not a folder. Choose another folder."


def test_json_has_a_row_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    tui_main.main(["doctor", "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"part": "devices", "name": "cpu 0", "verdict": "ok", "found": "cpu", "advice": ""} in rows
    assert {row["part"] for row in rows} == {"versions", "devices", "terminal", "folders", "memory"}


def test_every_package_that_is_needed_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    needed = ["jax>=0.10", "gone>=1", "rich>=99.2", "odd", "torch==2; extra == 'parity'"]
    monkeypatch.setattr(metadata, "requires", lambda name: needed)
    found = {"flux-tui": "0.1", "jax": "0.10.2", "rich": "15.0.0", "odd": "7"}

    def version(name: str) -> str:
        if name not in found:
            raise metadata.PackageNotFoundError
        return found[name]

    monkeypatch.setattr(metadata, "version", version)
    rows = list(checks.versions())
    assert verdicts(rows) == {
        **{"python": "ok", "flux-tui": "ok", "jax": "ok", "gone": "bad", "rich": "bad", "odd": "ok"}
    }
    assert {row.name: row.found for row in rows}["rich"] == "15.0.0; expected 99.2 at least"
    assert all(row.advice for row in rows if row.verdict == "bad")


def test_a_devices_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "JAX_CODE", GPU)
    monkeypatch.setattr(checks, "NVIDIA", (Path("/"),))
    assert list(checks.devices()) == [Row("devices", "gpu 0", "ok", "H100, 2.0 GiB free")]


def test_a_gpu_that_jax_does_not_use_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "NVIDIA", (Path("/none"), Path("/")))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    *_, row = checks.devices()
    assert row.verdict == "warn" and "JAX_PLATFORMS" in row.advice
    monkeypatch.delenv("JAX_PLATFORMS")
    *_, row = checks.devices()
    assert "cuda" in row.advice


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import threading; threading.Event().wait()", "JAX did not start within 0.2 s: a driver hangs"),
        ("raise RuntimeError('no \\x1b[2J driver')", "JAX does not start: RuntimeError: no \x1b[2J driver"),
        ("import os; os.abort()", "JAX does not start: status -6"),
        ("print('hello')", "JAX says what nobody understands: hello"),
        ("pass", "JAX says what nobody understands: "),
    ],
)
def test_a_jax_that_does_not_start_cannot_hang_or_break_the_doctor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str, found: str
) -> None:
    monkeypatch.setattr(checks, "JAX_CODE", code)
    if "wait" in code:
        monkeypatch.setattr(checks, "JAX_PATIENCE_S", 0.2)
    (row,) = checks.devices()
    assert (row.verdict, row.found) == ("bad", found) and row.advice
    assert tui_main.main(["doctor"]) == 1
    assert "\x1b" not in capsys.readouterr().out


def test_the_real_jax_names_its_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    rows = list(checks.devices())
    assert rows and all(row.verdict in ("ok", "warn") for row in rows)


def test_a_terminal_is_asked_only_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nowhere:
        rows = list(checks.terminal(nowhere.fileno(), nowhere.fileno(), {"TERM": "xterm"}))
    assert verdicts(rows) == {"TERM": "ok", "abilities": "ok"}
    assert "no terminal" in rows[-1].found
    for term, verdict in (("dumb", "bad"), ("", "warn")):
        row, *_ = checks.terminal(0, 0, {"TERM": term})
        assert row.verdict == verdict and row.advice


IN_A_TERMINAL = f"""
from flux_tui.__main__ import main
from flux_tui.terminal import probe
from flux_tui.verbs import checks
checks.JAX_CODE = {CPU!r}
probe.PATIENCE_S = 60.0  # the answers count, not how busy the machine is
main(["doctor"])
"""


def test_in_a_terminal_its_abilities_are_told() -> None:
    with Terminal(["-c", IN_A_TERMINAL], cwd=ROOT, size=(160, 60)) as terminal:
        terminal.answers = {b"\x1b[c": b"\x1bP>|foot(1.16)\x1b\\\x1b[6;20;10t\x1b[?62;4c"}
        assert terminal.end() == 0
        lines = [line.split() for line in terminal.screen.display if line.startswith("  ")]
        rows = {words[1]: words[2:] for words in lines if len(words) > 2}
    assert rows["name"] == ["foot(1.16)"]
    assert rows["colours"] == ["truecolor"]
    assert rows["pictures"] == ["half", "(has", "sixel)"]
    assert rows["cell"] == ["10x20", "pixels"]
    assert rows["round"][0] == "trip"


def test_a_locale_without_utf8_is_bad(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for encoding, verdict in (("latin-1", "bad"), ("utf-8", "ok"), ("UTF8", "ok")):
        with open(tmp_path / "err", "w", encoding=encoding) as stream:
            monkeypatch.setattr(sys, "stderr", stream)
            (row,) = checks.locale()
        assert row.verdict == verdict


def test_a_disk_that_is_nearly_full_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import shutil

    for free, verdict in ((2**40, "ok"), (2**29, "warn"), (2**20, "bad")):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: shutil._ntuple_diskusage(0, 0, free))
        (row,) = checks.folders({"gallery": tmp_path})
        assert row.verdict == verdict and bool(row.advice) == (verdict != "ok")


def test_memory_is_what_is_available(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    for kilobytes, verdict in ((16 * 2**20, "ok"), (2**20, "warn")):
        meminfo.write_text(f"MemTotal: 99999999 kB\nMemAvailable:   {kilobytes} kB\n")
        (row,) = checks.memory(meminfo)
        assert (row.verdict, row.found) == (verdict, f"{kilobytes / 2**20:.1f} GiB free")
    (row,) = checks.memory(tmp_path / "none")
    assert (row.verdict, row.found) == ("ok", "not told by this system")


def test_a_config_with_faults_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    (row,) = checks.config(path)
    assert row.verdict == "ok" and "not there" in row.found
    path.write_text("[app]\nthem = 'x'\nmouse = 3\n")
    rows = list(checks.config(path))
    assert [row.verdict for row in rows] == ["bad", "bad"] and all(row.advice for row in rows)
