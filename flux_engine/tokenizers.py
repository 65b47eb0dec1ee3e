"""Text to token ids, from the files of a checkpoint's `tokenizer/` and `tokenizer_2/`.

Knows the two vocabularies and how a prompt is cut and padded. Knows no network and warns nobody: the caller learns
how many tokens were cut.

CLIP follows transformers' fast tokenizer (NFC; old slow ones run ftfy first, so they may differ beyond ASCII).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from flux_engine.errors import TokenizerError
from flux_engine.tokenizer_files import (
    HOMES,
    WHOLE,
    added_tokens,
    existing,
    how_to_get,
    is_there,
    model_max_length,
    only_whole,
    read_json,
    token_text,
)

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"
SCHNELL_T5_LENGTH = 256
T5_IDS = {"eos": 1, "pad": 0}  # where the files do not say them
Words = Callable[[str], list[int]]
CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True)
class Encoded:
    """Prompts as rows of equal length.

    Attributes:
        ids: int32 [B, N], N the tokenizer's `max_length`.
        cut: for each prompt, how many of its tokens did not fit.
    """

    ids: np.ndarray
    cut: tuple[int, ...]


class CLIPTokenizer:
    """Byte-level BPE in CLIP's dialect: `<|startoftext|>` words `<|endoftext|>` padding.

    Reference: transformers `tokenization_clip.py`.
    """

    def __init__(self, bpe: Tokenizer, *, bos: int, eos: int, pad: int, max_length: int = 77) -> None:
        self._bpe = bpe
        self.bos, self.eos, self.pad = bos, eos, pad
        self.max_length = _checked_length(max_length, least=2)

    @classmethod
    def from_dir(cls, path: Path, *, max_length: int | None = None) -> CLIPTokenizer:
        """Read `vocab.json` and `merges.txt`, or else `tokenizer.json`; and `tokenizer_config.json`.

        Args:
            path: the folder, a checkpoint's `tokenizer/`.
            max_length: ids per prompt; by default the config's `model_max_length`, or 77.

        Raises:
            TokenizerError: a file is missing or unreadable, or a special token is not in the vocabulary.
        """
        whole = only_whole(path, "vocab.json")
        config = read_json(path / "tokenizer_config.json")
        eos = token_text(path, config, "eos_token", EOS)
        texts = {
            "bos_token": token_text(path, config, "bos_token", BOS),
            "eos_token": eos,
            "pad_token": token_text(path, config, "pad_token", eos),
        }
        bpe = whole or _bpe(path, token_text(path, config, "unk_token", EOS))
        ids = {name: _special_id(bpe, path, name, text) for name, text in texts.items()}
        # A special token typed in the prompt is that token; it is looked for before the prompt is normalised.
        declared = added_tokens(path, config)
        for text in () if whole else dict.fromkeys(texts.values()):
            _, flags = declared.get(text, (None, {}))
            bpe.add_special_tokens([AddedToken(text, special=True, normalized=flags.get("normalized", False))])
        length = model_max_length(path, config, 77) if max_length is None else max_length
        return cls(bpe, bos=ids["bos_token"], eos=ids["eos_token"], pad=ids["pad_token"], max_length=length)

    @property
    def vocab_size(self) -> int:
        return self._bpe.get_vocab_size()

    def count(self, text: str) -> int:
        """Tokens that `text` needs, with its start and its end."""
        return len(self._words(text)) + 2

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Ids of each text: cut on the right, the end token always kept, padded."""
        return _rows([[self.bos, *self._words(text)] for text in texts], self.eos, self.pad, self.max_length)

    def _words(self, text: str) -> list[int]:
        return _ids(self._bpe, text)


