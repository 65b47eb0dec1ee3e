"""The velocity field of one prompt: the transformer with a text, a guidance and a size. Knows no sampler.

What time, guidance and pooled text have to say, 27 % of FLUX.1's weights, is computed for many steps at once: then
those weights need not be on the device while the steps are taken.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import jax
import numpy as np

from flux_engine import compiled
from flux_engine.configs import TransformerConfig
from flux_engine.encoding import EncodedPrompt
from flux_engine.memory import Networks
from flux_engine.models.step_cache import StepCache, empty_cache
from flux_engine.models.transformer import Modulations, rope_table
from flux_engine.sampling.latents import image_ids, text_ids
from flux_engine.scalars import near
from flux_engine.sharding import Places
from flux_engine.weights.placing import put

SIGMAS_AT_ONCE = 32  # 64 MiB in FLUX.1; one program serves every number of steps


class KeptModulations:
    """The modulations that were computed last for each of a picture's texts: the same again with another seed has them.

    They take the memory that the next picture needs for its own, 64 MiB for a text in FLUX.1. Of more than
    SIGMAS_AT_ONCE sigmas only the last ones are there, and the same again computes all anew.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[EncodedPrompt, Hashable, Modulations]] = []

    def get(self, text: EncodedPrompt, recipe: Hashable) -> Modulations | None:
        """Those of a text and of all else that makes them what they are."""
        return next((found for whose, how, found in self._kept if whose is text and how == recipe), None)

    def put(self, text: EncodedPrompt, recipe: Hashable, modulations: Modulations) -> None:
        """Keep them in the place of that text's others."""
        self._kept = [kept for kept in self._kept if kept[0] is not text] + [(text, recipe, modulations)]

    def keep_only(self, texts: Sequence[EncodedPrompt]) -> None:
        """Let go what is of other texts than these."""
        self._kept = [kept for kept in self._kept if any(kept[0] is text for text in texts)]


class PromptVelocity:
    """v(latents, sigma), float32 [B, rows, columns, in_channels] and a scalar in [0, 1].

    Args:
        networks: where the transformer is; it is read if it is not there.
        config: the transformer's.
        text: the prompt.
        guidance: the embedded guidance scale.
        rows, columns: the grid of packed tokens.
        places: where latents, text and modulations are.
        step_cache: the error budget of `flux_engine.models.step_cache`; 0 computes every velocity in full, else those
            of the first and the last sigma are.
        kept: where modulations are kept for another of the same text.
    """

    def __init__(
        self,
        networks: Networks,
        config: TransformerConfig,
        text: EncodedPrompt,
        guidance: float,
        rows: int,
        columns: int,
        places: Places,
        step_cache: float = 0.0,
        kept: KeptModulations | None = None,
    ) -> None:
        self._networks, self._text, self._guidance, self._places = networks, text, np.float32(guidance), places
        self._kept_modulations = kept or KeptModulations()
        ids = np.concatenate([text_ids(text.text_embeddings.shape[1]), image_ids(rows, columns)])
        cos, sin = rope_table(ids, config.axes_dims_rope, config.theta)
        self._rope = put(cos, places.whole), put(sin, places.whole)
        self._width = config.hidden_dim
        self._expected: tuple[np.float32, ...] = ()
        self._modulations: Modulations | None = None
        self._row_of: dict[np.float32, int] = {}
        self._recipe: Any = None
        self._budget = np.float32(step_cache)
        self._cache: StepCache | None = None
        self._last_sigma = np.float32(0)

    def prepare(self, sigmas: Sequence[np.float32]) -> None:
        """Say at which sigmas it will be asked, in their order; it may be asked at others, one by one."""
        self._expected = tuple(sigmas)
        self._cache = None

    def reused(self) -> int:
        """How many velocities of this run took most of their work from an earlier one."""
        return int(self._cache.reused) if self._cache else 0

    def __call__(self, latents: jax.Array, sigma: np.float32) -> jax.Array:
        graphdef, state = self._networks.load("transformer")
        row = self._row(graphdef, state, np.float32(sigma))
        # a step's result lies there; else noise compiles anew
        latents = put(latents, self._places.latents(*latents.shape[:2]))
        given = (latents, self._modulations, np.int32(row), self._text.text_embeddings, self._rope)
        if not self._budget:
            return compiled.velocity(graphdef, state, *given)
        cache, self._cache = self._kept(latents, sigma), None  # it is used up, also by a call that fails
        budget = np.float32(0) if sigma in self._expected[-1:] else self._budget
        velocity, self._cache = compiled.cached_velocity(graphdef, state, *given, cache, budget)
        return velocity

    def _kept(self, latents: jax.Array, sigma: np.float32) -> StepCache:
        """The cache of this run; another one has begun where there is more noise than before, or another batch."""
        B, rows, columns, _ = latents.shape
        shape = (B, rows * columns, self._width)
        cache = self._cache
        if cache is None or sigma > self._last_sigma or cache.sign.shape != shape:
            assert self._modulations is not None
            tokens, whole = self._places.latents(B, rows), self._places.whole
            new = empty_cache(shape, self._modulations.img.dtype)
            cache = jax.tree.map(lambda leaf: put(leaf, tokens if leaf.shape == shape else whole), new)
        self._last_sigma = sigma
        return cache

    def _row(self, graphdef: Any, state: Any, sigma: np.float32) -> int:
        """Which of the modulations are those of `sigma`; if none, they are computed, with those that are asked next."""
        recipe = self._networks.recipe("transformer")
        if sigma not in self._row_of or recipe != self._recipe:
            place = self._expected.index(sigma) if sigma in self._expected else len(self._expected)
            sigmas = list(dict.fromkeys([sigma, *self._expected[place:]]))[:SIGMAS_AT_ONCE]
            padded = np.array(sigmas + [sigma] * (SIGMAS_AT_ONCE - len(sigmas)), np.float32)
            self._modulations = self._modulations_at(graphdef, state, padded, recipe)
            self._row_of = {sigma: row for row, sigma in enumerate(sigmas)}
            for row in self._row_of.values():
                near(self._rope[0], np.int32(row))  # while nothing waits for it
            self._cache = self._cache if recipe == self._recipe else None
            self._recipe = recipe
        return self._row_of[sigma]

    def _modulations_at(self, graphdef: Any, state: Any, sigmas: np.ndarray, recipe: Hashable) -> Modulations:
        text, kept = self._text, self._kept_modulations
        whole_recipe = recipe, self._guidance, sigmas.tobytes()
        if (modulations := kept.get(text, whole_recipe)) is None:
            found = compiled.modulations(graphdef, state, text.pooled_embeddings, sigmas, self._guidance)
            modulations = Modulations(*(put(part, self._places.whole) for part in found))
            kept.put(text, whole_recipe, modulations)
        return modulations
