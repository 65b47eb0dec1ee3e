"""Files and folders that this user may not read: real ones, read as a user who is not root."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flux_engine.errors import CheckpointNotFound, TokenizerError
from flux_engine.tokenizers import load_tokenizers
from flux_engine.weights.sources import open_checkpoint
from tests.foreign_files import write_diffusers_folder, write_single_files

NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place that everybody may enter, unlike pytest's own."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    yield place / "model"
    for root, names, _ in os.walk(place):
        for name in names:
            Path(root, name).chmod(0o755)
    shutil.rmtree(place)


@contextmanager
def closed(place: Path) -> Iterator[None]:
    """Nobody may read `place`; root could all the same, so root is somebody else meanwhile."""
    place.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def write_folder(folder: Path) -> Path:
    write_diffusers_folder(folder)
    (folder / "model_index.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_folder, ""),
        (write_folder, "model_index.json"),
        (write_folder, "transformer"),
        (write_folder, "vae/config.json"),
        (write_folder, "vae/diffusion_pytorch_model.safetensors"),
        (write_single_files, ""),
        (write_single_files, "model.safetensors"),
        (write_single_files, "t5.safetensors"),
    ],
)
def test_what_is_closed_to_this_user_is_named(folder: Path, write: Callable[[Path], Path], name: str) -> None:
    checkpoint = write(folder)
    open_checkpoint(checkpoint)  # and what it takes is imported
    with closed(folder / name), pytest.raises(CheckpointNotFound, match="cannot be read: Permission denied") as caught:
        open_checkpoint(checkpoint)
    assert str(folder / name) in str(caught.value) and "permissions" in caught.value.hint


@pytest.mark.parametrize(
    "name",
    ["tokenizer", "tokenizer/vocab.json", "tokenizer_2", "tokenizer_2/spiece.model", "tokenizer/tokenizer_config.json"],
)
def test_a_tokenizer_that_is_closed_to_this_user_is_named(folder: Path, name: str) -> None:
    write_diffusers_folder(folder)
    load_tokenizers(folder, guidance_embeds=True)
    with closed(folder / name), pytest.raises(TokenizerError, match="Permission denied") as caught:
        load_tokenizers(folder, guidance_embeds=True)
    assert str(folder / name.partition("/")[0]) in str(caught.value) and caught.value.hint
