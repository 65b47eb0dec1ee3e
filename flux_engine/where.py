"""Where pictures are painted: by how many devices, and by which of several processes. Plain values, stdlib only."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from flux_engine.errors import RequestError

AUTO = "auto"
MESH_HINT = 'Say "data=2,tensor=4", for example.'
# Each process's number and how many there are, by the names of Slurm and of Open MPI.
LAUNCHERS = (("SLURM_PROCID", "SLURM_NTASKS"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"))


@dataclass(frozen=True, kw_only=True)
class MeshSizes:
    """How many ways each kind of work is split: "data=2,tensor=4" on a command line.

    Attributes:
        data: the pictures of a batch.
        sequence: the tokens of each picture.
        tensor: the weights, by heads and by the widths of MLPs.

    Raises:
        RequestError: a size is no whole number above 0.
    """

    data: int = 1
    sequence: int = 1
    tensor: int = 1

    def __post_init__(self) -> None:
        for name, size in asdict(self).items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise RequestError(f"The mesh has {name}={size!r}; expected a whole number, at least 1.")

    def __str__(self) -> str:
        """As `parse_mesh` reads it."""
        return ",".join(f"{name}={size}" for name, size in asdict(self).items() if size > 1) or "data=1"

    @property
    def devices(self) -> int:
        """How many are needed."""
        return math.prod(asdict(self).values())


def parse_mesh(text: str) -> MeshSizes:
    """The sizes that a text such as "data=2,tensor=4" names; axes that it leaves out are 1.

    Raises:
        RequestError: it names none, or an axis twice, or one that there is not.
    """
    names = [field.name for field in fields(MeshSizes)]
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        if name not in names or name in sizes or not number.isdecimal() or len(number) > 6:
            raise RequestError(
                f"The mesh is {text!r}; expected axes out of {', '.join(names)} with a number each.", hint=MESH_HINT
            )
        sizes[name] = int(number)
    return MeshSizes(**sizes)


@dataclass(frozen=True, kw_only=True)
class Processes:
    """Processes, on one host or on several, whose devices make one mesh; each is started by hand or by a launcher.

    Attributes:
        coordinator: "host:port" of the first process, which the others can reach; "auto" where JAX finds it out.
        count: how many there are.
        index: which one this is; 0 asks for pictures and keeps them, the others follow.

    Raises:
        RequestError: there is no such process.
    """

    coordinator: str
    count: int
    index: int

    def __post_init__(self) -> None:
        if self.coordinator != AUTO:
            host, _, port = self.coordinator.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port[:6]) < 65536:
                raise RequestError(f"The coordinator is {self.coordinator!r}; expected HOST:PORT, or {AUTO}.")
        if self.count < 1 or not 0 <= self.index < self.count:
            raise RequestError(
                f"This is process {self.index} of {self.count}; expected a number from 0 to {max(self.count, 1) - 1}.",
                hint="Of N processes, each has a number of its own, from 0 to N - 1.",
            )


def processes(
    coordinator: str | None,
    count: int | None = None,
    index: int | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Processes | None:
    """The processes that a command line names; None where it names none.

    Args:
        coordinator: see `Processes`; "auto" takes what is unsaid from Slurm or Open MPI.

    Raises:
        RequestError: part of it is missing, or no launcher tells it.
    """
    if coordinator is None:
        if count is not None or index is not None:
            raise RequestError("--processes and --process need a --coordinator.", hint="Give HOST:PORT of process 0.")
        return None
    if coordinator == AUTO:
        told = next((names for names in LAUNCHERS if all(name in environment for name in names)), None)
        if told is None:
            raise RequestError(
                "Neither Slurm nor Open MPI has started this process; expected one of them for --coordinator auto.",
                hint="Start it with srun or mpirun, or give HOST:PORT, --processes and --process.",
            )
        index = _number(told[0], environment) if index is None else index
        count = _number(told[1], environment) if count is None else count
    if count is None or index is None:
        raise RequestError("--coordinator needs --processes and --process.", hint="Say how many there are, and which.")
    return Processes(coordinator=coordinator, count=count, index=index)


def _number(name: str, environment: Mapping[str, str]) -> int:
    try:
        return int(environment[name])
    except ValueError:
        raise RequestError(
            f"{name} is {environment[name]!r}; expected a whole number.", hint="Say --processes and --process."
        ) from None
