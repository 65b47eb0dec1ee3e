"""Prompts become the ids that CLIP and T5 were trained on; damaged files become one clear error."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers

from flux_engine.errors import TokenizerError
from flux_engine.tokenizers import CLIPTokenizer, T5Tokenizer, load_tokenizers
from tests.tiny_tokenizers import AWKWARD_PROMPTS, write_clip, write_t5

CLIP_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")
T5_FILES = ("spiece.model", "tokenizer_config.json")


@pytest.fixture(scope="module")
def clip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "tokenizer")


@pytest.fixture(scope="module")
def t5_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_t5(tmp_path_factory.mktemp("t5") / "tokenizer_2")


def changed(folder: Path, to: Path, **config: Any) -> Path:
    """A copy of a tokenizer's folder with other settings."""
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    settings = json.loads((to / "tokenizer_config.json").read_text())
    (to / "tokenizer_config.json").write_text(json.dumps(settings | config))
    return to


def test_clip_puts_a_prompt_between_start_and_end_and_pads_with_the_end(clip_dir: Path) -> None:
    tokenizer = CLIPTokenizer.from_dir(clip_dir, max_length=9)
    vocab = json.loads((clip_dir / "vocab.json").read_text())

    encoded = tokenizer.encode(["the old old lighthouse", ""])

    start, end = vocab["<|startoftext|>"], vocab["<|endoftext|>"]
    assert encoded.ids.dtype == np.int32
    assert encoded.ids.tolist() == [
        [start, vocab["the</w>"], vocab["old</w>"], vocab["old</w>"], vocab["lighthouse</w>"], end, end, end, end],
        [start, *[end] * 8],
    ]
    assert encoded.cut == (0, 0)


def test_clip_pads_with_the_configured_token(clip_dir: Path, tmp_path: Path) -> None:
    tokenizer = CLIPTokenizer.from_dir(changed(clip_dir, tmp_path / "t", pad_token={"content": "!"}), max_length=4)
    vocab = json.loads((clip_dir / "vocab.json").read_text())

    ids = tokenizer.encode([""]).ids[0].tolist()

    assert ids == [vocab["<|startoftext|>"], vocab["<|endoftext|>"], vocab["!"], vocab["!"]]


def test_a_prompt_that_is_too_long_keeps_its_beginning_and_the_end_token(clip_dir: Path, t5_dir: Path) -> None:
    text = "the old lighthouse " * 70
    for tokenizer in (CLIPTokenizer.from_dir(clip_dir, max_length=20), T5Tokenizer.from_dir(t5_dir, max_length=20)):
        whole = tokenizer.encode(["the old lighthouse " * 3]).ids[0]
        cut = tokenizer.encode([text, "a"])

        assert cut.ids.shape == (2, 20)
        assert cut.ids[0, -1] == tokenizer.eos
        assert np.array_equal(cut.ids[0, :6], whole[:6])
        assert cut.cut == (tokenizer.count(text) - 20, 0)
        assert tokenizer.count(text) > 210


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("The OLD\n\tlighthouse", "the old lighthouse"),
        ("cafe\u0301", "caf\u00e9"),
        ("1873", "1 8 7 3"),
        ("don't", "don 't"),
        ("lighthouse!", "lighthouse !"),
    ],
)
def test_clip_reads_alike(clip_dir: Path, text: str, same: str) -> None:
    tokenizer = CLIPTokenizer.from_dir(clip_dir)
    assert tokenizer.encode([text]).ids.tolist() == tokenizer.encode([same]).ids.tolist()


def test_a_special_token_in_a_prompt_is_that_token(clip_dir: Path, t5_dir: Path) -> None:
    clip, t5 = CLIPTokenizer.from_dir(clip_dir), T5Tokenizer.from_dir(t5_dir)
    assert clip.encode(["the <|endoftext|> old"]).ids[0, 2] == clip.eos
    assert clip.count("<|endoftext|><|startoftext|>") == 4
    assert clip.count("<|ENDOFTEXT|>") > 3
    assert t5.encode(["</s><pad>"]).ids[0, :3].tolist() == [t5.eos, t5.pad, t5.eos]


