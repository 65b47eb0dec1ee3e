"""One size of picture from a tiny checkpoint: prepared, painted."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from flux_engine import FluxConditionedNetwork, FluxModelLoader, run_diffuse_generation

HEIGHT, WIDTH = 32, 48
ROWS, COLUMNS, CHANNELS = 2, 3, 64
TOKENS = ROWS * COLUMNS


def prepare(tiny_loader: FluxModelLoader, prompt: str = "a hill", **options: Any) -> FluxConditionedNetwork:
    return tiny_loader.prepare_conditioned_network(prompt, **{"height": HEIGHT, "width": WIDTH} | options)


def paint(network: FluxConditionedNetwork, **options: Any) -> jax.Array:
    settings = {"height": HEIGHT, "width": WIDTH, "num_steps": 2, "seed": 0} | options
    return run_diffuse_generation(conditioned_network=network, **settings)


def latents_of(tiny_loader: FluxModelLoader, prompt: str = "a hill", **options: Any) -> np.ndarray:
    return np.asarray(paint(prepare(tiny_loader, prompt, **options)))
