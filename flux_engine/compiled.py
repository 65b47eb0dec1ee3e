"""What is compiled of each network. Weights are arguments of every function, so that releasing a network frees them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, cached_property, partial, update_wrapper, wraps
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from flux_engine.models.apart import is_apart
from flux_engine.models.by_blocks import by_itself, noting_programs
from flux_engine.models.step_cache import StepCache
from flux_engine.models.transformer import Modulations
from flux_engine.scalars import near

OPTIONS = {
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_cpu_prefer_vector_width": "512",
}
"""XLA's compiler for a CPU, and no other, would order a program so that as much as can be runs side by side. Each
product takes all cores as it is: that gains no time, and a step takes up to a quarter more memory. And it would compute
all but products with vectors of 256 bits, where a CPU has wider ones: a step took 0 to 6 % longer."""
FLOAT32_OPTIONS = OPTIONS | {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}
"""Those of a step in float32: YNNPACK takes sums, with what leads up to them, as by default, and Eigen all other
products, which it is quicker at."""
HALF = (jnp.bfloat16, jnp.float16)


def _exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """With products of float32 that are float32 on every device.

    By default an NVIDIA GPU multiplies float32 in TF32, with 10 bits for the fraction, and a TPU in bfloat16.
    """

    @wraps(function)
    def exact(*arguments: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return function(*arguments)

    return exact


def _known(options: dict[str, str]) -> dict[str, str]:
    """The options, or none where this version of XLA lacks one: it promises to keep none of them."""
    return options if _are_known(tuple(options.items())) else {}


@cache
def _are_known(options: tuple[tuple[str, str], ...]) -> bool:
    try:
        jax.jit(lambda: 0, compiler_options=dict(options)).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


class _Compiled:
    """A function of a network, jitted: with its structure fixed, exact products, and on a CPU with options.

    JAX takes options for the outermost program alone, so inside another one, a user's own, it goes without. Which
    devices there are must not be asked before `jax.distributed` has begun, so it is when the first program is needed.

    Args:
        float32: options of programs without half precision; others have `OPTIONS`, and these as well without any.
    """

    def __init__(
        self, function: Callable[..., Any], donated: tuple[str, ...] = (), float32: dict[str, str] | None = None
    ) -> None:
        self._jit: Any = partial(jax.jit, _exact(function), static_argnums=0, donate_argnames=donated)
        self._inside = self._jit()
        self._float32_options = float32
        update_wrapper(self, function)

    @cached_property
    def _on_a_cpu(self) -> tuple[Any, Any]:
        """The program of arrays in float32, and the one of others."""
        both = (self._float32_options or OPTIONS, OPTIONS)
        return tuple(self._jit(compiler_options=_known(options)) for options in both)

    def _program(self, leaves: list[Any]) -> Any:
        if jax.default_backend() != "cpu":
            return self._inside
        in_float32, in_half = self._on_a_cpu
        return in_half if any(leaf.dtype in HALF for leaf in leaves) else in_float32

    def __call__(self, graphdef: nnx.GraphDef, *arguments: Any) -> Any:
        leaves = jax.tree.leaves(arguments)
        is_inside = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
        return (self._inside if is_inside else self._program(leaves))(graphdef, *arguments)

    def lower(self, graphdef: nnx.GraphDef, *arguments: Any) -> jax.stages.Lowered:
        """The program for these arrays, or their shapes."""
        lowered: jax.stages.Lowered = self._program(jax.tree.leaves(arguments)).lower(graphdef, *arguments)
        return lowered

    def _cache_size(self) -> int:
        return sum(program._cache_size() for program in self._on_a_cpu)


def _compiled(
    function: Callable[..., Any], donated: tuple[str, ...] = (), float32: dict[str, str] | None = None
) -> Any:
    """See `_Compiled`. Arguments that are `donated` are used up: what is returned takes their place in the memory.

    Args:
        float32: a CPU's options where no array is in half precision; by default `OPTIONS`.
    """
    return _Compiled(function, donated, float32)


@_compiled
def encode_text(graphdef: nnx.GraphDef, state: nnx.State, ids: jax.Array) -> jax.Array:
    """What a text encoder makes of token ids."""
    return nnx.merge(graphdef, state)(ids)


@_compiled
def modulations(
    graphdef: nnx.GraphDef, state: nnx.State, pooled: jax.Array, sigmas: jax.Array, guidance: jax.Array
) -> Modulations:
    """The transformer's modulations of one prompt at each of the sigmas [B]."""
    B = len(sigmas)
    pooled = jnp.broadcast_to(pooled, (B, pooled.shape[-1]))
    return nnx.merge(graphdef, state).modulations(pooled, sigmas, jnp.broadcast_to(guidance, (B,)))