class T5Tokenizer:
    """SentencePiece unigram as T5 uses it: pieces `</s>` padding. Reference: transformers `tokenization_t5.py`.

    Attributes:
        vocab_size: of its files; the network's table may be longer (T5 pads it with sentinels to 32128).
    """

    def __init__(self, words: Words, *, vocab_size: int, eos: int = 1, pad: int = 0, max_length: int = 512) -> None:
        self._words = words
        self.vocab_size = vocab_size
        self.eos, self.pad = eos, pad
        self.max_length = _checked_length(max_length, least=1)

    @classmethod
    def from_dir(cls, path: Path, *, max_length: int | None = None) -> T5Tokenizer:
        """Read `spiece.model`, or else `tokenizer.json`; and `tokenizer_config.json`.

        Args:
            path: the folder, a checkpoint's `tokenizer_2/`.
            max_length: ids per prompt (FLUX.1-schnell takes 256); by default the config's `model_max_length`, or 512.

        Raises:
            TokenizerError: a file is missing or unreadable.
        """
        whole = only_whole(path, "spiece.model")
        words, vocab_size, ids = _from_pieces(path) if whole is None else _from_whole(whole, path)
        length = model_max_length(path, read_json(path / "tokenizer_config.json"), 512)
        return cls(words, vocab_size=vocab_size, max_length=length if max_length is None else max_length, **ids)

    def count(self, text: str) -> int:
        """Tokens that `text` needs, with its end."""
        return len(self._words(text)) + 1

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Ids of each text: cut on the right, the end token always kept, padded."""
        return _rows([self._words(text) for text in texts], self.eos, self.pad, self.max_length)


def load_tokenizers(checkpoint_dir: Path, *, guidance_embeds: bool) -> tuple[CLIPTokenizer, T5Tokenizer]:
    """The two tokenizers of a checkpoint, cutting where its transformer was trained to.

    Args:
        checkpoint_dir: the folder that holds `tokenizer/` and `tokenizer_2/`.
        guidance_embeds: the transformer's; FLUX.1-schnell has no guidance embedding, and reads 256 tokens of T5.

    Raises:
        TokenizerError: a file is missing or unreadable.
    """
    missing = [checkpoint_dir / name for name in HOMES if not is_there(checkpoint_dir / name)]
    if missing:
        raise TokenizerError(
            f"{checkpoint_dir} has no {' and no '.join(f'{folder.name}/' for folder in missing)};"
            " files of weights carry no vocabulary.",
            hint=how_to_get(*missing),
        )
    clip = CLIPTokenizer.from_dir(checkpoint_dir / "tokenizer")
    t5 = T5Tokenizer.from_dir(checkpoint_dir / "tokenizer_2")
    if not guidance_embeds and t5.max_length > SCHNELL_T5_LENGTH:
        t5 = T5Tokenizer.from_dir(checkpoint_dir / "tokenizer_2", max_length=SCHNELL_T5_LENGTH)
    return clip, t5


def clip_normalizer() -> normalizers.Normalizer:
    return normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])


def clip_pre_tokenizer() -> pre_tokenizers.PreTokenizer:
    """Words, single digits and runs of signs, as byte-level characters; white space goes."""
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )


def _rows(prompts: Sequence[list[int]], eos: int, pad: int, length: int) -> Encoded:
    ids = np.full((len(prompts), length), pad, np.int32)
    for row, prompt in zip(ids, prompts, strict=True):
        kept = [*prompt[: length - 1], eos]
        row[: len(kept)] = kept
    return Encoded(ids, tuple(max(0, len(prompt) + 1 - length) for prompt in prompts))


def _checked_length(length: int, least: int) -> int:
    if length < least:
        raise TokenizerError(f"max_length is {length}; expected at least {least}.")
    return length


def _bpe(path: Path, unk: str) -> Tokenizer:
    files = [existing(path / name) for name in ("vocab.json", "merges.txt")]
    try:
        model = models.BPE.from_file(*map(str, files), unk_token=unk, end_of_word_suffix=END_OF_WORD)
    except Exception as error:  # the Rust reader raises plain Exception
        raise TokenizerError(
            f"{path}: vocab.json and merges.txt are not a BPE vocabulary ({error}).",
            hint="Fetch the tokenizer folder again.",
        ) from error
    bpe = Tokenizer(model)
    bpe.normalizer = clip_normalizer()
    bpe.pre_tokenizer = clip_pre_tokenizer()
    return bpe


def _special_id(tokenizer: Tokenizer, path: Path, name: str, text: str) -> int:
    id = tokenizer.token_to_id(text)
    if id is None:
        file = WHOLE if not is_there(path / "vocab.json") else "vocab.json"
        raise TokenizerError(f"{path}: {name} {text!r} is not in {file}.", hint="Check tokenizer_config.json.")
    return id


def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False).ids


def _from_pieces(path: Path) -> tuple[Words, int, dict[str, int]]:
    """What makes ids of a text, how many there are, and which are `eos` and `pad`."""
    file = existing(path / "spiece.model")
    config = read_json(path / "tokenizer_config.json")
    pieces = sentencepiece.SentencePieceProcessor()
    try:
        pieces.LoadFromSerializedProto(file.read_bytes())
        ids = {name: _piece_id(pieces, path, config, name, default) for name, default in T5_IDS.items()}
    except (RuntimeError, OSError) as error:
        raise TokenizerError(
            f"{file} is not a SentencePiece model ({error}).", hint="Fetch the tokenizer_2 folder again."
        ) from error
    special = {pieces.IdToPiece(id): id for id in (*ids.values(), pieces.unk_id())}
    special |= {text: id for text, (id, _) in added_tokens(path, config).items()}
    return _splitting(pieces, special), pieces.GetPieceSize(), ids


def _from_whole(tokenizer: Tokenizer, path: Path) -> tuple[Words, int, dict[str, int]]:
    """The same."""
    config = read_json(path / "tokenizer_config.json")
    found = {name: tokenizer.token_to_id(token_text(path, config, f"{name}_token", "")) for name in T5_IDS}
    ids = {name: T5_IDS[name] if id is None else id for name, id in found.items()}
    return partial(_ids, tokenizer), tokenizer.get_vocab_size(), ids


def _splitting(pieces: sentencepiece.SentencePieceProcessor, special: Mapping[str, int]) -> Callable[[str], list[int]]:
    """What makes ids of a text; a special token in it, such as `</s>` or `<extra_id_0>`, is one id."""
    split = re.compile(f"({'|'.join(map(re.escape, special))})").split

    def words(text: str) -> list[int]:
        ids: list[int] = []
        for part in split(text):
            ids += [special[part]] if part in special else pieces.EncodeAsIds(part)
        return ids

    return words


def _piece_id(
    pieces: sentencepiece.SentencePieceProcessor, path: Path, config: dict[str, Any], name: str, default: int
) -> int:
    text = token_text(path, config, f"{name}_token", "")
    for id in (pieces.PieceToId(text) if text else -1, getattr(pieces, f"{name}_id")()):
        if id >= 0 and id != pieces.unk_id():
            return id
    return default
