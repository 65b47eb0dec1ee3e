"""The demo model's two vocabularies, learned from captions.

Both are small, know every word of the captions as one token, and have no unknown text: what is in no caption falls
back to bytes. Both fold case. The same captions give the same files, byte for byte.
"""

from __future__ import annotations

import io
import json
import string
from collections.abc import Iterator, Sequence
from pathlib import Path

import sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from flux_engine.tokenizers import BOS, END_OF_WORD, EOS, clip_normalizer, clip_pre_tokenizer

MAX_LENGTH = 32
BPE_MERGES = 640  # at most
PIECES = 600  # at most: the captions have about 200 words, the bytes take 256


def train_tokenizers(captions: Sequence[str], out_dir: Path) -> None:
    """Write `tokenizer/` (CLIP's BPE) and `tokenizer_2/` (T5's SentencePiece) under `out_dir`."""
    train_clip(captions, out_dir / "tokenizer")
    train_t5(captions, out_dir / "tokenizer_2")


def train_clip(captions: Sequence[str], folder: Path) -> None:
    """Vocabulary in CLIP's order: 256 bytes, 256 bytes that end a word, merges, start, end."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    alphabet += [letter + END_OF_WORD for letter in alphabet]
    bpe = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    bpe.normalizer = clip_normalizer()
    bpe.pre_tokenizer = clip_pre_tokenizer()
    # Named as special, the letters get their ids before the captions are counted: else the ids, and with them the
    # order of equally frequent merges, would follow a hash map.
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + BPE_MERGES,
        special_tokens=alphabet,
        end_of_word_suffix=END_OF_WORD,
        show_progress=False,
    )
    bpe.train_from_iterator(captions, trainer)
    merges = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]
    tokens = [*alphabet, *(left + right for left, right in merges), BOS, EOS]
    _write(folder / "vocab.json", json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False))
    _write(folder / "merges.txt", "\n".join(["#version: 0.2", *map(" ".join, merges)]) + "\n")
    _write_config(folder, bos_token=BOS, eos_token=EOS, pad_token=EOS, unk_token=EOS)


def train_t5(captions: Sequence[str], folder: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_followed_by_commas(captions),
        model_writer=model,
        model_type="unigram",
        vocab_size=PIECES,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="nmt_nfkc_cf",
        required_chars=string.ascii_lowercase + string.digits + ".,:;!?'\"()-",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        shuffle_input_sentence=False,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(model.getvalue())
    _write_config(folder, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def _followed_by_commas(captions: Sequence[str]) -> Iterator[str]:
    """The captions, and again with a comma after each word: a word that no sign ever follows is no candidate piece."""
    for caption in captions:
        yield caption
        yield ", ".join(caption.split())


def _write_config(folder: Path, **tokens: str) -> None:
    _write(folder / "tokenizer_config.json", json.dumps({**tokens, "model_max_length": MAX_LENGTH}, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
