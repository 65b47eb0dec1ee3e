"""Token ids against transformers' own tokenizers, from the same files."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers

from flux_engine.tokenizers import CLIPTokenizer, T5Tokenizer
from tests.tiny_tokenizers import AWKWARD_PROMPTS, write_clip, write_t5


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize("length", [12, 77])
def test_clip_ids_are_exact(tmp_path: Path, length: int, declared: bool) -> None:
    folder = write_clip(tmp_path / "tokenizer", model_max_length=length)
    ours = CLIPTokenizer.from_dir(folder)
    if declared:
        flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": True, "special": True}
        tokens = {ours.bos: "<|startoftext|>", ours.eos: "<|endoftext|>"}
        decoder = {str(id): {"content": text, **flags} for id, text in tokens.items()}
        folder = write_clip(tmp_path / "declared", model_max_length=length, added_tokens_decoder=decoder)
        ours = CLIPTokenizer.from_dir(folder)
    theirs = transformers.CLIPTokenizerFast.from_pretrained(folder)

    for prompt in AWKWARD_PROMPTS:
        expected = theirs(prompt, padding="max_length", truncation=True, max_length=length)["input_ids"]
        assert ours.encode([prompt]).ids[0].tolist() == expected, prompt


@pytest.mark.parametrize("length", [16, 512])
def test_t5_ids_are_exact(tmp_path: Path, length: int) -> None:
    folder = write_t5(tmp_path / "tokenizer_2", model_max_length=length)
    ours = T5Tokenizer.from_dir(folder)
    theirs = transformers.T5Tokenizer.from_pretrained(folder)

    for prompt in AWKWARD_PROMPTS:
        expected = theirs(prompt, padding="max_length", truncation=True, max_length=length)["input_ids"]
        assert ours.encode([prompt]).ids[0].tolist() == expected, prompt


def test_what_save_pretrained_writes_is_read(tmp_path: Path) -> None:
    """transformers 5 leaves tokenizer.json, and neither a vocabulary nor a SentencePiece model."""
    clip = transformers.CLIPTokenizer.from_pretrained(write_clip(tmp_path / "clip"))
    t5 = transformers.T5Tokenizer.from_pretrained(write_t5(tmp_path / "t5"))
    for theirs, kind in ((clip, CLIPTokenizer), (t5, T5Tokenizer)):
        folder = tmp_path / kind.__name__
        theirs.save_pretrained(folder)
        assert {file.name for file in folder.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
        ours = kind.from_dir(folder, max_length=77)
        for prompt in AWKWARD_PROMPTS:
            expected = theirs(prompt, padding="max_length", truncation=True, max_length=77)["input_ids"]
            assert ours.encode([prompt]).ids[0].tolist() == expected, prompt
