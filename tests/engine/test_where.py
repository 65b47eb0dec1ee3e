"""Meshes and processes as a command line names them."""

from __future__ import annotations

import pytest

from flux_engine.errors import RequestError
from flux_engine.where import AUTO, MeshSizes, Processes, parse_mesh, processes


def test_a_mesh_is_read_from_text() -> None:
    assert parse_mesh("data=2, tensor=4") == MeshSizes(data=2, tensor=4)
    assert parse_mesh("sequence=8").devices == 8


@pytest.mark.parametrize("sizes", [MeshSizes(), MeshSizes(sequence=3), MeshSizes(data=2, tensor=4)])
def test_a_mesh_is_written_as_it_is_read(sizes: MeshSizes) -> None:
    assert parse_mesh(str(sizes)) == sizes


@pytest.mark.parametrize("text", ["", "data", "data=", "data=2,data=2", "heads=2", "data=-1", "tensor=2.5", "data=²"])
def test_what_is_no_mesh_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="expected axes out of data, sequence, tensor"):
        parse_mesh(text)


def test_a_mesh_of_no_device_is_refused() -> None:
    with pytest.raises(RequestError, match="expected a whole number, at least 1"):
        parse_mesh("data=0")


def test_processes_are_named_by_hand() -> None:
    assert processes("here:1234", 2, 1) == Processes(coordinator="here:1234", count=2, index=1)
    assert processes(None) is None


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_PROCID": "3", "SLURM_NTASKS": "4"},
        {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"},
    ],
)
def test_a_launcher_tells_which_process_this_is(environment: dict[str, str]) -> None:
    assert processes(AUTO, environment=environment) == Processes(coordinator=AUTO, count=4, index=3)


def test_what_is_said_goes_before_what_a_launcher_tells() -> None:
    told = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}
    assert processes(AUTO, 2, 1, told) == Processes(coordinator=AUTO, count=2, index=1)
    assert processes(AUTO, index=1, environment=told) == Processes(coordinator=AUTO, count=4, index=1)


def test_what_a_launcher_tells_and_is_no_number_is_refused() -> None:
    told = {"SLURM_PROCID": "0", "SLURM_NTASKS": "4(x2)"}
    with pytest.raises(RequestError, match=r"SLURM_NTASKS is '4\(x2\)'; expected a whole number"):
        processes(AUTO, environment=told)
    assert processes(AUTO, count=8, environment=told) == Processes(coordinator=AUTO, count=8, index=0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, 2, None), "need a --coordinator"),
        (("here:1234", 2, None), "needs --processes and --process"),
        (("here:1234", None, 0), "needs --processes and --process"),
        (("here:1234", 2, 2), "process 2 of 2; expected a number from 0 to 1"),
        (("here:1234", 0, 0), "process 0 of 0"),
        (("here", 2, 0), "expected HOST:PORT"),
        (("here:0", 2, 0), "expected HOST:PORT"),
        (("here:999999", 2, 0), "expected HOST:PORT"),
        ((AUTO, None, None), "Neither Slurm nor Open MPI"),
    ],
)
def test_what_names_no_processes_is_refused(given: tuple[str | None, int | None, int | None], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        processes(*given, environment={})
