"""Pipes in the place of files, or beside them: one who opens a pipe waits until somebody writes into it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flux_engine.errors import CheckpointNotFound
from flux_engine.request import LoraUse
from flux_engine.weights.lora_metadata import read_metadata
from flux_engine.weights.open_loras import OpenLoras
from flux_engine.weights.sources import open_checkpoint
from flux_engine.weights.tensor_files import read_tensors
from tests.foreign_files import write_diffusers_folder, write_single_files


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """What waits for a writer is ended after some seconds."""

    def ended(*_: object) -> None:
        pytest.fail("It waits for a writer.")  # no OSError, which might be taken for the file's

    before = signal.signal(signal.SIGALRM, ended)
    signal.alarm(4)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    "read",
    [
        open_checkpoint,
        read_tensors,
        read_metadata,
        lambda pipe: OpenLoras({}).open(LoraUse(file=str(pipe)), lenient=False),
    ],
)
def test_a_pipe_is_no_file(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(pipe := tmp_path / "pipe.safetensors")
    with pytest.raises(CheckpointNotFound, match=r"pipe\.safetensors cannot be read: It is no regular file") as caught:
        read(pipe)
    assert caught.value.hint


def test_a_pipe_beside_files_is_passed_over(tmp_path: Path) -> None:
    write_single_files(tmp_path)
    os.mkfifo(tmp_path / "zz.safetensors")
    assert len(open_checkpoint(tmp_path).parts) == 4


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.safetensors", "x.safetensors.index.json"])
def test_a_pipe_in_a_networks_folder_is_named(tmp_path: Path, name: str) -> None:
    write_diffusers_folder(tmp_path)
    pipe = tmp_path / "vae" / name
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    with pytest.raises(CheckpointNotFound, match="cannot be read: It is no regular file") as caught:
        open_checkpoint(tmp_path)
    assert str(pipe) in str(caught.value)