def _velocity(
    graphdef: nnx.GraphDef,
    state: nnx.State,
    latents: jax.Array,
    rows: Modulations,
    row: jax.Array,
    text: jax.Array,
    rope: tuple[jax.Array, jax.Array],
) -> jax.Array:
    """The transformer's velocity float32 of latents [B, rows, columns, C], by one of several rows of modulations.

    Text and modulations are the whole batch's.
    """
    img, txt, by = by_itself(_inputs, latents, text, rows, near(latents, row))
    result = nnx.merge(graphdef, state).modulated(img, txt, by, rope)
    return result.reshape(latents.shape).astype(jnp.float32)


def _cached_velocity(
    graphdef: nnx.GraphDef,
    state: nnx.State,
    latents: jax.Array,
    rows: Modulations,
    row: jax.Array,
    text: jax.Array,
    rope: tuple[jax.Array, jax.Array],
    cache: StepCache,
    budget: jax.Array,
) -> tuple[jax.Array, StepCache]:
    """The same within an error budget, and the cache for the next velocity; see `flux_engine.models.step_cache`."""
    img, txt, by = by_itself(_inputs, latents, text, rows, near(latents, row))
    result, cache = nnx.merge(graphdef, state).modulated_within(budget, cache, img, txt, by, rope)
    return result.reshape(latents.shape).astype(jnp.float32), cache


def _inputs(
    latents: jax.Array, text: jax.Array, rows: Modulations, row: jax.Array
) -> tuple[jax.Array, jax.Array, Modulations]:
    """Latents [B, L, C], the text for each of them, and the row of modulations."""
    B, rows_of_tokens, columns, C = latents.shape
    by = Modulations(*(jax.lax.dynamic_slice_in_dim(part, row, 1, axis=-2) for part in rows))
    return latents.reshape(B, rows_of_tokens * columns, C), jnp.broadcast_to(text, (B, *text.shape[1:])), by


_velocity_by_blocks, _cached_velocity_by_blocks = _exact(_velocity), _exact(_cached_velocity)
whole_velocity = _compiled(_velocity, float32=FLOAT32_OPTIONS)
whole_cached_velocity = _compiled(_cached_velocity, donated=("cache",), float32=FLOAT32_OPTIONS)


def velocity(graphdef: nnx.GraphDef, state: nnx.State, *arguments: Any) -> jax.Array:
    """The transformer's velocity, see `_velocity`: one program, or, where blocks are apart, one for each of them."""
    result: jax.Array = (_velocity_by_blocks if is_in_parts(state) else whole_velocity)(graphdef, state, *arguments)
    return result


def cached_velocity(graphdef: nnx.GraphDef, state: nnx.State, *arguments: Any) -> tuple[jax.Array, StepCache]:
    """The same of `_cached_velocity`."""
    by_blocks = is_in_parts(state)
    result: tuple[jax.Array, StepCache] = (_cached_velocity_by_blocks if by_blocks else whole_cached_velocity)(
        graphdef, state, *arguments
    )
    return result


def is_in_parts(state: nnx.State) -> bool:
    """Whether any of its stacks is apart."""
    return any(map(is_apart, jax.tree.leaves(state, is_leaf=is_apart)))


def lowered(function: Any, graphdef: nnx.GraphDef, state: nnx.State, *arguments: Any) -> list[jax.stages.Lowered]:
    """The programs of any function here, from arrays or their shapes; of blocks that are apart, those of a block."""
    ways: dict[Any, tuple[Any, Any]] = {
        velocity: (whole_velocity, _velocity),
        cached_velocity: (whole_cached_velocity, _cached_velocity),
    }
    whole, by_blocks = ways.get(function, (function, None))
    if by_blocks is not None and is_in_parts(state):
        block = next(leaf[0] for leaf in jax.tree.leaves(state, is_leaf=is_apart) if is_apart(leaf))
        place = block.sharding.with_memory_kind("device")
        with noting_programs(place) as noted, jax.default_matmul_precision("highest"):
            jax.eval_shape(partial(by_blocks, graphdef), state, *arguments)
            return [program.lower(*shapes) for program, shapes in noted.items()]
    return [whole.lower(graphdef, state, *arguments)]


@_compiled
def encode_images(graphdef: nnx.GraphDef, state: nnx.State, images: jax.Array) -> jax.Array:
    """Latents float32 [B, h, w, C] of images in [0, 1]."""
    return nnx.merge(graphdef, state).encode(images * 2 - 1).astype(jnp.float32)


@_compiled
def decode_latents(graphdef: nnx.GraphDef, state: nnx.State, latents: jax.Array) -> jax.Array:
    """Images float32 in [0, 1] of latents [B, h, w, C]."""
    images = nnx.merge(graphdef, state).decode(latents).astype(jnp.float32)
    return jnp.clip(images / 2 + 0.5, 0.0, 1.0)
