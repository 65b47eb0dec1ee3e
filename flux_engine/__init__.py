"""FLUX.1 in JAX: networks, samplers, checkpoints. Importing this package imports neither jax nor flax.

The names below are imported when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flux_engine.engine import Engine
    from flux_engine.generation import FluxConditionedNetwork, denoising_states, run_diffuse_generation
    from flux_engine.loader import FluxModelLoader
    from flux_engine.models.clip_text import CLIPTextEncoder
    from flux_engine.models.t5_encoder import T5Encoder
    from flux_engine.models.transformer import FluxTransformer2D
    from flux_engine.models.vae import FluxVAE
    from flux_engine.request import GenerationRequest
    from flux_engine.sampling.timers import FluxTimer

_HOMES = {
    "CLIPTextEncoder": "flux_engine.models.clip_text",
    "Engine": "flux_engine.engine",
    "FluxConditionedNetwork": "flux_engine.generation",
    "FluxModelLoader": "flux_engine.loader",
    "FluxTimer": "flux_engine.sampling.timers",
    "FluxTransformer2D": "flux_engine.models.transformer",
    "FluxVAE": "flux_engine.models.vae",
    "GenerationRequest": "flux_engine.request",
    "T5Encoder": "flux_engine.models.t5_encoder",
    "denoising_states": "flux_engine.generation",
    "run_diffuse_generation": "flux_engine.generation",
}
__all__ = [
    "CLIPTextEncoder",
    "Engine",
    "FluxConditionedNetwork",
    "FluxModelLoader",
    "FluxTimer",
    "FluxTransformer2D",
    "FluxVAE",
    "GenerationRequest",
    "T5Encoder",
    "denoising_states",
    "run_diffuse_generation",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'flux_engine' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOMES)
