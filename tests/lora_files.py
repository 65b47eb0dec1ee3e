"""LoRA files by hand, and what one changes in other programs' names and axes. For tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from flux_engine.configs import NetworkConfig
from flux_engine.weights.checkpoint import stored_shapes
from flux_engine.weights.lora_files import Lora, open_lora
from flux_engine.weights.names import LeafPath, is_stacked
from tests.foreign_files import CLIP, TRANSFORMER, bfl_tensors
from tests.reference_names import to_reference
from tests.tiny import abstract_leaves, draw, tiny_leaves
from tests.tiny_checkpoint import T5

NETWORKS: dict[str, NetworkConfig] = {"transformer": TRANSFORMER, "clip_text": CLIP, "t5_text": T5}
RANK = 3

Tensors = dict[str, np.ndarray]
EMBEDDINGS = ("token_embedding", "position_embedding", "shared", "relative_attention_bias")


@cache
def shapes() -> dict[str, dict[LeafPath, tuple[int, ...]]]:
    """Of the tiny networks, as `open_lora` wants them."""
    return {component: stored_shapes(component, config) for component, config in NETWORKS.items()}


def write_lora(file: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> Path:
    # The library writes the bytes of a view as they lie.
    safetensors.numpy.save_file({k: np.array(v, order="C") for k, v in tensors.items()}, file, metadata=metadata)
    return file


def opened(folder: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None, **options: Any) -> Lora:
    """A file with those tensors, opened for the tiny networks."""
    return open_lora(write_lora(folder / "style.safetensors", tensors, metadata), shapes(), **options)


def numbers(name: str, *shape: int) -> np.ndarray:
    """float32 numbers that belong to `name`."""
    return draw(name, shape, -1, 1)


def pair(module: str, inputs: int = 64, outputs: int = 64) -> Tensors:
    """A LoRA for one module, with PEFT's parts."""
    return {
        f"{module}.lora_A.weight": numbers("a", RANK, inputs),
        f"{module}.lora_B.weight": numbers("b", outputs, RANK),
    }


def low_rank(
    matrices: Mapping[str, tuple[int, int]], key: Callable[[str], str], down: str, up: str, alpha: float | None = None
) -> tuple[Tensors, Tensors]:
    """A LoRA for all matrices, and what it adds to each: alpha / rank up @ down."""
    tensors, expected = {}, {}
    for name, (outputs, inputs) in matrices.items():
        a, b = numbers(f"{name} down", RANK, inputs), numbers(f"{name} up", outputs, RANK)
        tensors |= {f"{key(name)}.{down}.weight": a, f"{key(name)}.{up}.weight": b}
        if alpha is not None:
            tensors[f"{key(name)}.alpha"] = np.float32(alpha)
        expected[f"{name}.weight"] = (1 if alpha is None else alpha / RANK) * (b @ a)
    return tensors, expected


def underscored(prefix: str) -> Callable[[str], str]:
    return lambda name: prefix + name.replace(".", "_")


def dotted(prefix: str) -> Callable[[str], str]:
    return lambda name: prefix + name


def kronecker(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """By its definition, without NumPy's own: rows i * len(b) + j are a[i] times b[j]."""
    return np.einsum("ac,bd->abcd", a, b).reshape(len(a) * len(b), -1)


def diffusers_matrices(component: str = "transformer") -> dict[str, tuple[int, int]]:
    """Every linear layer of a tiny network: diffusers' or transformers' name, and [out, in]."""
    return matrices(to_reference(component, tiny_leaves(NETWORKS[component])))


def bfl_matrices() -> dict[str, tuple[int, int]]:
    """Every linear layer of the tiny transformer: Black Forest Labs' name, and [out, in]."""
    return matrices(bfl_tensors(TRANSFORMER))


def in_diffusers(lora: Lora, component: str = "transformer") -> dict[str, np.ndarray]:
    """What it changes, by diffusers' names and in their axes: [out, in]. Unchanged tensors are left out."""
    return _changed(to_reference(component, _changes(lora, component)))


def in_bfl(lora: Lora) -> dict[str, np.ndarray]:
    """What it changes, by Black Forest Labs' names and in their axes."""
    return _changed(bfl_tensors(TRANSFORMER, _changes(lora, "transformer")))


def assert_close(actual: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """The same names with the same numbers, to the rounding of float32."""
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        assert np.abs(actual[name] - array).max() <= 1e-5 * np.abs(array).max(), name


def matrices(tensors: Mapping[str, np.ndarray]) -> dict[str, tuple[int, int]]:
    """The linear layers among the tensors of a network: their names, and [out, in]."""
    found = {name.removesuffix(".weight"): array.shape for name, array in tensors.items() if array.ndim == 2}
    return {name: (shape[0], shape[1]) for name, shape in found.items() if not name.endswith(EMBEDDINGS)}


def apply(lora: Lora, component: str, leaves: Mapping[str, np.ndarray], *, magnitudes: bool = True) -> None:
    """Change a network's weights, by their dotted paths, as the LoRA does at strength 1."""
    for kernel in lora.kernels:
        if kernel.component == component:
            weight = _leaf(leaves, component, (*kernel.module, "kernel"))[:, kernel.start : kernel.stop]
            term = kernel.read().dense()
            assert term.dtype == np.float32
            weight += term
            if kernel.magnitude and magnitudes:
                lengths = kernel.magnitude()
                weight *= lengths / np.linalg.norm(weight, axis=0 if len(lengths) == 1 else 1, keepdims=True)
    for vector in lora.vectors:
        if vector.component == component:
            stretch = _leaf(leaves, component, vector.leaf)[vector.start : vector.stop]
            assert vector.read().dtype == np.float32
            stretch[:] = vector.read() + (0 if vector.replaces else stretch)


def _changes(lora: Lora, component: str) -> dict[str, np.ndarray]:
    leaves = {path: np.zeros(leaf.shape, np.float32) for path, leaf in abstract_leaves(NETWORKS[component]).items()}
    apply(lora, component, leaves, magnitudes=False)
    return leaves


def _leaf(leaves: Mapping[str, np.ndarray], component: str, stored: LeafPath) -> np.ndarray:
    """The leaf at a stored path: a view into the stack, where it is in one."""
    if is_stacked(component, stored):
        return leaves[".".join((stored[0], *stored[2:]))][int(stored[1])]
    return leaves[".".join(stored)]


def _changed(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.asarray(array) for name, array in tensors.items() if np.any(array)}
