"""What survives a restart: the draft, the form, the layout, the queue, and how long things take on this machine.

One JSON file, written whole. It is a convenience: whatever is wrong with it, the program starts. Knows no screen.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from statistics import median
from typing import Any

from flux_engine.errors import RequestError
from flux_engine.png import write_file
from flux_engine.request import GenerationRequest, is_number
from flux_tui.metadata import all_harmless, harmless

SCHEMA = 1
MAX_BYTES = 64 * 1024 * 1024  # a queue of a thousand different prompts stays below 2 MB
REMEMBERED = 9  # runs of a stage; their median passes over the first one's compilation
MAX_STAGES = 200


@dataclass(frozen=True, kw_only=True)
class State:
    """What one run leaves to the next.

    Attributes:
        prompt, negative_prompt: the draft in the panes.
        settings: the form's texts by a field's name, valid or not.
        layout: choices of the screen by name: "pane", "history_look", "theme".
        queue: the requests that wait, in their order.
        paused: whether the queue was.
        seconds: what a stage took here, the latest runs last, by "loading", "step:1024x1024:euler" or another name.
    """

    prompt: str = ""
    negative_prompt: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    layout: Mapping[str, str] = field(default_factory=dict)
    queue: tuple[GenerationRequest, ...] = ()
    paused: bool = False
    seconds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def expected_s(self, stage: str) -> float | None:
        """The seconds that a stage takes here, the median of its latest runs; None if it never ran."""
        runs = self.seconds.get(stage)
        return median(runs) if runs else None

    def learned(self, stage: str, seconds: float) -> State:
        """The state once a stage has taken so long."""
        others = {name: runs for name, runs in self.seconds.items() if name != stage}
        newest = dict(list(others.items())[1 - MAX_STAGES :])
        return replace(self, seconds=newest | {stage: (*self.seconds.get(stage, ()), seconds)[-REMEMBERED:]})


def save_state(path: Path, state: State) -> None:
    """Write the state: all of it or nothing.

    Raises:
        OutputError: it cannot be written.
    """
    body = {
        "schema": SCHEMA,
        **{each.name: getattr(state, each.name) for each in fields(State)},
        "queue": _packed(state.queue),
    }
    write_file(path, json.dumps(body, separators=(",", ":")).encode(), replace=True)


def load_state(path: Path) -> tuple[State, str | None]:
    """The state in a file, and what a person should be told of it, if anything.

    A file that is damaged, or of another version of this program, is moved aside to `state.json.bad`. A request that no
    longer can be painted is left out of the queue.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        return _state(raw)
    except FileNotFoundError:
        return State(), None
    except OSError as error:
        return State(), f"{path} cannot be read ({error.strerror}): nothing of the last time is here."
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return State(), _moved_aside(path)


def _moved_aside(path: Path) -> str:
    aside = path.with_name(f"{path.name}.bad")
    try:
        os.replace(path, aside)
    except OSError as error:
        return f"{path} is damaged and cannot be moved aside ({error.strerror}): nothing of the last time is here."
    return f"{path} is damaged, or of another version; it is now {aside.name}, and nothing of the last time is here."


def _state(raw: bytes) -> tuple[State, str | None]:
    body = json.loads(raw)
    if len(raw) > MAX_BYTES or body["schema"] != SCHEMA:
        raise ValueError("no state of this version")
    queue, lost = _unpacked(body.get("queue", []))
    state = State(
        prompt=harmless(body.get("prompt", "")),
        negative_prompt=harmless(body.get("negative_prompt", "")),
        settings=_texts(body.get("settings", {})),
        layout=_texts(body.get("layout", {})),
        queue=queue,
        paused=body.get("paused") is True,
        seconds={harmless(stage): _runs(runs) for stage, runs in body.get("seconds", {}).items()},
    )
    return state, f"Left out of the queue: {' '.join(dict.fromkeys(lost))}" if lost else None


def _texts(body: Mapping[str, str]) -> dict[str, str]:
    return {harmless(name): harmless(text) for name, text in body.items()}


def _runs(runs: list[float]) -> tuple[float, ...]:
    return tuple(float(seconds) for seconds in runs if is_number(seconds) and seconds >= 0)[-REMEMBERED:]


def _packed(queue: tuple[GenerationRequest, ...]) -> list[dict[str, Any]]:
    """Requests in a row that differ in their seeds only, once: a series of 1000 with a long prompt stays small."""
    packed: list[dict[str, Any]] = []
    for request in queue:
        body = request_to_dict(request)
        seed = body.pop("seed")
        if packed and packed[-1]["request"] == body:
            packed[-1]["seeds"].append(seed)
        else:
            packed.append({"request": body, "seeds": [seed]})
    return packed


def _unpacked(packed: list[dict[str, Any]]) -> tuple[tuple[GenerationRequest, ...], list[str]]:
    queue: list[GenerationRequest] = []
    lost = []
    for each in packed:
        for seed in each["seeds"]:
            try:
                queue.append(request_from_dict(each["request"] | {"seed": seed}))
            except RequestError as error:
                lost.append(str(error))
    return tuple(queue), lost


def request_to_dict(request: GenerationRequest) -> dict[str, Any]:
    """A request as JSON takes it."""
    return asdict(request)


def request_from_dict(body: Mapping[str, Any]) -> GenerationRequest:
    """The request that `request_to_dict` wrote, perhaps by another version: keys that are not known are dropped.

    Raises:
        RequestError: it is none that can be painted.
    """
    known = [each.name for each in fields(GenerationRequest)]
    values: dict[str, Any] = {name: all_harmless(body[name]) for name in known if name in body}
    if not isinstance(values.get("checkpoint_dir"), str | None):
        raise RequestError(f"checkpoint_dir is {values['checkpoint_dir']!r}; expected a folder.")
    try:
        return GenerationRequest(**values)
    except TypeError as error:
        raise RequestError(f"The request is incomplete: {error}.") from error
