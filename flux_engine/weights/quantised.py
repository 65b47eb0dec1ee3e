"""Which kernels are in few bits, and as which: in files, and in memory. Knows names, and no file.

In files, beside `kernel` [in, out] in 8 bits lies `kernel_scale`, float32 [out], and the weights are their product. It
is named as the `weight_scale` beside `weight` in compressed-tensors' files,
https://github.com/vllm-project/compressed-tensors.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from flux_engine.models.quantised import EIGHT_BITS, QuantisedKernel, in_eight_bits, quantise
from flux_engine.request import WeightKind
from flux_engine.weights.names import STACKS, LeafPath, is_modulation, path_of

STORED_TYPES = frozenset(dtype.name for dtype, _ in EIGHT_BITS.values())
SCALE = "kernel_scale"


class Form(NamedTuple):
    """How a kernel is kept in memory; see `flux_engine.models.quantised`."""

    kind: str
    fast: bool

    def of(self, kernel: jax.Array, dtype: np.dtype) -> QuantisedKernel:
        """A kernel [in, out], standing for one of that type."""
        return quantise(kernel, self.kind, fast=self.fast, dtype=dtype)


@cache
def _shapes(form: Form, shape: tuple[int, ...], dtype: np.dtype) -> QuantisedKernel:
    """Of a stack of kernels [N, in, out]."""
    of = jax.vmap(partial(form.of, dtype=dtype))
    return jax.eval_shape(of, jax.ShapeDtypeStruct(shape, dtype))


def is_quantised(component: str, path: LeafPath) -> bool:
    """Whether a leaf, by either of its paths, may be in few bits: kernels of repeated blocks, 99 % of FLUX.1's weights.

    What a network reads and gives by, its norms, biases and embeddings and the whole autoencoder keep 16 bits.
    """
    return path[0] in STACKS[component] and path[-1] == "kernel"


def form_in_memory(component: str, path: LeafPath, weights: WeightKind) -> Form | None:
    """How a network's leaf is kept where a request asks for `weights`; None is as it is.

    T5 never has fewer than 8 bits, and inputs of 16: among its activations are some a thousand times as large as the
    rest, which would take all of a scale. CLIP is 1 % of the model.
    """
    if weights == "full" or component not in ("transformer", "t5_text") or not is_quantised(component, path):
        return None
    kind, _, fast = weights.partition("_")
    if component == "t5_text":
        return Form("fp8" if kind == "fp8" else "int8", fast=False)
    # Modulations are of few rows: nothing is gained there.
    return Form(kind, fast=bool(fast) and not is_modulation(component, path))


def in_memory(component: str, abstract: Any, dtype: np.dtype, weights: WeightKind) -> Any:
    """Shapes and types of a network's state as it is kept in memory, from those of its leaves.

    Args:
        dtype: of all that is not in few bits.
        weights: as in a request.
    """

    def leaf(keys: Any, its: Any) -> Any:
        form = form_in_memory(component, path_of(keys), weights)
        return jax.ShapeDtypeStruct(its.shape, dtype) if form is None else _shapes(form, its.shape, dtype)

    return jax.tree_util.tree_map_with_path(leaf, abstract)


def scale_path(path: LeafPath) -> LeafPath:
    """Where the scale of the kernel at `path` is stored."""
    return (*path[:-1], SCALE)


def quantised(kernel: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A kernel float32 [in, out] as one of EIGHT_BITS, and its scale float32 [out], rounded as `quantise` does."""
    with jax.default_device(jax.devices("cpu")[0]):  # four times as fast as NumPy, which knows no fp8 by itself
        stored, scale = _for_a_file(kernel, kind)
    return np.asarray(stored), np.asarray(scale)


@partial(jax.jit, static_argnums=1)
def _for_a_file(kernel: jax.Array, kind: str) -> tuple[jax.Array, jax.Array]:
    return in_eight_bits(kernel, kind, axis=0)
