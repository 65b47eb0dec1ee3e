"""`flux-tui pull` against a hub on loopback, with real files, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from flux_engine.weights.hub import chosen
from tests.foreign_files import save_file, write_diffusers_folder, write_single_files
from tests.hub import REPO, Hub, serving
from tests.tiny_checkpoint import write_tiny_checkpoint


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serving(tmp_path / "repo") as hub:
        yield hub


def pull(hub: Hub, home: Path, repo: str = REPO) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "flux_tui", "pull", repo]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_repository_becomes_a_folder_of_the_same_files(hub: Hub, tmp_path: Path) -> None:
    write_diffusers_folder(hub.folder, shards=2)
    save_file({"the": np.zeros(9, np.float32)}, hub.folder / "same weights once more.safetensors")
    (hub.folder / "README.md").write_text("# Model")
    done = pull(hub, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    found = files_of(Path(done.stdout.rstrip("\n")))
    assert found == {name: data for name, data in files_of(hub.folder).items() if "/" in name}
    again = pull(hub, tmp_path / "home")
    assert (again.returncode, again.stdout) == (0, done.stdout)


def test_what_was_interrupted_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    write_tiny_checkpoint(hub.folder)
    name = "transformer/state/d/large"
    (hub.folder / name).write_bytes(np.random.RandomState(0).bytes(45_000_000))  # it is written in pieces of 10 MB
    hub.cut = {name}
    done = pull(hub, tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert files_of(Path(done.stdout.rstrip("\n")))[name] == (hub.folder / name).read_bytes()
    [(resumed, start)] = hub.ranges
    assert resumed == name and start > 0


def test_without_a_network_what_is_in_the_cache_is_found(hub: Hub, tmp_path: Path) -> None:
    write_tiny_checkpoint(hub.folder)
    first = pull(hub, tmp_path / "home")
    hub.url = "http://127.0.0.1:9"  # nobody listens there
    second = pull(hub, tmp_path / "home")
    assert (second.returncode, second.stdout) == (0, first.stdout), second.stderr


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("gated", f"error: {REPO} is gated. Accept its terms on huggingface.co"),
        ("missing", "error: some/other is not on the Hub. Check the name"),
        ("no network", f"error: {REPO} could not be downloaded"),
        ("no weights", f"error: {REPO} holds no weights."),
    ],
)
def test_what_stands_in_the_way_is_told_in_one_line(hub: Hub, tmp_path: Path, case: str, words: str) -> None:
    hub.folder.mkdir()
    (hub.folder / "README.md").write_text("# Model")
    hub.gated = case == "gated"
    if case == "no network":
        hub.url = "http://127.0.0.1:9"
    done = pull(hub, tmp_path / "home", "some/other" if case == "missing" else REPO)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_a_full_disk_is_told_before_it_is_full(hub: Hub, tmp_path: Path) -> None:
    write_single_files(hub.folder)
    code = """
import collections, shutil, sys
shutil.disk_usage = lambda path: collections.namedtuple("usage", "total used free")(0, 0, 1000)
from flux_tui.__main__ import main
sys.exit(main(["pull", sys.argv[1]]))
"""
    env = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": hub.url}
    done = subprocess.run([sys.executable, "-c", code, REPO], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "GB free. Make room, or set HF_HOME" in done.stderr, done.stderr


def test_of_several_layouts_one_is_fetched() -> None:
    shared = ["tokenizer/vocab.json", "vae/config.json"]
    diffusers = [*shared, "transformer/a.safetensors", "vae/a.safetensors"]
    assert chosen([*diffusers, "flux1-dev.safetensors", "ae.safetensors"]) == sorted(diffusers)
    assert chosen([*diffusers, "model_index.json", "ae.safetensors"]) == [*sorted(diffusers), "model_index.json"]
    assert chosen([*diffusers, "transformer/state/_METADATA"]) == sorted([*shared, "transformer/state/_METADATA"])
    assert chosen(["b.gguf", *shared]) == ["b.gguf", *shared]
