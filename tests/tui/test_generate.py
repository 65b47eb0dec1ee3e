"""`flux-tui generate`: prompts from files, series of seeds, JSON lines; one fault does not stop the others."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flux_engine import cli
from flux_engine.errors import CheckpointNotFound
from flux_engine.request import FLUX_DEFAULTS, MAX_SEED, LoraUse
from flux_tui import command_line as tui_main
from flux_tui import paths
from flux_tui.metadata import read_record
from tests.tui.fakes import FakeEngine

ROOT = Path(__file__).parents[2]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """The one engine of a run: a second one would read the weights again."""
    fake, made = FakeEngine(), []
    monkeypatch.setattr(cli, "_real_engine", lambda *_: made.append(1) or fake)
    yield fake
    assert len(made) <= 1


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return tmp_path / "prompts.txt"


def generate(*flags: str | Path) -> int:
    return tui_main.main(["generate", *map(str, flags)])


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_picture_is_filed_in_the_gallery(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate("--gallery", tmp_path, "--prompt", "a hill", "--seed", "5") == 0
    (line,) = capsys.readouterr().out.splitlines()
    path = Path(line)
    assert path.parent.parent == tmp_path and path.name.endswith("-5.png")
    record = read_record(path)
    assert record is not None and record.request.seed == 5


def test_a_gallery_may_be_named_before_the_verb(engine: FakeEngine, tmp_path: Path) -> None:
    assert tui_main.main(["--gallery", str(tmp_path / "mine"), "generate", "--prompt", "a hill"]) == 0
    assert len(list((tmp_path / "mine").rglob("*.png"))) == 1


def test_an_output_takes_the_picture_instead(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "a.png"
    assert generate("--prompt", "a hill", "--output", output) == 0
    assert capsys.readouterr().out == f"{output}\n"


def test_every_line_of_a_file_is_painted_by_one_engine(
    engine: FakeEngine, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts.write_bytes('\ufeff# mine\n\n  a hill  \r\n\t\n{"prompt": "a lake", "width": 64, "seed": 7}\nsea'.encode())
    assert generate("--prompts", prompts, "--seed", "3", "--height", "32") == 0
    asked = [(request.prompt, request.width, request.height, request.seed) for request in engine.requests]
    assert asked == [("a hill", 128, 32, 3), ("a lake", 64, 32, 7), ("sea", 128, 32, 3)]
    out, err = capsys.readouterr()
    painted = [read_record(Path(path)) for path in out.splitlines()]
    assert [record and record.request for record in painted] == engine.requests
    assert [line for line in err.splitlines() if "/" in line and "denoising" not in line] == [
        "1/3  a hill",
        "2/3  a lake",
        "3/3  sea",
    ]
    assert err.splitlines()[-1] == "3 of 3 painted, 0 failed"


def test_stdin_is_a_file_too(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a hill\nthe sea\n")))
    assert generate("--prompts", "-") == 0
    assert [request.prompt for request in engine.requests] == ["a hill", "the sea"]


def test_a_jsonl_file_has_objects_only(engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.jsonl").write_text('{"prompt": "a hill"}\na lake\n')
    assert generate("--prompts", tmp_path / "a.jsonl") == 2
    assert [request.prompt for request in engine.requests] == ["a hill"]
    assert "error: line 2: a .jsonl file has JSON objects" in capsys.readouterr().err


def test_a_lines_own_model_brings_its_own_defaults(engine: FakeEngine, prompts: Path, tmp_path: Path) -> None:
    prompts.write_text(f'a hill\n{{"prompt": "a hill", "checkpoint_dir": "{tmp_path}", "num_steps": 2}}')
    assert generate("--prompts", prompts) == 0
    demo, other = engine.requests
    assert (demo.checkpoint_dir, other.checkpoint_dir) == (None, str(tmp_path))
    assert (other.width, other.num_steps) == (FLUX_DEFAULTS.width, 2)


@pytest.mark.parametrize(
    ("flags", "seeds"),
    [
        (["--seed", "4"], [4, 5, 4, 5]),
        (["--seed", "4", "--seed-use", "fixed"], [4, 5, 4, 5]),
        (["--seed", "4", "--seed-use", "increment"], [4, 5, 6, 7]),
        (["--seed", str(MAX_SEED), "--seed-use", "increment"], [MAX_SEED, 0, 1, 2]),
    ],
)
def test_seeds_follow_the_use_that_is_asked_for(
    engine: FakeEngine, prompts: Path, flags: list[str], seeds: list[int]
) -> None:
    prompts.write_text("a hill\na lake\n")
    assert generate("--prompts", prompts, "--count", "2", *flags) == 0
    assert [request.seed for request in engine.requests] == seeds
    assert [request.prompt for request in engine.requests] == ["a hill", "a hill", "a lake", "a lake"]


def test_random_seeds_are_nobodys_choice(engine: FakeEngine) -> None:
    assert generate("--prompt", "a hill", "--count", "6", "--seed-use", "random") == 0
    assert len({request.seed for request in engine.requests}) == 6


@pytest.mark.parametrize("count", ["0", "1001", "two", "-1", "9" * 5000])
def test_a_count_out_of_range_is_one_line(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        generate("--prompt", "a hill", f"--count={count}")
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "expected a whole number from 1 to 1000" in line and len(line) < 200


@pytest.mark.parametrize("flags", [["--prompt", "a", "--prompts", "b"], []])
def test_there_is_a_prompt_or_a_file_of_them(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        generate(*flags)
    assert caught.value.code == 2
    assert "--prompt" in capsys.readouterr().err


def test_json_lines_tell_everything_as_it_happens(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine.warnings = ("The prompt was cut by 12 tokens.",)
    flags = ["--num-steps", "2", "--batch-size", "2", "--width", "32", "--gallery", str(tmp_path / "é")]
    assert generate("--json", "--prompt", "a hill é", *flags) == 0
    out, err = capsys.readouterr()
    assert out.isascii()
    events = json_lines(out)
    assert [event["event"] for event in events] == [
        "started",
        *("stage", "stage", "stage", "step", "step", "stage", "stage"),
        *("saved", "saved", "note", "done"),
    ]
    assert {event["job"] for event in events[:-1]} == {1}
    started, done = events[0], events[-1]
    assert started["of"] == 1 and started["request"]["prompt"] == "a hill é" and started["request"]["width"] == 32
    assert [event["stage"] for event in events if event["event"] == "stage"] == [
        *("loading", "encoding", "denoising", "decoding", "saving")
    ]
    assert events[1]["detail"] == "transformer"
    assert [(event["step"], event["num_steps"]) for event in events if event["event"] == "step"] == [(1, 2), (2, 2)]
    for place, saved in enumerate((event for event in events if event["event"] == "saved"), 1):
        record = read_record(Path(saved["path"]))
        assert record is not None and record.picture == saved["record"]["picture"] == place
        assert saved["record"]["request"] == started["request"] and saved["record"]["model"] == "fake"
    assert done["seconds"] >= 0
    del done["seconds"]
    assert done == {"event": "done", "asked": 1, "painted": 1, "failed": 0, "left": 0, "status": 0}
    assert err == "note: The prompt was cut by 12 tokens.\n"


def test_one_fault_does_not_stop_the_others_and_the_status_says_the_worst(
    engine: FakeEngine, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts.write_text('a hill\n{"promt": "x", "steps": 3, "zz": 1}\na lake\n{"prompt": "x", "width": 33}\nthe sea\n')
    engine.fault, engine.fault_at = CheckpointNotFound("No folder there.", hint="Name another."), 1
    assert generate("--json", "--prompts", prompts) == 2
    out, err = capsys.readouterr()
    events = json_lines(out)
    failed = [event for event in events if event["event"] == "failed"]
    assert [event["job"] for event in failed] == [1, 2, 4]
    assert (failed[0]["message"], failed[0]["hint"]) == ("No folder there.", "Name another.")
    assert failed[1]["message"] == (
        "line 2: no setting: 'promt' (did you mean 'prompt'?), 'steps' (did you mean 'num_steps'?), 'zz'."
    )
    assert "line 4: width is 33 pixels" in failed[2]["message"] and "32 or 48" in failed[2]["hint"]
    assert [event["job"] for event in events if event["event"] == "saved"] == [3, 5]
    assert events[-1] | {"seconds": 0} == {
        **{"event": "done", "asked": 5, "painted": 2, "failed": 3, "left": 0},
        **{"status": 2, "seconds": 0},
    }
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 3


def test_a_single_failure_among_many_is_status_1(engine: FakeEngine, prompts: Path) -> None:
    prompts.write_text("a hill\na lake")
    engine.fault = CheckpointNotFound("No folder there.")
    assert generate("--prompts", prompts) == 1
    assert [request.prompt for request in engine.requests] == ["a hill", "a lake"]


def test_it_can_stop_at_the_first_fault(engine: FakeEngine, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts.write_text('a hill\n{"prompt": ""}\na lake')
    assert generate("--stop-at-fault", "--prompts", prompts) == 2
    assert [request.prompt for request in engine.requests] == ["a hill"]
    assert capsys.readouterr().err.splitlines()[-1] == "1 of 3 painted, 1 failed, 1 not begun"


def test_an_interruption_stops_all(engine: FakeEngine, prompts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts.write_text("a hill\na lake\nthe sea")
    engine.fault, engine.fault_at = KeyboardInterrupt(), 2
    assert generate("--json", "--prompts", prompts) == 130
    out = json_lines(capsys.readouterr().out)
    assert [event["message"] for event in out if event["event"] == "failed"] == ["interrupted"]
    assert (out[-1]["left"], out[-1]["status"]) == (2, 130)


def test_an_unexpected_fault_comes_with_its_traceback_when_asked(
    engine: FakeEngine, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts.write_text("a hill\na lake")
    engine.fault = ZeroDivisionError("by zero")
    assert generate("--verbose-loading", "--prompts", prompts) == 1
    out, err = capsys.readouterr()
    assert "Traceback" in err and "error: Something unexpected went wrong: ZeroDivisionError: by zero.\n" in err
    assert len(out.splitlines()) == 1


@pytest.mark.parametrize("word", ["", "--json"])
def test_a_file_that_is_not_there_is_one_fault(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    assert generate("--prompts", tmp_path / "none.txt", *filter(None, [word])) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {tmp_path / 'none.txt'} cannot be read: No such file or directory.")
    assert [event["event"] for event in json_lines(out)] == (["failed", "done"] if word else [])


def test_files_of_many_requests_are_numbered_whatever_fails(
    engine: FakeEngine, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts.write_text('a hill\n{"prompt": "a lake", "batch_size": 2}\nthe sea')
    engine.fault = CheckpointNotFound("No folder there.")
    assert generate("--prompts", prompts, "--output", tmp_path / "a.png") == 1
    names = ["a_01.png", "a_02.png", "a_03.png"]
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / name) for name in names]
    records = [read_record(tmp_path / name) for name in names]
    assert [(record.request.prompt, record.picture) for record in records if record] == [
        *(("a lake", 1), ("a lake", 2), ("the sea", 1))
    ]


def test_a_prompt_of_a_megabyte_is_painted(engine: FakeEngine, prompts: Path, tmp_path: Path) -> None:
    words = "hill " * 200_000
    prompts.write_text(words)
    output = tmp_path / "a.png"
    assert generate("--prompts", prompts, "--output", output) == 0
    record = read_record(output)
    assert record is not None and record.request.prompt == words.strip()


def test_a_prompts_control_characters_do_not_reach_the_terminal(
    engine: FakeEngine, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts.write_text('{"prompt": "a \\u001b[2J\\u009b hill \\ud800"}\n{"prompt": "b \\u001b[2J"}\n{"\\u001b[2J": 1}')
    assert generate("--prompts", prompts) == 2
    out, err = capsys.readouterr()
    assert not {"\x1b", "\x9b"} & set(out + err)


def test_a_model_of_the_hub_is_downloaded_once_for_all(
    engine: FakeEngine, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(cli, "download", lambda repo: asked.append(repo) or "/cache/owner/name")
    prompts.write_text(f'a hill\na lake\n{{"prompt": "a hill", "checkpoint_dir": "{tmp_path}"}}')
    assert generate("--prompts", prompts, "--hf-repo", "owner/name") == 2  # the last line names another model
    assert asked == ["owner/name"]
    assert [request.checkpoint_dir for request in engine.requests] == ["/cache/owner/name"] * 2


def test_nothing_is_begun_once_the_reader_of_stdout_has_gone(tmp_path: Path) -> None:
    program = f"{sys.executable} -c '{FAKE}' generate --gallery {tmp_path} --prompt hill --count 50"
    done = subprocess.run(
        ["bash", "-c", f"{program} | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    path, status = done.stdout.splitlines()
    assert Path(path).exists() and status == "1"
    assert "not begun" in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert len(list(tmp_path.rglob("*.png"))) < 50


def configure(text: str) -> None:
    paths.config_file().parent.mkdir(parents=True, exist_ok=True)
    paths.config_file().write_text(text)


@pytest.mark.parametrize(
    ("flags", "seeds"),
    [
        ([], [4, 5, 6, 7]),
        (["--count", "1"], [4, 5]),
        (["--seed-use", "fixed"], [4, 5, 4, 5]),
        (["--seed", "8"], [8, 9, 10, 11]),
    ],
)
def test_a_presets_count_and_seed_use_hold_unless_flags_say_otherwise(
    engine: FakeEngine, prompts: Path, flags: list[str], seeds: list[int]
) -> None:
    configure('[presets.many]\nseed = 4\ncount = 2\nseed_use = "increment"\n')
    prompts.write_text("a hill\na lake\n")
    assert generate("--prompts", prompts, "--preset", "many", *flags) == 0
    assert [request.seed for request in engine.requests] == seeds


def test_loras_are_taken_from_flags_files_presets_and_defaults_and_found_in_their_folder(
    prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine()
    monkeypatch.setattr(cli, "_real_engine", lambda *_: engine)
    app, defaults = '[app]\nlora_folder = "/loras"\n', '[defaults]\nloras = "film"\nlora_fuse = true\n'
    configure(f'{app}{defaults}[presets.ink]\nloras = "ink:0.8"\n')
    prompts.write_text('a hill\n{"prompt": "a lake", "loras": "lake:-1; /x/y"}\n{"prompt": "a sea", "loras": ""}\n')
    assert generate("--prompts", prompts, "--preset", "ink", "--no-lora-fuse") == 0
    assert generate("--prompt", "a hill") == 0
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.safetensors").touch()
    before = ["--lora", "here:2", "--lora-lenient", "generate", "--prompt", "a hill"]
    assert tui_main.main([*before, "--lora", "ink:0.8"]) == 0
    assert tui_main.main(before) == 0
    ink = LoraUse(file="/loras/ink.safetensors", strength=0.8)
    lake = LoraUse(file="/loras/lake.safetensors", strength=-1), LoraUse(file="/x/y")
    film = LoraUse(file="/loras/film.safetensors")
    here = LoraUse(file=str(tmp_path / "here.safetensors"), strength=2)
    assert [request.loras for request in engine.requests] == [(ink,), lake, (), (film,), (ink,), (here,)]
    assert [request.lora_fuse for request in engine.requests] == [False, False, False, True, True, True]
    assert [request.lora_lenient for request in engine.requests] == [False] * 4 + [True] * 2


def test_a_lora_that_is_none_or_named_twice_is_one_line(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        generate("--prompt", "a hill", "--lora", "ink:11")
    assert caught.value.code == 2 and "Needs a strength from -10 to 10 for ink." in capsys.readouterr().err
    assert generate("--prompt", "a hill", "--lora", "ink", "--lora", "ink.safetensors") == 2
    assert "expected each file once. Add the strengths up." in capsys.readouterr().err
    assert engine.requests == []


@pytest.mark.parametrize("named", [["--seed", "8"], ["--preset", "eight"]])
def test_a_seed_that_is_named_goes_before_random_ones_of_the_defaults(engine: FakeEngine, named: list[str]) -> None:
    configure('[defaults]\nseed_use = "random"\n[presets.eight]\nseed = 8\n')
    assert generate("--prompt", "a hill", *named) == 0
    assert engine.requests[0].seed == 8


def test_the_defaults_may_ask_for_random_seeds(engine: FakeEngine) -> None:
    configure('[defaults]\nseed_use = "random"\n')
    assert generate("--prompt", "a hill", "--count", "6") == 0
    assert len({request.seed for request in engine.requests}) == 6


def test_a_model_of_the_hub_takes_the_place_of_the_configs(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "download", lambda repo: "/cache/owner/name")
    configure('[defaults]\ncheckpoint_dir = "/models/x"\nnum_steps = 3\n')
    assert generate("--prompt", "a hill", "--hf-repo", "owner/name") == 0
    (request,) = engine.requests
    assert (request.checkpoint_dir, request.num_steps, request.width) == ("/cache/owner/name", 3, FLUX_DEFAULTS.width)


@pytest.mark.parametrize("verb", [[], ["generate", "--prompt", "a hill"], ["config"]])
def test_a_config_that_is_named_and_not_there_is_one_line(
    tmp_path: Path, verb: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for named in (tmp_path / "nope.toml", tmp_path):
        with pytest.raises(SystemExit) as caught:
            tui_main.main(["--config", str(named), *verb])
        assert caught.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"--config: no such file: '{named}'; name one that is there" in line


FAKE = """
import sys
from flux_engine import cli
from tests.tui.fakes import FakeEngine
cli._real_engine = lambda *_: FakeEngine()
from flux_tui.__main__ import main
sys.exit(main(sys.argv[1:]))
"""
