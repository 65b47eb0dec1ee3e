"""A prompt that was encoded once is never encoded again, on this machine and with these weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from flux_engine import Engine, FluxModelLoader, GenerationRequest, compiled
from flux_engine.prompt_cache import PromptCache
from flux_engine.request import PicturesReady, StageStarted
from flux_engine.weights.checkpoint import load_component, save_component
from flux_engine.weights.placing import on_device
from tests.foreign_files import write_diffusers_folder

REQUEST = GenerationRequest(prompt="a hill", width=48, height=48, num_steps=1, dtype="float32")


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the text encoders were asked for."""
    asked: list[Any] = []
    encode = compiled.encode_text

    def counting(graphdef: Any, state: Any, ids: Any) -> jax.Array:
        asked.append(ids)
        return encode(graphdef, state, ids)

    monkeypatch.setattr(compiled, "encode_text", counting)
    return asked


def loader(checkpoint: Path, kept: Path, dtype: Any = "float32") -> FluxModelLoader:
    return FluxModelLoader(checkpoint_dir=checkpoint, dtype=dtype, prompt_cache=PromptCache(kept))


def test_another_run_finds_the_prompt_to_the_last_bit(checkpoint: Path, tmp_path: Path, encodings: list[Any]) -> None:
    [first] = loader(checkpoint, tmp_path).encode_prompts(["a hill " * 200])
    assert len(encodings) == 2 and "were cut" in first.warning
    second = loader(checkpoint, tmp_path)
    assert second.knows_prompt("a hill " * 200)
    [found] = second.encode_prompts(["a hill " * 200])
    assert len(encodings) == 2 and not second.is_loaded("t5_text")
    assert np.array_equal(found.text_embeddings, first.text_embeddings)
    assert np.array_equal(found.pooled_embeddings, first.pooled_embeddings)
    assert found.warning == first.warning


def test_without_a_folder_nothing_is_kept(checkpoint: Path, tmp_path: Path, encodings: list[Any]) -> None:
    for times in (1, 2):
        FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32").encode_prompts(["a hill"])
        assert len(encodings) == 2 * times
    assert not list(tmp_path.iterdir())


def test_other_weights_and_other_types_encode_anew(checkpoint: Path, tmp_path: Path, encodings: list[Any]) -> None:
    mine, kept = tmp_path / "mine", tmp_path / "kept"
    shutil.copytree(checkpoint, mine)
    loader(mine, kept).encode_prompts(["a hill"])
    assert not loader(mine, kept, "bfloat16").knows_prompt("a hill")
    assert not loader(mine, kept).knows_prompt("a lake")
    network = load_component(
        mine / "clip_text", "clip_text", placement=on_device(jax.devices()[0]), dtype=jax.numpy.float32
    )
    state = nnx.state(network)
    nnx.update(network, jax.tree.map(lambda leaf: leaf * 1.5, state))
    save_component(mine / "clip_text", network)
    assert not loader(mine, kept).knows_prompt("a hill")


def test_a_changed_config_of_a_diffusers_folder_encodes_anew(tmp_path: Path) -> None:
    folder, kept = tmp_path / "folder", tmp_path / "kept"
    write_diffusers_folder(folder)
    loader(folder, kept).encode_prompts(["a hill"])
    assert loader(folder, kept).knows_prompt("a hill")
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "num_attention_heads": 2}))
    assert not loader(folder, kept).knows_prompt("a hill")


def test_an_engine_of_another_run_paints_the_same_picture_without_its_encoders(
    checkpoint: Path, encodings: list[Any]
) -> None:
    request = GenerationRequest(**{**vars(REQUEST), "checkpoint_dir": str(checkpoint)})
    first, second = (list(Engine().generate(request)) for _ in range(2))
    assert len(encodings) == 2
    assert "encoding" in {event.stage for event in first if isinstance(event, StageStarted)}
    assert "encoding" not in {event.stage for event in second if isinstance(event, StageStarted)}
    assert isinstance(first[-1], PicturesReady) and isinstance(second[-1], PicturesReady)
    assert first[-1].images == second[-1].images
