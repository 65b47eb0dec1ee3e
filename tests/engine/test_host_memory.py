"""How a process keeps its memory: with few heaps for all threads, and without what it does not use any more."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from flux_engine import host_memory
from tests.foreign_files import write_diffusers_folder

HEAPS = """
import ctypes, os, tempfile, threading
{first}
together = threading.Barrier(4)
threads = [threading.Thread(target=lambda: (bytearray(50_000), together.wait())) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype, libc.fopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p]
libc.malloc_info.argtypes, libc.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
with tempfile.TemporaryDirectory() as folder:
    said = os.path.join(folder, "said")
    file = libc.fopen(said.encode(), b"w")
    libc.malloc_info(0, file)
    libc.fclose(file)
    print(open(said).read().count("<heap nr"))
"""
SHARING = "from flux_engine.host_memory import share_heaps; share_heaps({cores})"
GIVING_BACK = """
from flux_engine.host_memory import give_back, process_bytes
blocks = [bytearray(b"x" * 100_000) for _ in range(500)]
last = blocks.pop()
before = process_bytes()
blocks.clear()
kept = process_bytes()
give_back()
print(before - kept, before - process_bytes())
"""
is_glibc = platform.libc_ver()[0] == "glibc"


def said_by(program: str, **environment: str) -> list[int]:
    env = {name: value for name, value in os.environ.items() if name not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, env=env | environment, capture_output=True, text=True, check=True)
    return [int(word) for word in run.stdout.split()]


@pytest.mark.skipif(not is_glibc, reason="this machine's C library keeps memory in ways of its own")
def test_threads_share_a_heap_for_every_four_cores() -> None:
    heaps = [said_by(HEAPS.format(first=SHARING.format(cores=cores))) for cores in (1, 4, 11)]
    (by_itself,) = said_by(HEAPS.format(first=""))
    assert heaps == [[1], [1], [2]] and by_itself > 2


@pytest.mark.skipif(not is_glibc, reason="this machine's C library keeps memory in ways of its own")
@pytest.mark.parametrize(("name", "value"), [("MALLOC_ARENA_MAX", "3"), ("GLIBC_TUNABLES", "glibc.malloc.arena_max=3")])
def test_a_number_of_heaps_that_the_environment_says_is_kept(name: str, value: str) -> None:
    assert said_by(HEAPS.format(first=SHARING.format(cores=1)), **{name: value}) == [3]


@pytest.mark.skipif(not is_glibc, reason="this machine's C library keeps memory in ways of its own")
def test_what_is_freed_is_given_back() -> None:
    kept, given_back = said_by(GIVING_BACK)
    assert kept < 10_000_000 < 40_000_000 < given_back


def test_a_c_library_without_such_functions_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_memory.ctypes, "CDLL", lambda name: object())
    host_memory.share_heaps()
    host_memory.give_back()


READING = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp
from flux_engine.weights.checkpoint import load_network
from flux_engine.weights.placing import on_device
from flux_engine.weights.sources import open_checkpoint
part = open_checkpoint(Path({folder!r})).parts["vae"]
load_network(part.open(), placement=on_device(jax.devices()[0]), dtype=jnp.dtype("float32"))
print(int("tensorstore" in sys.modules))
"""


def test_files_of_other_layouts_are_read_without_orbaxs_library(tmp_path: Path, checkpoint: Path) -> None:
    write_diffusers_folder(tmp_path)
    assert said_by(READING.format(folder=str(tmp_path))) == [0]
    assert said_by(READING.format(folder=str(checkpoint))) == [1]
