"""The programs that paint a picture, with the shapes that they get, before there is any weight.

To compile them is to know what memory they take; and with the cache of compiled programs the picture compiles nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from flux_engine import compiled
from flux_engine.configs import CLIPTextConfig, Component, NetworkConfig, T5Config, TransformerConfig, VAEConfig
from flux_engine.models.apart import Apart, is_apart
from flux_engine.models.by_blocks import BLOCKS_THERE
from flux_engine.models.step_cache import empty_cache
from flux_engine.models.transformer import Modulations
from flux_engine.prompt_velocity import SIGMAS_AT_ONCE
from flux_engine.request import WeightKind
from flux_engine.residency import Residency
from flux_engine.sampling.latents import PATCH, token_grid
from flux_engine.sharding import Places
from flux_engine.weights.checkpoint import abstract_network, named_leaves, rebuilt
from flux_engine.weights.names import LeafPath
from flux_engine.weights.placing import HOST, block_place, lies_apart, part_bytes
from flux_engine.weights.quantised import in_memory

Configs = Mapping[Component, NetworkConfig]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What programs depend on.

    Args:
        dtype: that weights are kept and computed in.
        width, height: pixels.
        batch_size: pictures at once; they are decoded one after another.
        text_tokens: T5's, padding included.
        step_cache: whether steps reuse the work of earlier ones.
        weights: as in a request.
    """

    dtype: jnp.dtype
    width: int
    height: int
    batch_size: int = 1
    text_tokens: int = 512
    step_cache: bool = False
    weights: WeightKind = "full"


class Program(NamedTuple):
    """One network's, as `flux_engine.compiled` has it.

    Attributes:
        stage: "prompt", "steps" or "decoding".
        component: whose weights it takes.
        function: jitted.
        network: structure and shapes of the weights, with the memory that they lie in.
        arguments: the shapes of all others.
    """

    stage: str
    component: Component
    function: Any
    network: tuple[nnx.GraphDef, nnx.State]
    arguments: tuple[Any, ...]

    def compile(self) -> list[jax.stages.Compiled]:
        """One program, or those of a block."""
        return [it.compile() for it in compiled.lowered(self.function, *self.network, *self.arguments)]

    def working_bytes(self) -> int:
        """What it takes on each device beside weights: inputs, results, and all in between at its peak, as XLA says."""
        inputs = sum(map(part_bytes, jax.tree.leaves(self.arguments)))
        analyses: list[Any] = [program.memory_analysis() for program in self.compile()]
        between = len(analyses) > 1  # one block's results are the next one's inputs
        most = max(it.temp_size_in_bytes + (1 + between) * it.output_size_in_bytes for it in analyses)
        return inputs + most + BLOCKS_THERE * self._waiting_bytes_of_a_block()

    def _waiting_bytes_of_a_block(self) -> int:
        """What comes from the host's memory for the largest block that has a program of its own."""
        waiting: dict[str, int] = {}
        for path, leaf in named_leaves(self.network[1]).items():
            if is_apart(leaf) and leaf.sharding.memory_kind == HOST:
                waiting[path[0]] = waiting.get(path[0], 0) + part_bytes(leaf[0])
        return max(waiting.values(), default=0)


def programs(configs: Configs, picture: Picture, residency: Residency, places: Places) -> tuple[Program, ...]:
    """All of them in the order in which a picture runs them.

    Raises:
        RequestError: a size lies between tokens.
    """
    transformer, vae, clip, t5 = (configs[name] for name in ("transformer", "vae", "clip_text", "t5_text"))
    assert isinstance(transformer, TransformerConfig) and isinstance(vae, VAEConfig)
    assert isinstance(clip, CLIPTextConfig) and isinstance(t5, T5Config)
    dtype = picture.dtype
    rows, columns = token_grid(picture.height, picture.width, vae.downsampling)
    text = _lies(_shape(1, picture.text_tokens, t5.d_model, dtype=dtype), places.whole)
    pooled = _lies(_shape(1, clip.hidden_size, dtype=dtype), places.whole)
    networks = {name: abstract(config, picture, residency, places) for name, config in configs.items()}
    graphdef, state = networks["transformer"]
    conditions = (pooled, _shape(SIGMAS_AT_ONCE), _shape())
    said: Any = jax.eval_shape(partial(compiled.modulations, graphdef), state, *conditions)
    by = Modulations(*(_lies(part, places.whole) for part in said))
    angles = _shape(picture.text_tokens + rows * columns, transformer.head_dim // 2)
    rope = (_lies(angles, places.whole),) * 2
    B, at_once = picture.batch_size, places.pictures_at_once
    along = places.latents(B, rows)
    latents = _lies(_shape(B, rows, columns, transformer.in_channels), along)
    velocity: Any = compiled.velocity
    given: tuple[Any, ...] = (latents, by, _shape(dtype=jnp.int32), text, rope)
    if picture.step_cache:
        tokens = (B, rows * columns, transformer.hidden_dim)
        nothing = jax.eval_shape(partial(empty_cache, tokens, dtype))
        cache = jax.tree.map(lambda part: _lies(part, along if part.shape == tokens else places.whole), nothing)
        velocity, given = compiled.cached_velocity, (*given, cache, _shape())
    decoded = _shape(at_once, PATCH * rows, PATCH * columns, vae.latent_channels)
    decoded = _lies(decoded, places.pictures(at_once))
    ids = [_lies(_ids(length), places.whole) for length in (clip.max_position_embeddings, picture.text_tokens)]
    calls: tuple[tuple[str, Component, Any, tuple[Any, ...]], ...] = (
        ("prompt", "clip_text", compiled.encode_text, (ids[0],)),
        ("prompt", "t5_text", compiled.encode_text, (ids[1],)),
        ("steps", "transformer", compiled.modulations, conditions),
        ("steps", "transformer", velocity, given),
        ("decoding", "vae", compiled.decode_latents, (decoded,)),
    )
    return tuple(Program(stage, name, function, networks[name], given) for stage, name, function, given in calls)


def abstract(
    config: NetworkConfig, picture: Picture, residency: Residency, places: Places
) -> tuple[nnx.GraphDef, nnx.State]:
    """A network's structure, and shapes for its weights where they will lie."""
    component = config.component
    graphdef, state = nnx.split(abstract_network(component, config, picture.dtype))
    kept = in_memory(component, state, picture.dtype, picture.weights)
    place = residency.placement(component, places.weights(component))

    def placed(path: LeafPath, leaf: jax.ShapeDtypeStruct) -> Any:
        there = place(path, leaf.shape)
        if not lies_apart(component, path, there):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=there)
        return Apart([jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype, sharding=block_place(there))] * leaf.shape[0])

    return graphdef, rebuilt(kept, [placed(path, leaf) for path, leaf in named_leaves(kept).items()])


def _lies(shape: jax.ShapeDtypeStruct, sharding: jax.sharding.Sharding) -> Any:
    """The shape of what is put there, or comes from such: JAX's key to compiled programs says it."""
    return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)


def _shape(*sizes: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, dtype)


def _ids(length: int) -> jax.ShapeDtypeStruct:
    return _shape(1, length, dtype=jnp.int32)
