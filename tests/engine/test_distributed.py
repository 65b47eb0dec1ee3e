"""Two processes over loopback paint what one paints, and know when the other dies."""

from __future__ import annotations

import json
import queue
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import AuthenticationError, Pipe
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from flux_engine import Engine, GenerationRequest, distributed
from flux_engine.errors import ProcessError, RequestError
from flux_engine.lockstep import END, Over
from flux_engine.request import PicturesReady
from flux_engine.where import AUTO, MeshSizes, Processes

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


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> queue.SimpleQueue[dict[str, Any]]:
    """What process 0 says over JAX's own channel, where both are threads of the test."""
    said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def broadcast(hello: dict[str, Any]) -> dict[str, Any]:
        if hello:
            said.put(hello)
        return hello or said.get()

    monkeypatch.setattr(distributed, "_broadcast", broadcast)
    monkeypatch.setattr(distributed, "_meet", lambda processes, patience_s: None)
    monkeypatch.setattr(jax.distributed, "shutdown", lambda: None)
    return said


def pair_at(host: str) -> tuple[Processes, Processes]:
    zero, one = (Processes(coordinator=f"{host}:1", count=2, index=index) for index in (0, 1))
    return zero, one


@pytest.mark.usefixtures("channel")
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_process_0_is_found_by_a_name_and_by_addresses_of_both_kinds(host: str) -> None:
    if host == "[::1]":
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip("no IPv6 here")
    zero, one = pair_at(host)
    with ThreadPoolExecutor() as pool:
        following = pool.submit(distributed.follow, one)
        leader = distributed.lead(zero, MeshSizes())
        leader.close()
        following.result()


def test_process_0_waits_for_the_others_for_a_while_and_not_for_who_does_not_know_the_key(
    channel: queue.SimpleQueue[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    zero, _ = pair_at("localhost")
    with ThreadPoolExecutor() as pool:
        leading = pool.submit(distributed.lead, zero, MeshSizes())
        hello = channel.get()
        with pytest.raises(AuthenticationError):
            distributed._connected("localhost", hello["port"], b"a guess")
        with pytest.raises(ProcessError, match="Of 2 processes not all came to localhost: digest received was wrong"):
            leading.result()
    monkeypatch.setattr(distributed, "MEETING_S", 0.01)
    with pytest.raises(ProcessError, match="not all came to localhost: timed out"):
        distributed.lead(zero, MeshSizes())


def test_a_follower_that_cannot_reach_process_0_says_where_it_looked(
    channel: queue.SimpleQueue[dict[str, Any]],
) -> None:
    _, one = pair_at("localhost")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    channel.put({"host": "127.0.0.1", "port": port, "token": "00"})
    with pytest.raises(ProcessError) as caught:
        distributed.follow(one)
    assert str(caught.value) == f"Process 0 cannot be reached at 127.0.0.1, port {port}: Connection refused."
    assert caught.value.hint


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
