"""Tokens are counted by the model's own tokenizers, in a thread, the latest prompt only."""

from __future__ import annotations

import json
import queue
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flux_engine.tokenizers import CLIPTokenizer, T5Tokenizer
from flux_tui.tokens import COUNTED_UP_TO, DEMO, PART_CHARACTERS, Counts, CountsUnavailable, TokenCounter
from tests.foreign_files import TRANSFORMER, bfl_tensors, save_file
from tests.tiny_tokenizers import AWKWARD_PROMPTS, write_clip, write_t5

WAIT_S = 30.0
News = Counts | CountsUnavailable


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tokenizers and a transformer's config, of FLUX.1-dev's kind."""
    folder = tmp_path_factory.mktemp("model")
    write_clip(folder / "tokenizer")
    write_t5(folder / "tokenizer_2")
    (folder / "transformer").mkdir()
    (folder / "transformer" / "config.json").write_text(json.dumps({"guidance_embeds": True}))
    return folder


class Counting:
    """A counter whose news are waited for."""

    def __init__(self) -> None:
        self.news: queue.Queue[News] = queue.Queue()
        self.counter = TokenCounter(self.news.put)

    def __call__(self, prompt: str, checkpoint: Path | str | None = None) -> News:
        self.counter.count(prompt, None if checkpoint is None else str(checkpoint))
        return self.news.get(timeout=WAIT_S)


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture(autouse=True)
def nothing_left(counting: Counting) -> object:
    yield
    assert counting.counter.stop(WAIT_S)


def test_the_demo_model_counts_with_its_own_tokenizers(counting: Counting) -> None:
    prompt = "a lighthouse at dusk"
    t5 = T5Tokenizer.from_dir(DEMO / "tokenizer_2")
    clip = CLIPTokenizer.from_dir(DEMO / "tokenizer")

    assert counting(prompt) == Counts(
        prompt_t5=t5.count(prompt), t5_limit=t5.max_length, clip=clip.count(prompt), clip_limit=clip.max_length
    )


@pytest.mark.parametrize(("guided", "limit"), [(True, 512), (False, 256)])
def test_a_model_without_guidance_embedding_reads_fewer_tokens(
    guided: bool, limit: int, checkpoint: Path, tmp_path: Path, counting: Counting
) -> None:
    for name in ("tokenizer", "tokenizer_2"):
        (tmp_path / name).symlink_to(checkpoint / name)
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "config.json").write_text(json.dumps({"guidance_embeds": guided}))

    news = counting("a boat", tmp_path)

    assert isinstance(news, Counts)
    assert (news.t5_limit, news.clip_limit) == (limit, 77)


def test_a_long_prompt_in_parts_has_as_many_tokens_as_in_one(checkpoint: Path, counting: Counting) -> None:
    prompt = "\n".join(AWKWARD_PROMPTS) * 4
    assert len(prompt) > 2 * PART_CHARACTERS

    news = counting(prompt, checkpoint)

    assert isinstance(news, Counts)
    assert news.prompt_t5 == T5Tokenizer.from_dir(checkpoint / "tokenizer_2").count(prompt) < COUNTED_UP_TO
    assert news.clip == CLIPTokenizer.from_dir(checkpoint / "tokenizer").count(prompt) < COUNTED_UP_TO


@pytest.mark.parametrize("prompt", ["word " * 200_000, "x" * 1_000_000, "日本語" * 300_000], ids=["words", "x", "cjk"])
def test_a_megabyte_is_counted_no_further_than_anyone_asks(
    prompt: str, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = 0
    count = CLIPTokenizer.count

    def noted(self: CLIPTokenizer, text: str) -> int:
        nonlocal counted
        counted += len(text)
        assert len(text) <= PART_CHARACTERS  # CLIP's tokenizer keeps every other thread waiting
        return count(self, text)

    monkeypatch.setattr(CLIPTokenizer, "count", noted)
    news = counting(prompt)

    assert isinstance(news, Counts)
    assert news.clip > COUNTED_UP_TO
    assert counted < 20 * PART_CHARACTERS
    assert news.forms()[0] == "T5 over 10,000/32: the rest is cut"


def test_a_prompt_that_was_typed_over_is_not_told(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    count = CLIPTokenizer.count

    def held(self: CLIPTokenizer, text: str) -> int:
        begun.set()
        assert go_on.wait(WAIT_S)
        return count(self, text)

    monkeypatch.setattr(CLIPTokenizer, "count", held)
    counting.counter.count("a first prompt of many words")
    assert begun.wait(WAIT_S)
    counting.counter.count("a second one of many words")
    counting.counter.count("last")
    go_on.set()

    assert counting.news.get(timeout=WAIT_S) == counting("last")
    assert counting.news.empty()


def test_tokenizers_are_read_once_for_each_checkpoint(
    checkpoint: Path, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    from_dir = CLIPTokenizer.from_dir

    def noted(path: Path) -> CLIPTokenizer:
        read.append(path)
        return from_dir(path)

    monkeypatch.setattr(CLIPTokenizer, "from_dir", noted)
    for folder in (None, checkpoint, None, checkpoint):
        counting("a boat", folder)

    assert read == [DEMO / "tokenizer", checkpoint / "tokenizer"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "tokenizer" / "vocab.json").unlink(), "vocab.json is missing."),
        (lambda folder: (folder / "tokenizer_2" / "spiece.model").write_bytes(b"no"), "is not a SentencePiece model"),
        (lambda folder: (folder / "tokenizer" / "merges.txt").write_bytes(b"\xff"), "are not a BPE vocabulary"),
        (lambda folder: (folder / "transformer" / "config.json").write_text("{"), "config.json is not JSON"),
        (lambda folder: (folder / "transformer" / "config.json").write_text("[]"), "is not an object of settings"),
        (
            lambda folder: (folder / "transformer" / "config.json").write_text('{"guidance_embeds": "yes"}'),
            "guidance_embeds is 'yes'",
        ),
        (lambda folder: (folder / "transformer" / "config.json").unlink(), "config.json is not JSON, or not there."),
    ],
)
def test_a_damaged_checkpoint_is_a_reason_and_heals(
    damage: object, reason: str, checkpoint: Path, tmp_path: Path, counting: Counting
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "model")
    damage(folder)  # type: ignore[operator]
    news = counting("a boat", folder)
    assert isinstance(news, CountsUnavailable)
    assert reason in news.reason

    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    assert isinstance(counting("a boat", folder), Counts)


def test_a_missing_folder_is_a_reason(counting: Counting, tmp_path: Path) -> None:
    assert counting("a boat", tmp_path / "gone") == CountsUnavailable(f"{tmp_path / 'gone'} does not exist.")


def test_a_model_in_a_single_file_has_its_tokenizers_beside_it(counting: Counting, tmp_path: Path) -> None:
    file = tmp_path / "dev.safetensors"
    save_file(bfl_tensors(TRANSFORMER), file)
    write_clip(tmp_path / "tokenizer")
    write_t5(tmp_path / "tokenizer_2")
    dev = counting("a boat", file)
    tensors = {name: array for name, array in bfl_tensors(TRANSFORMER).items() if "guidance_in" not in name}
    save_file(tensors, tmp_path / "schnell.safetensors")
    schnell = counting("a boat", tmp_path / "schnell.safetensors")
    file.write_bytes(b"damaged")  # a neighbour that says nothing
    folder = counting("a boat", tmp_path)
    assert isinstance(dev, Counts) and isinstance(schnell, Counts) and isinstance(folder, Counts)
    assert (dev.t5_limit, schnell.t5_limit, folder.t5_limit) == (512, 256, 256)


def test_a_fault_that_nobody_foresaw_does_not_end_the_counting(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(T5Tokenizer, "count", lambda self, text: 1 // 0)
        assert counting("a boat") == CountsUnavailable("Tokens cannot be counted: ZeroDivisionError.")

    assert isinstance(counting("a boat"), Counts)


def test_a_home_folder_may_be_written_with_its_sign(own_home: Path, checkpoint: Path, counting: Counting) -> None:
    (own_home / "model").symlink_to(checkpoint)

    assert isinstance(counting("a boat", "~/model"), Counts)


def test_after_the_end_nothing_is_counted_and_no_thread_begins(counting: Counting) -> None:
    assert counting.counter.stop()
    counting.counter.count("a boat")

    assert "flux-tokens" not in [thread.name for thread in threading.enumerate()]
    assert counting.news.empty()


def test_counting_imports_its_tokenizers_late_and_jax_never() -> None:
    code = """
import sys, queue
from flux_tui.tokens import TokenCounter
heavy = {"numpy", "tokenizers", "sentencepiece", "textual"} & set(sys.modules)
assert not heavy, heavy
news = queue.Queue()
counter = TokenCounter(news.put)
assert not heavy, heavy
counter.count("a boat")
print(news.get(timeout=60))
assert counter.stop(30)
assert not {"jax", "flax", "orbax", "textual"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Counts(")
