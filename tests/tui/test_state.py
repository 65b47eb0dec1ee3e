"""What one run leaves to the next comes back whole or is put aside with a word; the program starts in any case."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from flux_engine.errors import OutputError, RequestError
from flux_engine.request import GenerationRequest, LoraUse
from flux_engine.series import series
from flux_tui.state import SCHEMA, State, load_state, request_from_dict, request_to_dict, save_state

REQUEST = GenerationRequest(
    prompt="a hill\nat dawn, ünïcode",
    negative_prompt="fog",
    width=192,
    true_cfg_scale=2.5,
    sigma_shift=1.15,
    integrator="heun",
    checkpoint_dir="/models/x",
    loras=(LoraUse(file="/loras/ink.safetensors", strength=0.8, sha256="0f" * 32), LoraUse(file="film")),
    lora_fuse=True,
)
FULL = State(
    prompt="a draft\n\twith lines",
    negative_prompt="fog",
    settings={"width": "abc", "seed": ""},
    layout={"pane": "history", "theme": "flux-light"},
    queue=(REQUEST, replace(REQUEST, prompt="a lake"), *series(REQUEST, 3)),
    paused=True,
    seconds={"loading": (3.5, 4.0), "step:192x128:heun": (0.25,)},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the state is kept."""
    return tmp_path / "state" / "state.json"


def written(file: Path, **changes: Any) -> Path:
    """A full state, some of it changed behind the program's back."""
    save_state(file, FULL)
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return file


def test_all_of_it_comes_back(file: Path) -> None:
    save_state(file, FULL)
    assert load_state(file) == (FULL, None)
    save_state(file, State())
    assert load_state(file) == (State(), None)


def test_without_a_file_there_is_nothing_and_nothing_to_say(file: Path) -> None:
    assert load_state(file) == (State(), None)
    assert not file.parent.exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"3",
        b"\xff",
        b"[" * 100_000,
        b'{"schema": 999, "prompt": "of a later version"}',
        b'{"prompt": "of no version"}',
        b'{"schema": 1, "prompt": 3}',
        b'{"schema": 1, "settings": []}',
        b'{"schema": 1, "layout": {"pane": 3}}',
        b'{"schema": 1, "queue": 3}',
        b'{"schema": 1, "queue": [{"request": []}]}',
        b'{"schema": 1, "queue": [{"request": [], "seeds": [1]}]}',
        b'{"schema": 1, "seconds": {"loading": 3}}',
    ],
)
def test_a_damaged_or_foreign_file_is_moved_aside_with_a_word(file: Path, raw: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(raw)
    state, note = load_state(file)
    assert state == State()
    assert note is not None and "state.json.bad" in note
    assert (file.parent / "state.json.bad").read_bytes() == raw
    assert not file.exists()
    assert load_state(file) == (State(), None)


def test_a_state_that_lacks_a_part_has_the_rest(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(json.dumps({"schema": SCHEMA, "prompt": "a hill", "of a later release": [1]}))
    assert load_state(file) == (State(prompt="a hill"), None)


def test_a_file_that_cannot_be_read_or_moved_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.mkdir(parents=True)
    state, note = load_state(file)
    assert state == State() and note is not None and "Is a directory" in note
    file.rmdir()
    file.write_text("{")

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refused)
    state, note = load_state(file)
    assert state == State() and note is not None and "cannot be moved aside (Permission denied)" in note


def test_a_request_that_cannot_be_painted_is_left_out_with_a_word_and_the_others_stay(file: Path) -> None:
    body = request_to_dict(REQUEST)
    seed = body.pop("seed")
    queue = [
        {"request": body | {"width": 3}, "seeds": [1, 2]},
        {"request": body | {"later": True}, "seeds": [seed, "x"]},
        {"request": {"width": 16}, "seeds": [1]},
    ]
    state, note = load_state(written(file, queue=queue))
    assert state == replace(FULL, queue=(REQUEST,))
    assert note is not None and note.count("width is 3;") == 1
    assert "seed is 'x';" in note and "prompt" in note
    assert file.exists()


def test_what_a_terminal_obeys_does_not_come_out_of_the_file(file: Path) -> None:
    queue = [{"request": {"prompt": "\x1b[31m"}, "seeds": [0]}]
    state, note = load_state(written(file, prompt="\x9b", layout={"pane": "\x07"}, queue=queue))
    assert (state.prompt, state.layout, note) == ("\ufffd", {"pane": "\ufffd"}, None)
    assert state.queue[0].prompt == "\ufffd[31m"


def test_a_long_series_with_a_long_prompt_makes_a_small_file(file: Path) -> None:
    queue = tuple(series(replace(REQUEST, prompt="x" * 10_000), 1000, "random"))
    save_state(file, State(queue=queue))
    assert file.stat().st_size < 40_000
    assert load_state(file)[0].queue == queue


def test_a_state_that_cannot_be_written_is_an_error_and_the_old_one_stays(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(file, FULL)

    def refused(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refused)
    with pytest.raises(OutputError, match="No space left"):
        save_state(file, State())
    assert load_state(file) == (FULL, None)
    assert [path.name for path in file.parent.iterdir()] == ["state.json"]


def test_a_stage_is_expected_to_take_the_median_of_its_latest_nine_runs() -> None:
    state = State()
    assert state.expected_s("loading") is None
    for seconds in (60.0, 3.0, 4.0):
        state = state.learned("loading", seconds)
    assert state.expected_s("loading") == 4.0
    for _ in range(5):
        state = state.learned("loading", 10.0)
    assert state.expected_s("loading") == 10.0
    for _ in range(9):
        state = state.learned("loading", 2.0)
    assert state.seconds == {"loading": (2.0,) * 9}


def test_the_stage_that_did_not_run_for_longest_is_forgotten_first() -> None:
    state = State()
    for number in range(199):
        state = state.learned(str(number), 1.0)
    state = state.learned("0", 1.0).learned("a", 1.0).learned("b", 1.0)
    assert len(state.seconds) == 200
    assert next(iter(state.seconds)) == "2" and list(state.seconds)[-3:] == ["0", "a", "b"]


def test_seconds_that_are_none_are_passed_over(file: Path) -> None:
    state, note = load_state(written(file, seconds={"loading": [1.0, "x", None, float("nan"), -1, 2, True]}))
    assert (state.seconds, note) == ({"loading": (1.0, 2.0)}, None)


def test_a_request_goes_to_json_and_back() -> None:
    body = json.loads(json.dumps(request_to_dict(REQUEST)))
    assert request_from_dict(body | {"unknown": 1}) == REQUEST
    assert body == json.loads(json.dumps(asdict(REQUEST)))
    body["loras"][0]["file"] = "\x1b[2J"
    assert request_from_dict(body).loras[0].file == "\N{REPLACEMENT CHARACTER}[2J"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_steps": 0}, "num_steps is 0"),
        ({"integrator": []}, "integrator is"),
        ({"checkpoint_dir": 3}, "checkpoint_dir is 3"),
        ({"prompt": None}, "prompt is None"),
        ({"guidance_scale": {}}, "guidance_scale is"),
        ({"loras": "ink"}, "expected a tuple of LoraUse"),
        ({"loras": [{"name": "ink"}]}, "expected a tuple of LoraUse"),
        ({"loras": [{"file": "ink", "strength": 99}]}, "The strength of ink is 99"),
    ],
)
def test_a_request_that_is_none_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        request_from_dict(request_to_dict(REQUEST) | changes)
    with pytest.raises(RequestError, match="incomplete"):
        request_from_dict({})
