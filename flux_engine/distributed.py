"""Several processes that paint one picture, each with its devices: how they meet, and how the others follow process 0.

Over JAX's own channel process 0 says once where it listens and what its key is; all else goes over a connection to
each follower, which closes the moment a process dies. Checkpoints and LoRAs lie at the same paths for all.
`flux_engine.lockstep` says what process 0 does.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import socket
import threading
from collections.abc import Generator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Any, cast

import jax
import numpy as np
from jax.experimental import multihost_utils

from flux_engine.arguments import FAILED
from flux_engine.display import say
from flux_engine.engine import Engine
from flux_engine.errors import FluxError, ProcessError, RequestError
from flux_engine.lockstep import END, FORGET, Answer, Fault, Leader, Next, Over
from flux_engine.request import Event, GenerationRequest
from flux_engine.where import AUTO, MeshSizes, Processes

HEARTBEAT_S = 20  # without a sign of life, until JAX takes a process for dead
MEETING_S = 300  # process 0 waits for the others
PATIENCE_S = 10**6  # they wait for it: an app may be opened any time
HELLO_BYTES = 1024


def lead(processes: Processes, mesh: MeshSizes | None, *, verbose: bool = False) -> Leader:
    """Process 0's engine, once the others are there.

    Args:
        mesh: over all devices of all processes.

    Raises:
        RequestError: there is no mesh, or it has other than all devices.
        ProcessError: the others do not come.
    """
    if mesh is None:
        raise RequestError("Several processes need a mesh.", hint='Say --mesh "data=2,tensor=4", for example.')
    _meet(processes, MEETING_S)
    if mesh.devices != jax.device_count():
        raise RequestError(f"The mesh {mesh} has {mesh.devices} devices; expected all {jax.device_count()}.")
    followers = _gathered(processes, mesh)
    return Leader(Engine(mesh=mesh, verbose=verbose), followers)


def follow(processes: Processes, *, verbose: bool = False) -> None:
    """Do what process 0 does, until it ends.

    Raises:
        ProcessError: process 0 cannot be reached.
    """
    _meet(processes, PATIENCE_S)
    hello = _broadcast({})
    try:
        leader = _connected(hello["host"], hello["port"], bytes.fromhex(hello["token"]))
        leader.send(processes.index)
        mesh = leader.recv()
    except (OSError, EOFError, AuthenticationError) as error:
        raise ProcessError(
            f"Process 0 cannot be reached at {hello['host']}, port {hello['port']}: {_reason(error)}.",
            hint="This host must know that name, and no firewall may close any port between the two.",
        ) from error
    engine = Engine(mesh=mesh, verbose=verbose)
    orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(leader, orders), name="flux-leader", daemon=True).start()
    events: Generator[Event, None, None] | None = None
    while (order := orders.get()) != END:
        if isinstance(order, GenerationRequest):
            events = cast(Generator[Event, None, None], engine.generate(order))
        elif isinstance(order, Next) and events is not None:
            leader.send(Answer(order.number, _fault_of(events)))
        elif events is not None:
            events.close()
            if order == FORGET:
                engine.forget()
    jax.distributed.shutdown()
    leader.close()


def _meet(processes: Processes, patience_s: int) -> None:
    jax.config.update("jax_enable_recoverability", True)  # else C++ would abort the app when another process dies
    by_hand = processes.coordinator != AUTO
    try:
        jax.distributed.initialize(
            coordinator_address=processes.coordinator if by_hand else None,
            num_processes=processes.count,
            process_id=processes.index,
            cluster_detection_method="deactivate" if by_hand else None,
            initialization_timeout=patience_s,
            heartbeat_timeout_seconds=HEARTBEAT_S,
        )
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ProcessError(
            f"The {processes.count} processes did not meet at {processes.coordinator}: {reason}",
            hint="Start all of them, each with its own --process, and see that they reach that host and port.",
        ) from error


def _gathered(processes: Processes, mesh: MeshSizes) -> dict[int, Connection]:
    """A connection to each follower, by its number."""
    token = secrets.token_bytes(32)
    host = socket.gethostname() if processes.coordinator == AUTO else processes.coordinator.rpartition(":")[0]
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    with socket.create_server(("", 0), family=family, backlog=processes.count, dualstack_ipv6=both) as server:
        _broadcast({"host": host.strip("[]"), "port": server.getsockname()[1], "token": token.hex()})
        server.settimeout(MEETING_S)
        try:
            followers = [_accepted(server, token) for _ in range(processes.count - 1)]
            for follower in followers:
                follower.send(mesh)
            return {follower.recv(): follower for follower in followers}
        except (OSError, EOFError, AuthenticationError) as error:
            raise ProcessError(
                f"Of {processes.count} processes not all came to {host}: {_reason(error)}.",
                hint="See what they say. They must reach this host by that name, at any port.",
            ) from error


def _broadcast(hello: dict[str, Any]) -> dict[str, Any]:
    """What process 0 says to all."""
    text = np.zeros(HELLO_BYTES, np.uint8)
    said = json.dumps(hello).encode()
    text[: len(said)] = np.frombuffer(said, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(text)).astype(np.uint8).tobytes().rstrip(b"\0"))


def _accepted(server: socket.socket, token: bytes) -> Connection:
    """`multiprocessing`'s own Listener has no patience that ends, and its Client no IPv6."""
    there, _ = server.accept()
    there.setblocking(True)
    follower = Connection(there.detach())
    deliver_challenge(follower, token)
    answer_challenge(follower, token)
    return follower


def _connected(host: str, port: int, token: bytes) -> Connection:
    there = socket.create_connection((host, port), timeout=MEETING_S)
    there.setblocking(True)
    leader = Connection(there.detach())
    answer_challenge(leader, token)
    deliver_challenge(leader, token)
    return leader


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _listen(leader: Connection, orders: queue.SimpleQueue[Any]) -> None:
    """Pass on what process 0 says; without it, leave: the main thread may wait for it inside a step, without end."""
    why = "Process 0 has gone. Start all processes again."
    with contextlib.suppress(EOFError, OSError):
        while not isinstance(order := leader.recv(), Over):
            orders.put(order)
            if order == END:
                return
        why = order.message
    say(f"error: {why}")
    os._exit(FAILED)


def _fault_of(events: Generator[Event, None, None]) -> Fault | None:
    """Take a step."""
    try:
        next(events, None)
    except FluxError as error:
        return Fault(str(error), error.hint)
    except Exception as error:
        return Fault(f"{type(error).__name__}: {' '.join(str(error).split())}", is_known=False)
    return None