def test_special_tokens_that_the_config_declares_are_recognised(clip_dir: Path, t5_dir: Path, tmp_path: Path) -> None:
    clip_end = CLIPTokenizer.from_dir(clip_dir).eos
    normalized = {str(clip_end): {"content": "<|endoftext|>", "normalized": True}}
    clip = CLIPTokenizer.from_dir(changed(clip_dir, tmp_path / "clip", added_tokens_decoder=normalized))
    sentinel = {"777": {"content": "<extra_id_0>"}}
    t5 = T5Tokenizer.from_dir(changed(t5_dir, tmp_path / "t5", added_tokens_decoder=sentinel))

    assert clip.count("<|ENDOFTEXT|>") == 3
    assert 777 in t5.encode(["a <extra_id_0>"]).ids[0]


def test_t5_ends_a_prompt_pads_with_zero_and_keeps_case(t5_dir: Path) -> None:
    tokenizer = T5Tokenizer.from_dir(t5_dir, max_length=12)

    rows = tokenizer.encode(["", "a  b", " a\nb ", "A b"]).ids

    assert rows[0].tolist() == [1] + [0] * 11
    assert rows[1].tolist() == rows[2].tolist() != rows[3].tolist()
    assert np.array_equal(np.sort(rows[1])[-1:] > 2, [True])


def test_lengths_come_from_the_config_unless_they_are_given(clip_dir: Path, t5_dir: Path, tmp_path: Path) -> None:
    assert CLIPTokenizer.from_dir(clip_dir).max_length == 77
    assert T5Tokenizer.from_dir(t5_dir).max_length == 512
    assert T5Tokenizer.from_dir(t5_dir, max_length=256).max_length == 256
    for number, (said, length) in enumerate([(32, 32), (10**30, 77)]):
        folder = changed(clip_dir, tmp_path / str(number), model_max_length=said)
        assert CLIPTokenizer.from_dir(folder).max_length == length


def test_a_count_is_the_length_of_the_row_before_padding(clip_dir: Path, t5_dir: Path) -> None:
    for tokenizer in (CLIPTokenizer.from_dir(clip_dir, max_length=2000), T5Tokenizer.from_dir(t5_dir, max_length=2000)):
        for text in AWKWARD_PROMPTS:
            end = tokenizer.count(text) - 1
            row = tokenizer.encode([text]).ids[0]
            assert row[end] == tokenizer.eos
            assert (row[end + 1 :] == tokenizer.pad).all()


@pytest.mark.parametrize("name", CLIP_FILES)
def test_a_missing_clip_file_is_named(clip_dir: Path, tmp_path: Path, name: str) -> None:
    folder = changed(clip_dir, tmp_path / "t")
    (folder / name).unlink()
    with pytest.raises(TokenizerError, match=f"{name} is missing"):
        CLIPTokenizer.from_dir(folder)


@pytest.mark.parametrize("name", T5_FILES)
def test_a_missing_t5_file_is_named(t5_dir: Path, tmp_path: Path, name: str) -> None:
    folder = changed(t5_dir, tmp_path / "t")
    (folder / name).unlink()
    with pytest.raises(TokenizerError, match=f"{name} is missing"):
        T5Tokenizer.from_dir(folder)


@pytest.mark.parametrize("name", CLIP_FILES)
def test_a_garbled_clip_file_is_an_error(clip_dir: Path, tmp_path: Path, name: str) -> None:
    folder = changed(clip_dir, tmp_path / "t")
    (folder / name).write_bytes(b"\xff\xfe not these\n{]\n a b c\n")
    with pytest.raises(TokenizerError):
        CLIPTokenizer.from_dir(folder)


