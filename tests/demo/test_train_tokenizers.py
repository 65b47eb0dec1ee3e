"""The demo's vocabularies know every word of its captions, and text that no caption has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demo.captions import vocabulary_sample
from demo.train_tokenizers import MAX_LENGTH, train_tokenizers
from flux_engine.tokenizers import CLIPTokenizer, T5Tokenizer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train_tokenizers(vocabulary_sample(np.random.default_rng(0), 5000), folder)
    return folder


def both(folder: Path) -> tuple[CLIPTokenizer, T5Tokenizer]:
    return CLIPTokenizer.from_dir(folder / "tokenizer"), T5Tokenizer.from_dir(folder / "tokenizer_2")


def test_no_caption_is_cut(trained: Path) -> None:
    captions = vocabulary_sample(np.random.default_rng(1), 500)
    for tokenizer in both(trained):
        assert tokenizer.max_length == MAX_LENGTH == 32
        assert set(tokenizer.encode(captions).cut) == {0}


def test_each_word_of_the_captions_is_one_token(trained: Path) -> None:
    text = "a serene landscape with mountains at sunset"
    clip, t5 = both(trained)
    assert clip.count(text) == 7 + 2
    assert t5.count(text) == 7 + 1


def test_case_makes_no_difference(trained: Path) -> None:
    for tokenizer in both(trained):
        ids = tokenizer.encode(["A Lighthouse AT NIGHT", "a lighthouse at night"]).ids
        assert np.array_equal(ids[0], ids[1])


def test_no_text_is_unknown(trained: Path) -> None:
    clip, t5 = both(trained)
    for text in ("zebra 42", "日本語 🚀", "naïve ½ ~ €"):
        rows = clip.encode([text]).ids[0], t5.encode([text]).ids[0]
        assert clip.eos not in rows[0][1 : clip.count(text) - 1]
        assert 2 not in rows[1]


def test_clip_start_and_end_are_the_last_ids(trained: Path) -> None:
    clip, _ = both(trained)
    assert (clip.bos, clip.eos) == (clip.vocab_size - 2, clip.vocab_size - 1)


def test_the_same_captions_give_the_same_files(trained: Path, tmp_path: Path) -> None:
    train_tokenizers(vocabulary_sample(np.random.default_rng(0), 5000), tmp_path)
    names = {str(file.relative_to(trained)) for file in trained.rglob("*.*")}
    assert len(names) == 5
    for name in names:
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes(), name
