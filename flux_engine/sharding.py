"""Where each weight and each activation lies on several devices: one table, beside the mathematics and not in it.

A mesh has three axes. `data` splits the pictures of a batch, `tensor` the heads and the widths of MLPs (Shoeybi et al.
2019, "Megatron-LM", arXiv:1909.08053, section 3: a map that widens is split by its outputs, the one after it by its
inputs), `sequence` the image tokens. XLA adds the exchanges that this asks for; how tokens and heads change places
for attention, `flux_engine.models.attention` says. The devices may be those of several processes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P

from flux_engine.configs import Component
from flux_engine.errors import RequestError
from flux_engine.weights.names import LeafPath, is_stacked
from flux_engine.weights.placing import Placement, on_device
from flux_engine.where import MeshSizes

AXES = tuple(asdict(MeshSizes()))
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


def make_mesh(sizes: MeshSizes, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Devices in the order that JAX lists them; those that exchange most, along `tensor`, are neighbours.

    Raises:
        RequestError: there are not as many devices.
    """
    devices = jax.devices() if devices is None else devices
    if sizes.devices > len(devices):
        raise RequestError(
            f"The mesh {sizes} needs {sizes.devices} devices; there are {len(devices)}.",
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
    return _along(mesh, *(axis if even else None for axis, even in zip(spec, divides, strict=True)))


def _axes(component: Component, path: LeafPath, ndim: int) -> tuple[str | None, ...]:
    *modules, leaf = path
    in_few_bits = modules[-1:] == ["kernel"]  # its values [out, in], and scales [out] or [out, in / group]
    module = next(reversed(modules[:-1] if in_few_bits else modules), "")
    how = next((how for pattern, how in RULES[component] if re.fullmatch(pattern, module)), WHOLE)
    axes: list[str | None] = [None] * ndim
    if how == BY_OUTPUTS and (in_few_bits or leaf in ("kernel", "bias")):
        axes[0 if in_few_bits else -1] = "tensor"
    if how == BY_INPUTS and (ndim == 2 if in_few_bits else leaf in ("kernel", "embedding")):
        axes[-1 if in_few_bits else 0] = "tensor"
    return tuple(axes)


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
    return _along(mesh, "data", "sequence")


def _along(mesh: Mesh | AbstractMesh, *axes: str | None) -> NamedSharding:
    """Split so; axes of one device go without a name.

    So they do in what a program gives, and another that was compiled for arrays with the name is not found for it.
    """
    return NamedSharding(mesh, P(*(axis if axis and mesh.shape[axis] > 1 else None for axis in axes)))


def replicated(mesh: Mesh) -> NamedSharding:
    """Where what every device needs whole lies."""
    return NamedSharding(mesh, P())


@dataclass(frozen=True)
class Places:
    """Where everything of a model lies: on one device, or on a mesh of them.

    Args:
        on: a device, a mesh with this module's axes, or the sizes of one.

    Raises:
        RequestError: there are not as many devices, or the mesh has other axes.
    """

    on: jax.Device | Mesh

    @classmethod
    def of(cls, on: jax.Device | Mesh | MeshSizes | None) -> Places:
        """The same of sizes, too; of None, JAX's first device."""
        if isinstance(on, MeshSizes):
            return cls(make_mesh(on))
        if isinstance(on, Mesh) and set(on.axis_names) != set(AXES):
            raise RequestError(f"The mesh has the axes {on.axis_names}; expected {', '.join(AXES)}.")
        return cls(on or jax.local_devices()[0])

    @property
    def device(self) -> jax.Device:
        """One that this process can reach."""
        return self.devices[0]

    @property
    def devices(self) -> list[jax.Device]:
        """All of them that this process can reach."""
        return list(self.on.local_devices) if isinstance(self.on, Mesh) else [self.on]

    @property
    def count(self) -> int:
        """Of devices, of all processes."""
        return self.on.size if isinstance(self.on, Mesh) else 1

    @property
    def sizes(self) -> MeshSizes | None:
        """Of the mesh, if it is one."""
        return MeshSizes(**self.on.shape) if isinstance(self.on, Mesh) else None

    @property
    def whole(self) -> Sharding:
        """What every device has a copy of."""
        return replicated(self.on) if isinstance(self.on, Mesh) else jax.sharding.SingleDeviceSharding(self.on)

    def weights(self, component: Component) -> Placement:
        """Where each leaf of a network goes."""
        return partial(weight_sharding, self.on, component) if isinstance(self.on, Mesh) else on_device(self.on)

    def __str__(self) -> str:
        kind = self.device.platform if self.device.platform == "cpu" else self.device.device_kind
        return f"{self.count} x {kind}" if self.count > 1 else kind

    def latents(self, batch_size: int, rows: int) -> Sharding:
        """Where packed latents [B, rows, columns, C] go; errors as of `latents_sharding`."""
        return latents_sharding(self.on, batch_size, rows) if isinstance(self.on, Mesh) else self.whole

    def pictures(self, batch_size: int) -> Sharding:
        """Where pictures [B, ...] go that are decoded together: each to a device, if that comes out even."""
        if isinstance(self.on, Mesh) and batch_size % self.on.shape["data"] == 0:
            return _along(self.on, "data")
        return self.whole

    @property
    def pictures_at_once(self) -> int:
        """How many are decoded in the time of one."""
        return self.on.shape["data"] if isinstance(self.on, Mesh) else 1
