"""How many tokens a prompt is, counted by the model's own tokenizers in a thread.

Only the latest prompt counts: one that was typed over is dropped in the middle. CLIP's tokenizer holds Python's lock
for 1 s in a prompt of a megabyte, so prompts are counted in parts of 1 to 3 ms, and not far beyond what any model
reads. Knows no screen.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import flux_engine
from flux_engine.errors import CheckpointCorrupt, CheckpointNotFound, FluxError

if TYPE_CHECKING:
    from flux_engine.tokenizers import CLIPTokenizer, T5Tokenizer

log = logging.getLogger(__name__)

COUNTED_UP_TO = 10_000
PART_CHARACTERS = 4_000

DEMO = Path(flux_engine.__file__).parent / "demo"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """A prompt's length; a number above `COUNTED_UP_TO` says no more than that.

    Attributes:
        prompt_t5, t5_limit: T5's tokens, the end among them, and how many the model reads.
        clip, clip_limit: CLIP's, the start and the end among them.
    """

    prompt_t5: int
    t5_limit: int
    clip: int
    clip_limit: int

    @property
    def is_cut(self) -> bool:
        """Whether the model reads only a part of the prompt. CLIP's part is a summary: what it leaves out, T5 reads."""
        return self.prompt_t5 > self.t5_limit

    def forms(self, dot: str = "·") -> tuple[str, ...]:
        """The counter in words, the longest form first. `dot` parts two facts."""
        t5 = f"T5 {_number(self.prompt_t5)}/{self.t5_limit}"
        if self.is_cut:
            cut = "rest is" if self.prompt_t5 > COUNTED_UP_TO else f"last {self.prompt_t5 - self.t5_limit} are"
            return f"{t5}: the {cut} cut", f"{t5}, cut", t5
        if self.clip > self.clip_limit:
            clip = _number(self.clip)
            return (
                f"{t5} {dot} CLIP sees the first {self.clip_limit}",
                f"{t5} {dot} CLIP {self.clip_limit} of {clip}",
                t5,
            )
        return f"{t5} {dot} CLIP {self.clip}/{self.clip_limit}", t5


@dataclass(frozen=True)
class CountsUnavailable:
    """There is no counting with this checkpoint, for a reason that a person is told."""

    reason: str


class TokenCounter:
    """One daemon thread, started by the first count.

    Args:
        post: receives the counts, in the counter's thread.
    """

    def __init__(self, post: Callable[[Counts | CountsUnavailable], object]) -> None:
        self._post = post
        self._changed = threading.Condition()
        self._wish: tuple[str, str | None] | None = None
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._loaded: dict[str | None, tuple[CLIPTokenizer, T5Tokenizer]] = {}

    def count(self, prompt: str, checkpoint_dir: str | None = None) -> None:
        """Count this prompt next, in place of one that still waits.

        Args:
            prompt: as the engine will get it.
            checkpoint_dir: whose tokenizers count; None is the demo model.
        """
        with self._changed:
            self._wish = prompt, checkpoint_dir
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, name="flux-tokens", daemon=True)
                self._thread.start()
            self._changed.notify()

    def stop(self, timeout_s: float = 1.0) -> bool:
        """Count nothing more, ever; False when the thread is still held up after `timeout_s` seconds."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (wish := self._next()) is not None:
            news = self._news(*wish)
            if news is not None:
                self._post(news)

    def _next(self) -> tuple[str, str | None] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._wish is not None)
            wish, self._wish = self._wish, None
            return None if self._stopped else wish

    @property
    def _is_stale(self) -> bool:
        return self._stopped or self._wish is not None

    def _news(self, prompt: str, checkpoint_dir: str | None) -> Counts | CountsUnavailable | None:
        """The counts, or why there are none; None when another prompt has come meanwhile."""
        try:
            clip, t5 = self._tokenizers(checkpoint_dir)
            in_clip, in_t5 = self._count(clip, prompt), self._count(t5, prompt)
        except FluxError as error:
            return None if self._is_stale else CountsUnavailable(str(error))
        except Exception as error:  # a broken installation, or files that are not what they say
            log.exception("no token counts")
            return CountsUnavailable(f"Tokens cannot be counted: {type(error).__name__}.")
        if self._is_stale:
            return None
        return Counts(prompt_t5=in_t5, t5_limit=t5.max_length, clip=in_clip, clip_limit=clip.max_length)

    def _tokenizers(self, checkpoint_dir: str | None) -> tuple[CLIPTokenizer, T5Tokenizer]:
        if checkpoint_dir not in self._loaded:
            self._loaded[checkpoint_dir] = _load(checkpoint_dir)
        return self._loaded[checkpoint_dir]

    def _count(self, tokenizer: CLIPTokenizer | T5Tokenizer, prompt: str) -> int:
        total = marks = tokenizer.count("")
        for part in _parts(prompt):
            if total > COUNTED_UP_TO or self._is_stale:
                break
            total += tokenizer.count(part) - marks
        return total


def _load(checkpoint_dir: str | None) -> tuple[CLIPTokenizer, T5Tokenizer]:
    from flux_engine.tokenizers import load_tokenizers

    model = DEMO if checkpoint_dir is None else Path(os.path.expanduser(checkpoint_dir))
    if not model.exists():
        raise CheckpointNotFound(f"{model} does not exist.")
    return load_tokenizers(model if model.is_dir() else model.parent, guidance_embeds=_is_guided(model))


def _is_guided(model: Path) -> bool:
    """Whether guidance is embedded, as in all but schnell, which reads half as much."""
    from flux_engine.configs import TransformerConfig

    file = model / "transformer" / "config.json"
    if model.is_file() or not file.parent.is_dir():
        return _is_guided_by_names(model)
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointCorrupt(f"{file} is not JSON, or not there.") from error
    if not isinstance(raw, dict):
        raise CheckpointCorrupt(f"{file} is not an object of settings.")
    said = {name: value for name, value in raw.items() if name == "guidance_embeds"}
    return TransformerConfig.from_dict(said).guidance_embeds


def _is_guided_by_names(model: Path) -> bool:
    """The same of a file, or of files side by side, of which one is the transformer's."""
    from flux_engine.errors import CheckpointError
    from flux_engine.weights.tensor_files import read_tensors

    transformers = []
    for file in [model] if model.is_file() else sorted(model.glob("*.*")):
        if file.suffix in (".safetensors", ".sft", ".gguf"):
            with contextlib.suppress(CheckpointError):  # whoever reads its weights says what is wrong with it
                names = list(read_tensors(file))
                transformers += [names] * any("img_in" in name for name in names)
    return not transformers or any("guidance_in" in name for names in transformers for name in names)


def _parts(text: str) -> Iterator[str]:
    """The text in parts that end before white space: no token of either tokenizer reaches across it."""
    start = 0
    while start < len(text):
        end = start + PART_CHARACTERS
        if end < len(text):
            end = max(text.rfind(" ", start + 1, end), text.rfind("\n", start + 1, end))
            end = end if end > 0 else start + PART_CHARACTERS
        yield text[start:end]
        start = end


def _number(count: int) -> str:
    return str(count) if count <= COUNTED_UP_TO else f"over {COUNTED_UP_TO:,}"
