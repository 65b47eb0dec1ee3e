"""Prompts as the transformer reads them, encoded once: kept in memory, and on the disk where that is wanted.

Knows tokenizers, text encoders and what tells one encoding from another. Knows no picture.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from flux_engine import compiled
from flux_engine.configs import Component
from flux_engine.memory import Networks
from flux_engine.prompt_cache import PromptCache, fingerprint
from flux_engine.request import WeightKind
from flux_engine.residency import ENCODERS
from flux_engine.sharding import Places
from flux_engine.tokenizers import CLIPTokenizer, Encoded, T5Tokenizer
from flux_engine.weights.placing import put
from flux_engine.weights.quantised import form_in_memory
from flux_engine.weights.sources import Checkpoint

PROMPTS_KEPT = 16
FORMAT = 1  # of what is kept on the disk; another one when encoders here compute otherwise


@dataclass(frozen=True, eq=False)
class EncodedPrompt:
    """A prompt as the transformer reads it.

    Attributes:
        text_embeddings: [1, T, joint_attention_dim].
        pooled_embeddings: [1, pooled_projection_dim].
        warning: what a person should know about it, "" if nothing.
    """

    text_embeddings: jax.Array
    pooled_embeddings: jax.Array
    warning: str = ""


class PromptEncoder:
    """Both text encoders of a model, read when a prompt is new.

    Args:
        checkpoint: whose.
        networks: where the encoders are.
        clip, t5: their tokenizers.
        places, dtype: where and in what they compute.
        weights: how T5's are kept.
        kept: where encoded prompts are kept from one run to the next; None for nowhere.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        networks: Networks,
        clip: CLIPTokenizer,
        t5: T5Tokenizer,
        *,
        places: Places,
        dtype: jnp.dtype,
        weights: WeightKind,
        kept: PromptCache | None,
    ) -> None:
        self._checkpoint, self._networks, self._clip, self._t5 = checkpoint, networks, clip, t5
        self._places, self._dtype, self._weights, self._kept = places, dtype, weights, kept
        self._encoded: OrderedDict[str, EncodedPrompt] = OrderedDict()

    def knows(self, prompt: str) -> bool:
        """Whether no encoder is needed for it, with the LoRAs of now."""
        return self._known(prompt) is not None

    def encode(self, prompts: Sequence[str]) -> list[EncodedPrompt]:
        """Both encoders' reading of each prompt; the last PROMPTS_KEPT stay in memory."""
        try:
            found = [self._known(prompt) or self._encode(prompt) for prompt in prompts]
        finally:
            self._networks.release_encoders()
        while len(self._encoded) > max(PROMPTS_KEPT, len(prompts)):
            self._encoded.popitem(last=False)
        return found

    def _known(self, prompt: str) -> EncodedPrompt | None:
        clip, t5 = self._clip.encode([prompt]), self._t5.encode([prompt])
        key = self._key(clip, t5)
        if key in self._encoded:
            self._encoded.move_to_end(key)
        elif self._kept is not None and (arrays := self._kept.get(key)) is not None:
            text, pooled = (put(arrays[name], self._places.whole) for name in ("text", "pooled"))
            self._encoded[key] = EncodedPrompt(text, pooled, self._warning(clip, t5))
        return self._encoded.get(key)

    def _encode(self, prompt: str) -> EncodedPrompt:
        clip, t5 = self._clip.encode([prompt]), self._t5.encode([prompt])
        pooled, text = self._run("clip_text", clip), self._run("t5_text", t5)
        # The encoders leave next: their results must be there first, or their weights would live on.
        jax.block_until_ready((pooled, text))
        key = self._key(clip, t5)
        if self._kept is not None:
            self._kept.put(key, {"text": np.asarray(text), "pooled": np.asarray(pooled)})
        self._encoded[key] = EncodedPrompt(text, pooled, self._warning(clip, t5))
        return self._encoded[key]

    def _run(self, encoder: Component, tokens: Encoded) -> jax.Array:
        whole = self._places.whole
        return put(compiled.encode_text(*self._networks.load(encoder), put(tokens.ids, whole)), whole)

    def _key(self, clip: Encoded, t5: Encoded) -> str:
        """What two encodings have in common only if they are the same to the last bit."""
        ids = [tokens.ids.tolist() for tokens in (clip, t5)]
        return json.dumps([self._where, ids, [self._networks.recipe(encoder) for encoder in ENCODERS]])

    @cached_property
    def _where(self) -> list[object]:
        if self._kept is None:
            return []
        parts = [self._checkpoint.parts[encoder] for encoder in ENCODERS]
        configs = [repr(part.config) for part in parts]  # in a diffusers folder a file beside the weights
        weights = [part.open() for part in parts]
        places: Iterable[Path] = [place for own in weights for place in (own.files or [Path(own.origin)])]
        device = (self._places.device.platform, self._places.device.device_kind, jax.__version__)
        form = form_in_memory("t5_text", ("blocks", "kernel"), self._weights)
        kind = [] if form is None else [form.kind]
        mesh = str(self._places.sizes or "")
        return [FORMAT, fingerprint(sorted(places)), *configs, self._dtype.name, *device, mesh, *kind]

    def _warning(self, clip: Encoded, t5: Encoded) -> str:
        cuts = (("CLIP", self._clip.max_length, clip.cut[0]), ("T5", self._t5.max_length, t5.cut[0]))
        notes = [f"{name} reads {length} tokens; the prompt's last {cut} were cut" for name, length, cut in cuts if cut]
        return "; ".join(notes)
