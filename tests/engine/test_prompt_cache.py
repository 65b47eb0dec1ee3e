"""Encoded prompts are kept on the disk to the last bit, within bounds, and are lost without harm."""

from __future__ import annotations

import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flux_engine.prompt_cache import PromptCache, fingerprint


def arrays(seed: int, dtype: str = "bfloat16") -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(seed)
    shapes = {"text": (1, 8, 16), "pooled": (1, 16)}
    return {name: numbers.standard_normal(shape).astype(jnp.dtype(dtype)) for name, shape in shapes.items()}


def same(one: dict[str, np.ndarray] | None, other: dict[str, np.ndarray]) -> bool:
    assert one is not None
    return all(one[name].dtype == array.dtype and np.array_equal(one[name], array) for name, array in other.items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_kept_comes_back_to_the_last_bit(tmp_path: Path, dtype: str) -> None:
    kept = PromptCache(tmp_path / "prompts")
    assert kept.get("a hill") is None
    kept.put("a hill", arrays(1, dtype))
    kept.put("a lake", arrays(2, dtype))
    assert same(PromptCache(tmp_path / "prompts").get("a hill"), arrays(1, dtype))
    kept.put("a hill", arrays(3, dtype))
    assert same(kept.get("a hill"), arrays(3, dtype)) and same(kept.get("a lake"), arrays(2, dtype))
    assert "hill" not in "".join(path.name for path in tmp_path.rglob("*"))


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    size = PromptCache(tmp_path / "one")
    size.put("x", arrays(0))
    (entry,) = (tmp_path / "one").iterdir()
    kept = PromptCache(tmp_path / "three", max_bytes=3 * entry.stat().st_size)
    for place, key in enumerate("abc"):
        kept.put(key, arrays(place))
        for file in (tmp_path / "three").iterdir():  # files of one tick of the clock have no order
            os.utime(file, ns=(0, file.stat().st_mtime_ns - 10**9))
    assert kept.get("a") is not None
    kept.put("d", arrays(4))
    assert [key for key in "abcd" if kept.get(key) is None] == ["b"]


@given(cut=st.integers(0, 900), noise=st.binary(max_size=40))
def test_a_damaged_entry_is_none(tmp_path_factory: pytest.TempPathFactory, cut: int, noise: bytes) -> None:
    kept = PromptCache(tmp_path_factory.mktemp("damaged"))
    kept.put("a hill", arrays(1))
    (entry,) = kept._folder.iterdir()
    entry.write_bytes(entry.read_bytes()[:cut] + noise)
    assert kept.get("a hill") is None


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = PromptCache(tmp_path / "file" / "prompts")
    kept.put("a hill", arrays(1))
    assert kept.get("a hill") is None


def test_another_file_in_the_same_place_is_told_from_the_first(tmp_path: Path) -> None:
    weights = tmp_path / "clip" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"one")
    first = fingerprint([weights.parent])
    assert fingerprint([weights]) == first == fingerprint([weights.parent])
    os.utime(weights, ns=(0, 0))
    touched = fingerprint([weights.parent])
    weights.write_bytes(b"three")
    assert len({first, touched, fingerprint([weights.parent])}) == 3


def test_a_file_whose_path_is_not_utf8_has_a_fingerprint(tmp_path: Path) -> None:
    file = tmp_path / "vocab\udcff.json"
    file.write_bytes(b"{}")
    assert fingerprint([file]) == fingerprint([tmp_path])
