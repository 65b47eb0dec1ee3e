"""Two processes over loopback paint what one paints, and know when the other dies."""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from flux_engine import Engine, GenerationRequest, distributed
from flux_engine.errors import RequestError
from flux_engine.lockstep import END, Over
from flux_engine.request import PicturesReady
from flux_engine.where import AUTO, Processes

PROGRAM = Path(__file__).with_name("two_processes.py")


@pytest.fixture(scope="module")
def found(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with socket.create_server(("localhost", 0)) as server:
        coordinator = f"localhost:{server.getsockname()[1]}"
    rest = [coordinator, str(checkpoint), str(tmp_path_factory.mktemp("processes") / "pid")]
    root = PROGRAM.parents[2]
    both = [
        subprocess.Popen([sys.executable, str(PROGRAM), index, *rest], cwd=root, stdout=subprocess.PIPE, text=True)
        for index in "01"
    ]
    try:
        out, _ = both[0].communicate()
    finally:
        for process in both:
            process.kill()
            process.wait()
            assert process.stdout
            process.stdout.close()
    return json.loads(out.splitlines()[-1])  # Gloo says above whom it met


@pytest.mark.usefixtures("quick_compilation")
def test_two_processes_paint_what_one_paints(found: dict[str, Any], checkpoint: Path) -> None:
    request = GenerationRequest(
        prompt="a hill", height=32, width=48, num_steps=2, batch_size=2, dtype="float32", checkpoint_dir=str(checkpoint)
    )
    ready = next(event for event in Engine().generate(request) if isinstance(event, PicturesReady))
    alone = [np.frombuffer(image.data, np.uint8) for image in ready.images]
    assert np.abs(np.array(found["pictures"]) - np.array(alone, int)).max() <= 1
    assert found["devices"] == "2 x cpu"


def test_all_processes_plan_with_the_least_memory_that_one_of_them_has(found: dict[str, Any]) -> None:
    assert found["stages"][:2] == ["model", "memory plan"]


def test_a_process_that_is_killed_ends_the_picture_with_a_word(found: dict[str, Any]) -> None:
    assert found["said"] == "Process 1 cannot go on: it has gone. Start all processes again."


def test_processes_without_a_mesh_are_refused() -> None:
    with pytest.raises(RequestError, match="Several processes need a mesh"):
        distributed.lead(Processes(coordinator="localhost:1", count=2, index=0), None)


def test_jax_is_told_which_process_this_is_where_a_launcher_says_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setattr(jax.config, "update", lambda name, value: None)
    monkeypatch.setattr(jax.distributed, "initialize", lambda **options: told.update(options))
    distributed._meet(Processes(coordinator=AUTO, count=2, index=1), 1)
    assert (told["coordinator_address"], told["num_processes"], told["process_id"]) == (None, 2, 1)


def test_a_follower_leaves_when_process_0_is_gone_or_tells_it_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    statuses: list[int] = []
    monkeypatch.setattr("os._exit", statuses.append)
    for last_word in (None, Over("Process 2 cannot go on."), END):
        here, there = Pipe()
        if last_word:
            there.send(last_word)
        there.close()
        distributed._listen(here, queue.SimpleQueue())
    assert statuses == [1, 1]  # not where it was told that this is the end
    assert capsys.readouterr().err.splitlines() == [
        "error: Process 0 has gone. Start all processes again.",
        "error: Process 2 cannot go on.",
    ]
