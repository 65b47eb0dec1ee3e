"""Where each weight and each activation lies on several devices: one table, beside the mathematics and not in it.

A mesh has three axes. `data` splits the pictures of a batch, `tensor` the heads and the widths of MLPs (Shoeybi et al.
2019, "Megatron-LM", arXiv:1909.08053, section 3: a map that widens is split by its outputs, the one after it by its
inputs), `sequence` the image tokens. XLA adds the exchanges that this asks for. The loader does not ask it yet: it has
one device.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from flux_engine.configs import Component
from flux_engine.errors import RequestError
from flux_engine.weights.names import LeafPath, is_stacked

BY_OUTPUTS, BY_INPUTS, WHOLE = "by outputs", "by inputs", "whole"

# Module -> how it is split; the first pattern that is found counts, and what none finds stays whole.
RULES: Mapping[Component, Sequence[tuple[str, str]]] = {
    "transformer": (
        (r"(img|txt)_qkv|linear1|fc1|in_layer", BY_OUTPUTS),
        (r"(img|txt)_mod|modulation|adaLN_modulation", BY_OUTPUTS),
        (r"(img|txt)_proj|linear2|fc2|out_layer", BY_INPUTS),
    ),
    "clip_text": ((r"[qkv]_proj|fc1", BY_OUTPUTS), (r"out_proj|fc2", BY_INPUTS)),
    "t5_text": ((r"[qkv]|wi_[01]", BY_OUTPUTS), (r"o|wo|embed_tokens", BY_INPUTS)),
    "vae": (),
}


@dataclass(frozen=True, kw_only=True)
class MeshSizes:
    """How many ways each kind of work is split: "data=2,tensor=4" on a command line.

    Raises:
        RequestError: a size is no whole number above 0.
    """

    data: int = 1
    sequence: int = 1
    tensor: int = 1

    def __post_init__(self) -> None:
        for name, size in asdict(self).items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise RequestError(f"The mesh has {name}={size!r}; expected a whole number, at least 1.")

    @property
    def devices(self) -> int:
        """How many are needed."""
        return math.prod(asdict(self).values())


def parse_mesh(text: str) -> MeshSizes:
    """The sizes that a text such as "data=2,tensor=4" names; axes that it leaves out are 1.

    Raises:
        RequestError: it names none, or an axis twice, or one that there is not.
    """
    names = [field.name for field in fields(MeshSizes)]
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        if name not in names or name in sizes or not number.isdecimal() or len(number) > 6:
            raise RequestError(
                f"The mesh is {text!r}; expected axes out of {', '.join(names)} with a number each.",
                hint='Say "data=2,tensor=4", for example.',
            )
        sizes[name] = int(number)
    return MeshSizes(**sizes)


def make_mesh(sizes: MeshSizes, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Devices in the order that JAX lists them; those that exchange most, along `tensor`, are neighbours.

    Raises:
        RequestError: there are not as many devices.
    """
    devices = jax.devices() if devices is None else devices
    if sizes.devices > len(devices):
        asked = ", ".join(f"{name}={size}" for name, size in asdict(sizes).items() if size > 1)
        raise RequestError(
            f"The mesh {asked} needs {sizes.devices} devices; there are {len(devices)}.",
            hint="'flux-tui doctor' lists them.",
        )
    shape = tuple(asdict(sizes).values())
    return Mesh(np.array(devices[: sizes.devices]).reshape(shape), tuple(asdict(sizes)))


def weight_sharding(
    mesh: Mesh | AbstractMesh, component: Component, path: LeafPath, shape: tuple[int, ...]
) -> NamedSharding:
    """Where the leaf at `path`, of that shape, lies. A side that the devices do not divide stays whole.

    Args:
        path: the network's own; stacked blocks have an axis of their own before the rest.
    """
    stacked = is_stacked(component, path)
    axes = _axes(component, path[int(stacked) :], len(shape) - stacked)
    spec = (*([None] if stacked else []), *axes)
    divides = [size % mesh.shape["tensor"] == 0 for size in shape]
    return NamedSharding(mesh, P(*(axis if even else None for axis, even in zip(spec, divides, strict=True))))


def _axes(component: Component, path: LeafPath, ndim: int) -> tuple[str | None, ...]:
    module, leaf = path[-2] if len(path) > 1 else "", path[-1]
    how = next((how for pattern, how in RULES[component] if re.fullmatch(pattern, module)), WHOLE)
    if how == BY_OUTPUTS and leaf in ("kernel", "bias"):
        return (*[None] * (ndim - 1), "tensor")
    if how == BY_INPUTS and leaf in ("kernel", "embedding"):
        return ("tensor", *[None] * (ndim - 1))
    return (None,) * ndim


def latents_sharding(mesh: Mesh | AbstractMesh, batch_size: int, rows: int) -> NamedSharding:
    """Where packed latents [B, rows, columns, C] lie: pictures along `data`, rows of tokens along `sequence`.

    Raises:
        RequestError: the pictures, or the rows, cannot be dealt out evenly.
    """
    for what, count, axis in (("pictures", batch_size, "data"), ("rows of tokens", rows, "sequence")):
        if count % mesh.shape[axis]:
            raise RequestError(
                f"{count} {what} cannot be split {mesh.shape[axis]} ways; expected a multiple of {mesh.shape[axis]}.",
                hint=f"Change the {'batch' if axis == 'data' else 'height'}, or the mesh's {axis}.",
            )
    return NamedSharding(mesh, P("data", "sequence"))


def replicated(mesh: Mesh) -> NamedSharding:
    """Where what every device needs whole lies."""
    return NamedSharding(mesh, P())
