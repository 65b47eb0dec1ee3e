"""Schedules, packing, ids, noise, buckets and token ids against the numbers of diffusers, transformers and torch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flux_engine.models.t5_encoder import relative_position_buckets
from flux_engine.sampling.latents import image_ids, pack, unpack
from flux_engine.sampling.noise import gaussian
from flux_engine.sampling.timers import FluxTimer
from flux_engine.tokenizers import CLIPTokenizer, T5Tokenizer

FOLDER = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "sampling.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("seq_len", [64, 256, 1024, 4096, 16384])
@pytest.mark.parametrize("n_steps", [4, 28, 50])
def test_the_dynamic_schedule_of_dev(golden: dict[str, np.ndarray], n_steps: int, seq_len: int) -> None:
    sigmas = FluxTimer(n_steps, use_dynamic_shift=True).with_image_seq_len(seq_len).sigmas()
    np.testing.assert_allclose(sigmas, golden[f"sigmas dev {n_steps} {seq_len}"], rtol=0, atol=2e-7)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("n_steps", [4, 28, 50])
def test_a_static_shift(golden: dict[str, np.ndarray], n_steps: int, shift: float) -> None:
    sigmas = FluxTimer(n_steps, shift=shift).sigmas()
    np.testing.assert_allclose(sigmas, golden[f"sigmas shift {shift:g} {n_steps}"], rtol=0, atol=2e-7)


def test_packing_both_ways_and_ids(golden: dict[str, np.ndarray]) -> None:
    latents = np.arange(2 * 16 * 6 * 10).reshape(2, 16, 6, 10).transpose(0, 2, 3, 1)
    packed = golden["packed"]
    np.testing.assert_array_equal(pack(latents).reshape(2, 15, 64), packed)
    np.testing.assert_array_equal(unpack(packed.reshape(2, 3, 5, 64)), latents)
    np.testing.assert_array_equal(image_ids(3, 5), golden["image ids"])


def test_noise_of_a_batch(golden: dict[str, np.ndarray]) -> None:
    noise = np.asarray(gaussian("torch", 11, batch=2, rows=3, columns=5)).reshape(2, 15, 64)
    np.testing.assert_allclose(noise, golden["noise 11"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("count", "distance"), [(32, 128), (16, 40), (32, 127), (64, 1000)])
def test_position_buckets_of_t5(golden: dict[str, np.ndarray], count: int, distance: int) -> None:
    expected = golden[f"buckets {count} {distance}"]  # of key - query from -1100 to 1100
    length = len(expected) // 2 + 1
    table = relative_position_buckets(length, count, distance)
    np.testing.assert_array_equal(np.concatenate([table[-1, :-1], table[0]]), expected)


def test_token_ids_of_awkward_prompts() -> None:
    clip, t5 = CLIPTokenizer.from_dir(FOLDER / "tokenizer"), T5Tokenizer.from_dir(FOLDER / "tokenizer_2")
    rows = json.loads((FOLDER / "token_ids.json").read_text())
    assert len(rows) > 20
    for row in rows:
        assert clip.encode([row["prompt"]]).ids[0].tolist() == row["clip"], row["prompt"]
        assert t5.encode([row["prompt"]]).ids[0].tolist() == row["t5"], row["prompt"]