@pytest.mark.parametrize("name", T5_FILES)
@pytest.mark.parametrize("keep", [0, 0.5])
def test_a_truncated_t5_file_is_an_error(t5_dir: Path, tmp_path: Path, name: str, keep: float) -> None:
    folder = changed(t5_dir, tmp_path / "t")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(TokenizerError):
        T5Tokenizer.from_dir(folder)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"bos_token": "<nobody>"}, "bos_token '<nobody>' is not in vocab.json"),
        ({"model_max_length": "long"}, "model_max_length is 'long'"),
        ({"model_max_length": 1}, "model_max_length is 1"),
        ({"added_tokens_decoder": {"x": {}}}, "added_tokens_decoder"),
    ],
)
def test_an_impossible_config_is_an_error(clip_dir: Path, tmp_path: Path, config: dict[str, Any], told: str) -> None:
    with pytest.raises(TokenizerError, match=told):
        CLIPTokenizer.from_dir(changed(clip_dir, tmp_path / "t", **config))


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"eos_token": {"x": 1}}, "eos_token is {'x': 1}; expected text"),
        ({"eos_token": ["<|endoftext|>"]}, "eos_token is ['<|endoftext|>']; expected text"),
        ({"added_tokens_decoder": {"3": {"content": 5}}}, "added_tokens_decoder is not a table"),
        ({"added_tokens_decoder": {"3": {"content": "<|endoftext|>", "normalized": "yes"}}}, "added_tokens_decoder"),
    ],
)
def test_a_token_that_is_none_is_an_error(
    clip_dir: Path, t5_dir: Path, tmp_path: Path, config: dict[str, Any], told: str
) -> None:
    for kind, source in ((CLIPTokenizer, clip_dir), (T5Tokenizer, t5_dir)):
        with pytest.raises(TokenizerError, match=re.escape(told)) as caught:
            kind.from_dir(changed(source, tmp_path / source.name, **config))
        assert caught.value.hint


def test_a_config_that_is_nested_without_end_is_an_error(clip_dir: Path, tmp_path: Path) -> None:
    folder = changed(clip_dir, tmp_path / "t")
    (folder / "tokenizer_config.json").write_text("[" * 200_000)
    with pytest.raises(TokenizerError, match=r"tokenizer_config\.json is not JSON"):
        CLIPTokenizer.from_dir(folder)


def test_a_length_without_room_for_the_special_tokens_is_an_error(clip_dir: Path) -> None:
    with pytest.raises(TokenizerError, match="max_length is 1"):
        CLIPTokenizer.from_dir(clip_dir, max_length=1)


