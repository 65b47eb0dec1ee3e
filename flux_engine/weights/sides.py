"""One network's modules, run here and in the reference with the same weights and on the same inputs.

Each module is given what the one before it gave here, so that a difference is named where it arises. Both sides have
one module's weights in memory, in float32, whatever the network's size.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flux_engine.configs import Component
from flux_engine.weights.checkpoint import NETWORKS
from flux_engine.weights.names import LeafPath, is_stacked, stored_path
from flux_engine.weights.orbax_files import leaf_path
from flux_engine.weights.reference import Reference
from flux_engine.weights.stored import Weights

# Of float32's 7 digits, sums over some thousand numbers in another order leave 5 or 6; a wrong axis leaves none.
MODULE_BOUND = 1e-4
WHOLE_BOUND = 1e-3  # each module passes on what the one before it left

Watch = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One module's results here beside the reference's.

    Attributes:
        module: its name here; "whole" is the network from its inputs to its results.
        difference: the greatest one, max|here - there|.
        relative: the same, divided by max|there|.
        bound: what `relative` must not pass.
    """

    component: Component
    module: str
    difference: float
    relative: float
    bound: float

    @property
    def agrees(self) -> bool:
        return self.relative <= self.bound  # not where it is no number


@dataclass(frozen=True, eq=False)
class Both:
    """An array as it was computed here and there, each side going on with its own."""

    here: np.ndarray
    there: np.ndarray

    @classmethod
    def given(cls, array: np.ndarray) -> Both:
        """An input: the very same on both sides."""
        return cls(array, array)


Steps = Generator[Compared, None, list[Both]]


class Sides:
    """The same network here and there.

    Args:
        weights: of a network that has all its leaves.

    Raises:
        ReferenceFault: the reference cannot be had. `step` raises it too.
    """

    def __init__(self, weights: Weights, watch: Watch) -> None:
        self.component = weights.component
        self._weights, self._watch = weights, watch
        self._there = Reference(weights.config)
        build = NETWORKS[weights.component]
        self._here = nnx.eval_shape(lambda: build(weights.config, rngs=nnx.Rngs(0), dtype=jnp.float32))
        self._used, self._all = 0, sum(math.prod(leaf.shape) for leaf in weights.leaves.values())

    def step(
        self,
        name: str,
        ours: Sequence[str],
        theirs: Sequence[str],
        here: Callable[..., Any],
        there: Callable[..., Any],
        *inputs: Both,
    ) -> Steps:
        """Run modules on both sides, yield what they differ by on the same inputs, and return both sides' results.

        Args:
            name: for people.
            ours, theirs: paths of the modules; "" is the network.
            here, there: called with those modules, then the inputs: arrays of JAX, tensors of torch.
        """
        read = cache(self._read)  # for both sides, and as long as this step
        given = [both.here for both in inputs]
        modules = [self._module(path, read) for path in ours]
        result = _run(here, tuple(graph for graph, _ in modules), [state for _, state in modules], given)
        found = [np.asarray(array) for array in (result if isinstance(result, tuple) else (result,))]
        with self._there.filled(theirs, read) as run:
            expected = run(there, *given)
            is_first = all(both.here is both.there for both in inputs)
            own = expected if is_first else run(there, *(both.there for both in inputs))
        self._watch(self.component, min(1.0, self._used / self._all))
        yield self._compared(name, found, expected, MODULE_BOUND)
        return [Both(mine, yours) for mine, yours in zip(found, own, strict=True)]

    def whole(self, *results: Both) -> Compared:
        """What both sides' results differ by, each having gone its own way from the inputs."""
        return self._compared("whole", [both.here for both in results], [both.there for both in results], WHOLE_BOUND)

    def noise(self, name: str, *shape: int) -> Both:
        """float32 normal numbers that belong to `name`."""
        array = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
        return Both.given(array)

    def _read(self, path: LeafPath) -> np.ndarray:
        (array,) = self._weights.read([path], np.dtype(np.float32))
        self._used += array.size
        return array

    def _module(self, path: str, read: Callable[[LeafPath], np.ndarray]) -> tuple[nnx.GraphDef, nnx.State]:
        """A module of the network here, or one of a stack's blocks, with its weights."""
        prefix = tuple(path.split(".")) if path else ()
        block = int(prefix[1]) if prefix and is_stacked(self.component, prefix) else None
        prefix = prefix if block is None else prefix[:1]
        module: Any = self._here
        for key in prefix:
            module = module[int(key)] if key.isdigit() else getattr(module, key)
        graph, state = nnx.split(module)
        leaves, structure = jax.tree_util.tree_flatten_with_path(state)
        paths = [leaf_path(k.key if hasattr(k, "key") else k.name for k in keys) for keys, _ in leaves]
        arrays = [self._leaf((*prefix, *own), block, read) for own in paths]
        return graph, jax.tree.unflatten(structure, arrays)

    def _leaf(self, path: LeafPath, block: int | None, read: Callable[[LeafPath], np.ndarray]) -> np.ndarray:
        if block is None and is_stacked(self.component, path):  # the network itself
            count = len({stored[1] for stored in self._weights.leaves if stored[0] == path[0]})
            return np.stack([read(stored_path(self.component, path, number)) for number in range(count)])
        return read(stored_path(self.component, path, block))

    def _compared(self, name: str, found: list[np.ndarray], expected: list[np.ndarray], bound: float) -> Compared:
        pairs = list(zip(found, expected, strict=True))
        differences = [float(np.abs(here - there).max()) for here, there in pairs]
        scales = [float(np.abs(there).max()) or 1.0 for _, there in pairs]
        return Compared(
            component=self.component,
            module=name,
            difference=max(differences),
            relative=float(np.max(np.divide(differences, scales))),  # not a number if one is none
            bound=bound,
        )


@partial(jax.jit, static_argnums=(0, 1))
def _run(
    call: Callable[..., Any], graphs: tuple[nnx.GraphDef, ...], states: list[nnx.State], inputs: list[jax.Array]
) -> Any:
    """As the app computes in float32: with products that are float32 on every device."""
    with jax.default_matmul_precision("highest"):
        modules = [nnx.merge(graph, state) for graph, state in zip(graphs, states, strict=True)]
        return cast(Any, call(*modules, *inputs))
