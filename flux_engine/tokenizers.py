"""Text to token ids, from the files of a checkpoint's `tokenizer/` and `tokenizer_2/`.

Knows the two vocabularies and how a prompt is cut and padded. Knows no network and warns nobody: the caller learns
how many tokens were cut.

CLIP follows transformers' fast tokenizer (NFC; old slow ones run ftfy first, so they may differ beyond ASCII).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from flux_engine.errors import TokenizerError

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"
UNLIMITED = 10**6  # transformers writes a model_max_length of 1e30 for "not said"
SCHNELL_T5_LENGTH = 256
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
        """Read `vocab.json`, `merges.txt` and `tokenizer_config.json`.

        Args:
            path: the folder, a checkpoint's `tokenizer/`.
            max_length: ids per prompt; by default the config's `model_max_length`, or 77.

        Raises:
            TokenizerError: a file is missing or unreadable, or a special token is not in the vocabulary.
        """
        files = [_existing(path / name) for name in ("vocab.json", "merges.txt")]
        config = _read_json(path / "tokenizer_config.json")
        eos_text = _token_text(config, "eos_token", EOS)
        texts = {
            "bos_token": _token_text(config, "bos_token", BOS),
            "eos_token": eos_text,
            "pad_token": _token_text(config, "pad_token", eos_text),
        }
        unk = _token_text(config, "unk_token", EOS)
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
        ids: dict[str, int] = {}
        for name, text in texts.items():
            id = bpe.token_to_id(text)
            if id is None:
                raise TokenizerError(
                    f"{path}: {name} {text!r} is not in vocab.json.", hint="Check tokenizer_config.json."
                )
            ids[name] = id
        # A special token typed in the prompt is that token; it is looked for before the prompt is normalised.
        declared = _added_tokens(path, config)
        for text in dict.fromkeys(texts.values()):
            _, flags = declared.get(text, (None, {}))
            bpe.add_special_tokens([AddedToken(text, special=True, normalized=flags.get("normalized", False))])
        length = _model_max_length(path, config, 77) if max_length is None else max_length
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
        return self._bpe.encode(text, add_special_tokens=False).ids


class T5Tokenizer:
    """SentencePiece unigram as T5 uses it: pieces `</s>` padding. Reference: transformers `tokenization_t5.py`."""

    def __init__(
        self,
        pieces: sentencepiece.SentencePieceProcessor,
        *,
        eos: int = 1,
        pad: int = 0,
        max_length: int = 512,
        special: Mapping[str, int] | None = None,
    ) -> None:
        self._pieces = pieces
        self._special = {pieces.IdToPiece(id): id for id in (pad, eos, pieces.unk_id())} | dict(special or {})
        self._split = re.compile(f"({'|'.join(map(re.escape, self._special))})").split
        self.eos, self.pad = eos, pad
        self.max_length = _checked_length(max_length, least=1)

    @classmethod
    def from_dir(cls, path: Path, *, max_length: int | None = None) -> T5Tokenizer:
        """Read `spiece.model` and `tokenizer_config.json`.

        Args:
            path: the folder, a checkpoint's `tokenizer_2/`.
            max_length: ids per prompt (FLUX.1-schnell takes 256); by default the config's `model_max_length`, or 512.

        Raises:
            TokenizerError: a file is missing or unreadable.
        """
        file = _existing(path / "spiece.model")
        config = _read_json(path / "tokenizer_config.json")
        pieces = sentencepiece.SentencePieceProcessor()
        try:
            pieces.LoadFromSerializedProto(file.read_bytes())
            eos, pad = (_piece_id(pieces, config, name, default) for name, default in (("eos", 1), ("pad", 0)))
        except (RuntimeError, OSError) as error:
            raise TokenizerError(
                f"{file} is not a SentencePiece model ({error}).", hint="Fetch the tokenizer_2 folder again."
            ) from error
        special = {text: id for text, (id, _) in _added_tokens(path, config).items()}
        length = _model_max_length(path, config, 512) if max_length is None else max_length
        return cls(pieces, eos=eos, pad=pad, max_length=length, special=special)

    @property
    def vocab_size(self) -> int:
        """Pieces in the model; the network's table may be longer (T5 pads it with sentinels to 32128)."""
        return self._pieces.GetPieceSize()

    def count(self, text: str) -> int:
        """Tokens that `text` needs, with its end."""
        return len(self._words(text)) + 1

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Ids of each text: cut on the right, the end token always kept, padded."""
        return _rows([self._words(text) for text in texts], self.eos, self.pad, self.max_length)

    def _words(self, text: str) -> list[int]:
        """Ids of `text`; a special token in it, such as `</s>` or `<extra_id_0>`, is one id."""
        ids: list[int] = []
        for part in self._split(text):
            ids += [self._special[part]] if part in self._special else self._pieces.EncodeAsIds(part)
        return ids


def load_tokenizers(checkpoint_dir: Path, *, guidance_embeds: bool) -> tuple[CLIPTokenizer, T5Tokenizer]:
    """The two tokenizers of a checkpoint, cutting where its transformer was trained to.

    Args:
        checkpoint_dir: the folder that holds `tokenizer/` and `tokenizer_2/`.
        guidance_embeds: the transformer's; FLUX.1-schnell has no guidance embedding, and reads 256 tokens of T5.

    Raises:
        TokenizerError: a file is missing or unreadable.
    """
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


def _existing(file: Path) -> Path:
    if not file.is_file():
        raise TokenizerError(
            f"{file} is missing.", hint="A checkpoint needs tokenizer/ and tokenizer_2/ in its folder."
        )
    return file


def _read_json(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(_existing(file).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TokenizerError(f"{file} is not JSON ({error}).", hint="Fetch the tokenizer's folder again.") from error
    if not isinstance(config, dict):
        raise TokenizerError(f"{file} holds {type(config).__name__}; expected an object of settings.")
    return config


def _token_text(config: dict[str, Any], name: str, default: str) -> str:
    """A token is written as text, or as an object with its `content`."""
    token = config.get(name) or default
    return str(token["content"] if isinstance(token, dict) else token)


def _added_tokens(path: Path, config: dict[str, Any]) -> dict[str, tuple[int, dict[str, Any]]]:
    """Special tokens that the config declares: text -> id and flags."""
    try:
        declared = config.get("added_tokens_decoder", {}).items()
        return {token["content"]: (int(id), token) for id, token in declared}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TokenizerError(
            f"{path}: added_tokens_decoder is not a table of tokens by id ({error!r}).",
            hint="Check tokenizer_config.json.",
        ) from error


def _model_max_length(path: Path, config: dict[str, Any], default: int) -> int:
    length = config.get("model_max_length", default)
    if type(length) is not int or length < 2:
        raise TokenizerError(
            f"{path}: model_max_length is {length!r}; expected a number of tokens, 2 or more.",
            hint="Check tokenizer_config.json.",
        )
    return length if length < UNLIMITED else default


def _checked_length(length: int, least: int) -> int:
    if length < least:
        raise TokenizerError(f"max_length is {length}; expected at least {least}.")
    return length


def _piece_id(pieces: sentencepiece.SentencePieceProcessor, config: dict[str, Any], name: str, default: int) -> int:
    text = _token_text(config, f"{name}_token", "")
    for id in (pieces.PieceToId(text) if text else -1, getattr(pieces, f"{name}_id")()):
        if id >= 0 and id != pieces.unk_id():
            return id
    return default