@pytest.mark.parametrize(("guidance_embeds", "length"), [(True, 512), (False, 256)])
def test_a_checkpoint_without_guidance_embedding_takes_fewer_tokens(
    guidance_embeds: bool, length: int, clip_dir: Path, t5_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer").symlink_to(clip_dir)
    (tmp_path / "tokenizer_2").symlink_to(t5_dir)

    clip, t5 = load_tokenizers(tmp_path, guidance_embeds=guidance_embeds)

    assert (clip.max_length, t5.max_length) == (77, length)


def test_a_checkpoint_whose_t5_takes_fewer_tokens_anyway_keeps_its_own_length(
    clip_dir: Path, t5_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer").symlink_to(clip_dir)
    changed(t5_dir, tmp_path / "tokenizer_2", model_max_length=32)

    assert load_tokenizers(tmp_path, guidance_embeds=False)[1].max_length == 32


@pytest.mark.parametrize(
    ("present", "told"),
    [
        ((), "has no tokenizer/ and no tokenizer_2/; files of weights carry no vocabulary"),
        (("tokenizer",), "has no tokenizer_2/; "),
        (("tokenizer_2",), "has no tokenizer/; "),
    ],
)
def test_folders_that_single_files_lack_are_named_with_the_way_to_get_them(
    clip_dir: Path, t5_dir: Path, tmp_path: Path, present: tuple[str, ...], told: str
) -> None:
    folder = tmp_path / "my models"
    folder.mkdir()
    for name, place in (("tokenizer", clip_dir), ("tokenizer_2", t5_dir)):
        if name in present:
            (folder / name).symlink_to(place)
    with pytest.raises(TokenizerError, match=f"my models {told}") as caught:
        load_tokenizers(folder, guidance_embeds=True)
    commands = {
        "tokenizer": "hf download openai/clip-vit-large-patch14 vocab.json merges.txt tokenizer_config.json",
        "tokenizer_2": "hf download google/t5-v1_1-xxl spiece.model tokenizer_config.json",
    }
    for name, command in commands.items():
        assert (f"{command} --local-dir '{folder / name}'" in caught.value.hint) == (name not in present)


def test_a_file_that_a_tokenizers_folder_lacks_can_be_fetched(clip_dir: Path, t5_dir: Path, tmp_path: Path) -> None:
    changed(clip_dir, tmp_path / "tokenizer")
    changed(t5_dir, tmp_path / "tokenizer_2")
    (tmp_path / "tokenizer_2" / "spiece.model").unlink()
    with pytest.raises(TokenizerError, match=r"tokenizer_2/spiece\.model is missing") as caught:
        load_tokenizers(tmp_path, guidance_embeds=True)
    assert "hf download google/t5-v1_1-xxl spiece.model" in caught.value.hint


def test_clip_is_the_same_from_tokenizer_json(clip_dir: Path, tmp_path: Path) -> None:
    before = CLIPTokenizer.from_dir(clip_dir)
    folder = changed(clip_dir, tmp_path / "t")
    whole = Tokenizer.from_str(before._bpe.to_str())
    whole.enable_truncation(3)  # what it was last used with is in the file
    whole.enable_padding(length=5)
    whole.save(str(folder / "tokenizer.json"))
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    after = CLIPTokenizer.from_dir(folder)
    assert (after.bos, after.eos, after.pad, after.vocab_size) == (
        before.bos,
        before.eos,
        before.pad,
        before.vocab_size,
    )
    for prompt in AWKWARD_PROMPTS:
        assert after.encode([prompt]).ids.tolist() == before.encode([prompt]).ids.tolist(), prompt


def test_t5_is_the_same_from_tokenizer_json(t5_dir: Path, tmp_path: Path) -> None:
    before = T5Tokenizer.from_dir(t5_dir)
    pieces = sentencepiece.SentencePieceProcessor(str(t5_dir / "spiece.model"))
    vocab = [(pieces.IdToPiece(id), pieces.GetScore(id)) for id in range(pieces.GetPieceSize())]
    whole = Tokenizer(models.Unigram(vocab, unk_id=pieces.unk_id()))
    whole.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    whole.add_special_tokens(["<pad>", "</s>"])
    folder = changed(t5_dir, tmp_path / "t")
    whole.save(str(folder / "tokenizer.json"))
    (folder / "spiece.model").unlink()
    after = T5Tokenizer.from_dir(folder)
    assert (after.eos, after.pad, after.vocab_size) == (before.eos, before.pad, before.vocab_size)
    for prompt in ("", "A serene landscape with mountains, painted in 1873.", "x</s>y <pad>", "zzz 9"):
        assert after.encode([prompt]).ids.tolist() == before.encode([prompt]).ids.tolist(), prompt


PANIC = '{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}, "added_tokens": [], "normalizer": %s}'


@pytest.mark.parametrize(
    "content", ["", "{", "{}", "[]", PANIC % '{"type": "Precompiled", "precompiled_charsmap": "AAA"}']
)
def test_a_damaged_tokenizer_json_is_an_error(clip_dir: Path, t5_dir: Path, tmp_path: Path, content: str) -> None:
    for kind, source in ((CLIPTokenizer, clip_dir), (T5Tokenizer, t5_dir)):
        folder = changed(source, tmp_path / source.name)
        for name in ("vocab.json", "spiece.model"):
            (folder / name).unlink(missing_ok=True)
        (folder / "tokenizer.json").write_text(content)
        with pytest.raises(TokenizerError, match=r"tokenizer\.json is no tokenizer") as caught:
            kind.from_dir(folder)
        assert "hf download" in caught.value.hint


def test_a_token_that_tokenizer_json_lacks_is_named(clip_dir: Path, tmp_path: Path) -> None:
    folder = changed(clip_dir, tmp_path / "t", bos_token="<nobody>")
    Tokenizer.from_str(CLIPTokenizer.from_dir(clip_dir)._bpe.to_str()).save(str(folder / "tokenizer.json"))
    (folder / "vocab.json").unlink()
    with pytest.raises(TokenizerError, match=r"bos_token '<nobody>' is not in tokenizer\.json"):
        CLIPTokenizer.from_dir(folder)
