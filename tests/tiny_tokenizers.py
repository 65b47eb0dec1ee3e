"""Small tokenizer folders, trained on a few sentences while a test runs, and prompts that are hard to cut."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece

from demo.train_tokenizers import train_clip

SENTENCES = [
    "A serene landscape with mountains at sunset, painted in 1873.",
    "The old lighthouse isn't lit; we've seen it's dark, they'll say he'd know!",
    "Café naïve à la crème brûlée: 日本語の山 and 中文, emoji 🚀 too.",
    "don't I'm they're we'll he'd she's 'tis 0 1 2 3 4 5 6 7 8 9",
]

AWKWARD_PROMPTS = [
    "",
    "   ",
    "a serene landscape with mountains at sunset",
    "MiXeD CaSe MOUNTAINS ÄÖÜ",
    "don't I'm they've we'll he'd it's 'tis rock'n'roll",
    "1873 3.14 2nd ½ Ⅷ",
    "na\u00efve caf\u00e9 \u00c0\u00c9",
    "nai\u0308ve cafe\u0301 A\u0300E\u0301",
    "日本語 中文 テスト",
    "한국어 مرحبا שלום हिन्दी",
    "🚀🔥 emoji 👩‍👩‍👧‍👦 🇩🇪 ❤️",
    "a\n\nb\tc\r\nd\u3000e\u00a0f",
    "--__!!?? (a, b); [c]: {d} ~ <e> #f @g $5 %",
    "the old lighthouse " * 70,
    "e" * 300,
    "hi <|endoftext|> there",
    "x<|endoftext|>y<|startoftext|>",
    "<|ENDOFTEXT|>",
    "</s> a</s>b <pad> <unk>",
    "ﬁ \uff46\uff55\uff4c\uff4c ㍿ İstanbul ẞ ß ς Σ",
    "▁ a▁b",
    " lead and trail  ",
]


def write_clip(folder: Path, **config: Any) -> Path:
    """CLIP's three files; `config` goes into tokenizer_config.json."""
    train_clip(SENTENCES * 2, folder)
    return _configure(folder, config)


def write_t5(folder: Path, **config: Any) -> Path:
    """T5's two files, normalised as T5's own are (nmt_nfkc, case kept, no bytes)."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        vocab_size=120,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    folder.mkdir(parents=True)
    (folder / "spiece.model").write_bytes(model.getvalue())
    return _configure(folder, {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"} | config)


def _configure(folder: Path, config: dict[str, Any]) -> Path:
    file = folder / "tokenizer_config.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    before.pop("model_max_length", None)
    file.write_text(json.dumps(before | config))
    return folder
