"""A second start of the program compiles nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = """
import collections, jax, os
from flux_engine.engine import Engine
from flux_engine.request import GenerationRequest

counted = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: counted.update([event.rpartition("/")[2]]))
engine = Engine()
%s
print(counted["cache_hits"], counted["cache_misses"])
"""
PAINT = """
list(engine.generate(GenerationRequest(prompt="a hill", width=32, height=32, num_steps=1, dtype="float32")))
"""
ADD = "jax.jit(lambda x: x + 1)(1.0)"


def start(home: Path, work: str = ADD, **variables: str) -> tuple[int, int]:
    """Hits and misses of a program that has an engine, and does some work."""
    tests = ("JAX_COMPILATION", "JAX_PERSISTENT", "XDG_")
    own = {name: value for name, value in os.environ.items() if not name.startswith(tests)}
    environment = {**own, "HOME": str(home), "JAX_DISABLE_MOST_OPTIMIZATIONS": "true", **variables}
    done = subprocess.run(
        [sys.executable, "-c", COUNT % work], env=environment, capture_output=True, text=True, check=True
    )
    assert all("Error reading persistent" in line or "warnings.warn" in line for line in done.stderr.splitlines())
    hits, misses = map(int, done.stdout.split())
    return hits, misses


def test_a_second_start_compiles_nothing(tmp_path: Path) -> None:
    _, compiled = start(tmp_path, PAINT)
    found, anew = start(tmp_path, PAINT)
    assert compiled >= found > 5 and anew == 0
    *_, largest = sorted(
        (tmp_path / ".cache" / "flux-tui" / "compiled").glob("*-cache"), key=lambda it: it.stat().st_size
    )
    largest.write_bytes(largest.read_bytes()[:10])  # a process that was killed
    assert start(tmp_path, PAINT) == (found - 1, 1)


WARM = """
from dataclasses import replace
from flux_engine.request import LoraUse
plain = GenerationRequest(prompt="-", width=32, height=48, num_steps=4, batch_size=2, dtype="float32")
other = replace(plain, integrator="heun", true_cfg_scale=2.0, negative_prompt="fog", noise="torch", sigma_shift=1.5)
assert not list(engine.warm(replace(plain, loras=(LoraUse(file="nowhere"),))))
for request in plain, other:
    names = list(engine.warm(request))
    assert len(names) == len(set(names)) and {"transformer velocity", "vae decode_latents"} < set(names), names
    assert "vae encode_images" not in names  # the demo has colours for previews
    assert all(array.ndim == 0 for array in jax.live_arrays()) or request is other
    assert counted["cache_misses"] > 6 or request is other
    counted.clear()
    list(engine.generate(request))
    assert not counted["cache_hits"] and not counted["cache_misses"], counted
assert not list(engine.warm(replace(plain, dtype="bfloat16")))
"""
QUICKLY = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}


def test_what_is_warmed_up_without_a_weight_compiles_nothing_more(tmp_path: Path) -> None:
    start(tmp_path, WARM, **QUICKLY)


WITHOUT_COLOURS = """
request = GenerationRequest(
    prompt="-", width=32, height=48, num_steps=2, dtype="float32", checkpoint_dir=os.environ["CHECKPOINT"]
)
assert "vae encode_images" in list(engine.warm(request))
counted.clear()
list(engine.generate(request))
assert not counted["cache_hits"] and not counted["cache_misses"], counted
assert "vae encode_images" not in list(engine.warm(request))
"""


def test_colours_of_previews_that_a_checkpoint_lacks_are_warmed_up_too(tmp_path: Path, checkpoint: Path) -> None:
    start(tmp_path, WITHOUT_COLOURS, CHECKPOINT=str(checkpoint), **QUICKLY)


BY_BLOCKS = """
from pathlib import Path
from flux_engine.weights import placing
placing._platform = lambda devices: "gpu"
folder = Path(jax.config.jax_compilation_cache_dir)
request = GenerationRequest(prompt="-", width=32, height=48, num_steps=2, dtype="float32")
list(engine.warm(request))
before = {file.name for file in folder.glob("*-cache")}
assert sum(name.startswith("jit_block-") for name in before) == 3, before
list(engine.generate(request))
own = ("jit_block-", "jit_called-", "jit__inputs-")
assert not [name for name in {file.name for file in folder.glob("*-cache")} - before if name.startswith(own)]
"""


def test_programs_of_single_blocks_are_warmed_up_too(tmp_path: Path) -> None:
    start(tmp_path, BY_BLOCKS, **QUICKLY)


ON_MESHES = """
from dataclasses import replace
from pathlib import Path
from flux_engine.where import parse_mesh
folder = Path(jax.config.jax_compilation_cache_dir)
here = os.environ["CHECKPOINT"]
plain = GenerationRequest(
    prompt="-", width=32, height=64, num_steps=2, batch_size=2, dtype="float32", checkpoint_dir=here
)
reading = {"jit__lambda", "jit_put_block"}  # into stacks of weights
emptying = {"jit_broadcast_in_dim", "jit__multi_slice"}  # a step cache
anew = {}
for mesh, step_cache in ("data=2", 0), ("tensor=2", 0), ("sequence=2", 0.1):
    engine = Engine(mesh=parse_mesh(mesh))
    request = replace(plain, step_cache=step_cache)
    list(engine.warm(request))
    jax.clear_caches()  # as in another process, which has the keys of what was compiled and nothing else
    before = set(folder.glob("*-cache"))
    list(engine.generate(request))
    names = {file.name.partition("-")[0] for file in set(folder.glob("*-cache")) - before}
    anew[mesh, step_cache] = names - reading - (emptying if step_cache else set())
assert not any(anew.values()), anew
"""


def test_what_several_devices_run_is_warmed_up_as_they_run_it(tmp_path: Path, checkpoint: Path) -> None:
    devices = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    start(tmp_path, ON_MESHES, CHECKPOINT=str(checkpoint), **devices, **QUICKLY)


def test_nothing_is_warmed_up_where_nothing_would_be_kept(tmp_path: Path) -> None:
    work = 'assert not list(engine.warm(GenerationRequest(prompt="-")))'
    start(tmp_path, work, JAX_ENABLE_COMPILATION_CACHE="false", **QUICKLY)


@pytest.mark.parametrize("variables", [{"JAX_ENABLE_COMPILATION_CACHE": "false"}, {"XDG_CACHE_HOME": "/proc/none"}])
def test_without_a_folder_nothing_is_kept_and_all_is_painted(tmp_path: Path, variables: dict[str, str]) -> None:
    assert start(tmp_path, **variables) == (0, 0)
    assert not list(tmp_path.rglob("*-cache"))


def test_the_users_own_folder_is_used(tmp_path: Path) -> None:
    start(
        tmp_path / "home",
        JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"),
        JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    )
    assert any((tmp_path / "own").iterdir())
    assert not (tmp_path / "home" / ".cache" / "flux-tui" / "compiled").exists()
