"""Weights in other programs' files, as the leaves that a network here expects: renamed, turned, put side by side.

Knows which tensors make which leaf, and what sizes they imply. Opens no file and allocates nothing until it is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flux_engine.configs import CONFIGS, Component, NetworkConfig
from flux_engine.errors import UnsupportedVariant, WeightsMismatch
from flux_engine.weights.casting import BFLOAT16, FLOAT32, bits, cast, empty, is_fp8
from flux_engine.weights.formats import FORMATS, Format, Place, is_carried, places, prefix_of
from flux_engine.weights.names import LeafPath
from flux_engine.weights.tensor_files import Tensor

SCALED_FP8 = "scaled_fp8"  # a tensor that only marks a file as such
FACTOR, FOR_INPUT = "scale_weight", "scale_input"
ROWS = 128  # turned at once: all at once it takes five times as long, for want of cache
CONVOLUTION = (2, 3, 1, 0)  # OIHW -> HWIO


@dataclass(frozen=True, eq=False)
class ForeignLeaf:
    """A leaf as a file has it, in parts that lie side by side along its last axis.

    Attributes:
        shape: as the network here has it.
        dtype: the widest of its parts.
    """

    parts: Sequence[tuple[Place, Tensor]]
    shape: tuple[int, ...]
    dtype: np.dtype
    is_kernel: bool

    @property
    def kind(self) -> str:
        """What its parts are stored as, for people."""
        return "+".join(sorted({tensor.kind for _, tensor in self.parts}))

    def read_into(self, target: np.ndarray) -> None:
        """Fill `target`, C-contiguous; a few rows of a matrix, or a part of anything else, are in memory beside it."""
        if not self.is_kernel and len(self.parts) == 1 and not self.parts[0][0].halves_swapped:
            return self.parts[0][1].read_into(target.reshape(self.parts[0][1].shape))
        places, end = bits(target).reshape(-1, self.shape[-1]), 0
        for place, tensor in self.parts:
            start, end = end, end + tensor.shape[0]
            if self.is_matrix:
                _put_turned(places[:, start:end], tensor, place, target.dtype)
            else:
                part = bits(tensor.read(target.dtype))
                part = np.roll(part, len(part) // 2) if place.halves_swapped else part
                part = part.transpose(CONVOLUTION) if part.ndim == 4 else part
                places[:, start:end] = part.reshape(-1, end - start)
        return None

    @property
    def is_matrix(self) -> bool:
        """Whether its parts come as [out, in], to be turned."""
        return self.is_kernel and len(self.parts[0][1].shape) == 2


def _put_turned(target: np.ndarray, tensor: Tensor, place: Place, dtype: np.dtype) -> None:
    """Write a tensor [out, in] into `target` [in, out], the bits of an array of that type."""
    out = tensor.shape[0]
    half = out // 2 if place.halves_swapped else 0
    for first, last, to in ((0, out - half, half), (out - half, out, 0)):
        for start in range(first, last, ROWS):
            stop = min(start + ROWS, last)
            target[:, to + start - first : to + stop - first] = bits(tensor.rows(start, stop, dtype)).T


class ForeignWeights:
    """One network's weights in files of another program.

    Args:
        form: whose names they are.
        tensors: by their names, those of this network only, without a prefix.
        sizes: what a config.json beside them says, in the words of `flux_engine.configs`; what the shapes say holds.
        origin: file or folder, for messages.

    Raises:
        WeightsMismatch: a tensor that tells a size is missing, or `sizes` contradict the shapes.
        UnsupportedVariant: the network is a relative of FLUX.1 that cannot be run yet.
    """

    scales: Mapping[LeafPath, tuple[int, ...]] = {}  # what has a factor is multiplied by it as it is read

    def __init__(self, form: Format, tensors: Mapping[str, Tensor], sizes: Mapping[str, Any], origin: str) -> None:
        self.form, self.component, self.origin = form, form.component, origin
        self.files = {tensor.file for tensor in tensors.values()}
        self.leaves, self.unknown = leaves_and_unknown(form, tensors)
        self.config = self._config(sizes)

    def read(self, paths: Sequence[LeafPath], dtype: np.dtype) -> list[np.ndarray]:
        """Arrays at `paths` as `dtype`."""
        arrays = [empty(self.leaves[path].shape, np.dtype(dtype)) for path in paths]
        for path, array in zip(paths, arrays, strict=True):
            self.read_into(path, array)
        return arrays

    def read_into(self, path: LeafPath, target: np.ndarray) -> None:
        """The array at `path` into another of its shape and any type, C-contiguous."""
        self.leaves[path].read_into(target)

    def _config(self, sizes: Mapping[str, Any]) -> NetworkConfig:
        try:
            implied = _SIZES[self.component](self.leaves)
        except KeyError as error:
            raise WeightsMismatch(
                f"{self.component}: {self.origin} has no {'.'.join(error.args[0])}, which tells the network's size.",
                hint="Is a part of the download missing?",
            ) from None
        except (ValueError, IndexError, ZeroDivisionError):
            raise WeightsMismatch(
                f"{self.component}: the shapes in {self.origin} are not those of this network.",
                hint="Download the file again, or take another one.",
            ) from None
        for name, value in sizes.items():
            if name in implied and implied[name] != value:
                raise WeightsMismatch(
                    f"{self.component}: config.json says {name} {value}, but the weights in {self.origin} have"
                    f" {implied[name]}.",
                    hint="Config and weights come from different models.",
                )
        return CONFIGS[self.component].from_dict({**_assumed(self.component, implied), **sizes, **implied})


def leaves_and_unknown(form: Format, tensors: Mapping[str, Tensor]) -> tuple[dict[LeafPath, ForeignLeaf], list[str]]:
    """The leaves of which all parts are there, and the names that mean nothing in this format."""
    tensors = _scaled(_without_aliases(form, tensors))
    found: dict[LeafPath, dict[int, tuple[Place, Tensor]]] = {}
    unknown = []
    for name, place in places(form, tensors):
        if place is not None:
            found.setdefault(place.path(len(tensors[name].shape)), {})[place.part] = place, tensors[name]
        elif not is_carried(form, name):
            unknown.append(name)
    complete = {path: [parts[part] for part in sorted(parts)] for path, parts in found.items()}
    # What lacks a part is missing, and is told so by the leaf's own name.
    leaves = {path: _joined(path, parts) for path, parts in complete.items() if len(parts) == parts[0][0].parts}
    return leaves, unknown


def networks_in(tensors: Mapping[str, Tensor], origin: str) -> dict[Component, tuple[Format, dict[str, Tensor]]]:
    """Which networks a file holds, and each one's tensors without their prefix.

    Raises:
        WeightsMismatch: tensors are left that belong to none of them.
    """
    found: dict[Component, tuple[Format, dict[str, Tensor]]] = {}
    left = dict(tensors)
    for form in FORMATS:
        prefix = prefix_of(form, tensors)
        if prefix is not None:
            others = [p for p in form.prefixes if p]
            mine = {
                name: tensor
                for name, tensor in left.items()
                if name.startswith(prefix) and (prefix or not any(name.startswith(p) for p in others))
            }
            left = {name: tensor for name, tensor in left.items() if name not in mine}
            found[form.component] = form, {name[len(prefix) :]: tensor for name, tensor in mine.items()}
    forms = [form for form, _ in found.values()]
    unclaimed = [name for name in left if not any(is_carried(form, name) for form in forms) and not _is_mark(name)]
    if found and unclaimed:
        raise WeightsMismatch(
            f"{origin} has {len(unclaimed)} tensors that belong to no network of FLUX, such as {unclaimed[0]}.",
            hint="It is another model, or a LoRA.",
            faults={"unused": unclaimed},
        )
    return found


def _is_mark(name: str) -> bool:
    return name.rpartition(".")[2] == SCALED_FP8


def _without_aliases(form: Format, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    tensors = dict(tensors)
    for module, alias in form.aliases.items():
        other = tensors.pop(f"{alias}.weight", None)
        if other is not None:
            tensors.setdefault(f"{module}.weight", other)
    return tensors


def _scaled(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights in fp8 with a factor beside them, multiplied by it; `scale_input` is for products in fp8."""
    plain = {name: tensor for name, tensor in tensors.items() if name.rpartition(".")[2] not in (SCALED_FP8, FOR_INPUT)}
    for name, scale in tensors.items():
        module, _, suffix = name.rpartition(".")
        weight = plain.get(f"{module}.weight")
        # A factor that fits no weight stays, as a name that means nothing.
        if suffix == FACTOR and weight is not None and scale.shape in _factor_shapes(weight):
            plain[f"{module}.weight"] = _times(weight, plain.pop(name))
    return plain


def _factor_shapes(weight: Tensor) -> tuple[tuple[int, ...], ...]:
    """One number for all, or one for each output."""
    return (), (1,), *([(weight.shape[0], 1)] if len(weight.shape) == 2 else [])


def _times(weight: Tensor, scale: Tensor) -> Tensor:
    factor = cache(lambda: scale.read(FLOAT32))

    def rows(start: int, stop: int, dtype: np.dtype) -> np.ndarray:
        stored = weight.rows(start, stop, weight.dtype)
        if math.prod(scale.shape) == 1:
            return cast(stored, dtype, factor())
        return cast(cast(stored, FLOAT32) * factor()[start:stop], dtype)

    return replace(weight, dtype=BFLOAT16, rows=rows)


def _joined(path: LeafPath, parts: Sequence[tuple[Place, Tensor]]) -> ForeignLeaf:
    is_kernel = path[-1] == "kernel"
    shapes = [_turned_shape(tensor.shape) if is_kernel else tensor.shape for _, tensor in parts]
    if any(not shape or shape[:-1] != shapes[0][:-1] for shape in shapes):
        return ForeignLeaf((), (), np.dtype(np.float32), is_kernel)  # none has no axes: it is told as misshapen
    shape = (*shapes[0][:-1], sum(shape[-1] for shape in shapes))
    if is_kernel and "attentions" in path and len(shape) == 2:
        shape = (1, 1, *shape)  # a convolution of one pixel here
    return ForeignLeaf(parts, shape, _widest(tensor.dtype for _, tensor in parts), is_kernel)


def _widest(dtypes: Iterable[np.dtype]) -> np.dtype:
    """Weights in fp8 count as bfloat16: they are stored in it, not meant to be computed in it."""
    dtype = jnp.result_type(*{BFLOAT16 if is_fp8(dtype) else dtype for dtype in dtypes})
    return np.dtype(jax.dtypes.canonicalize_dtype(dtype))


def _turned_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in CONVOLUTION) if len(shape) == 4 else shape[::-1]


# What shapes say of a network's sizes


Leaves = Mapping[LeafPath, ForeignLeaf]


def _shape(leaves: Leaves, path: str) -> tuple[int, ...]:
    return leaves[tuple(path.split("."))].shape  # KeyError: the path


def _count(leaves: Leaves, stack: str, depth: int) -> int:
    """How many blocks there are, by the highest number; those that are missing are told by their leaves."""
    return 1 + max((int(path[depth]) for path in leaves if ".".join(path).startswith(f"{stack}.")), default=-1)


def _transformer_sizes(leaves: Leaves) -> dict[str, Any]:
    in_channels, hidden_dim = _shape(leaves, "img_in.kernel")
    out_channels = _shape(leaves, "final_layer.linear.kernel")[1]
    if in_channels != out_channels:
        raise UnsupportedVariant(
            f"This transformer reads {in_channels} channels a token and gives {out_channels}: {_variant(in_channels)}.",
            hint="Take FLUX.1-dev, FLUX.1-schnell or FLUX.1-Krea-dev.",
        )
    head_dim = _shape(leaves, "double_blocks.0.attn.img_query_norm.scale")[0]
    return {
        "in_channels": in_channels,
        "hidden_dim": hidden_dim,
        "num_heads": hidden_dim // head_dim,
        "num_double_layers": _count(leaves, "double_blocks", 1),
        "num_single_layers": _count(leaves, "single_blocks", 1),
        "joint_attention_dim": _shape(leaves, "txt_in.kernel")[0],
        "pooled_projection_dim": _shape(leaves, "vector_in.in_layer.kernel")[0],
        "mlp_ratio": _shape(leaves, "double_blocks.0.img_mlp.fc1.kernel")[1] / hidden_dim,
        "guidance_embeds": ("guidance_in", "in_layer", "kernel") in leaves,
    }


def _variant(in_channels: int) -> str:
    relatives = {128: "FLUX.1 Canny or Depth, which need a control picture", 384: "FLUX.1 Fill, which needs a picture"}
    return relatives.get(in_channels, "none of the FLUX.1 models known here")


def _vae_sizes(leaves: Leaves) -> dict[str, Any]:
    levels = _count(leaves, "encoder.down_blocks", 2)
    down = [f"encoder.down_blocks.{level}" for level in range(levels)]
    return {
        "in_channels": _shape(leaves, "encoder.conv_in.kernel")[2],
        "latent_channels": _shape(leaves, "decoder.conv_in.kernel")[2],
        "block_out_channels": tuple(_shape(leaves, f"{level}.resnets.0.conv1.kernel")[3] for level in down),
        "layers_per_block": _count(leaves, "encoder.down_blocks.0.resnets", 4),
    }


def _clip_sizes(leaves: Leaves) -> dict[str, Any]:
    vocab_size, hidden_size = _shape(leaves, "token_embedding.embedding")
    return {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "intermediate_size": _shape(leaves, "layers.0.mlp.fc1.kernel")[1],
        "num_hidden_layers": _count(leaves, "layers", 1),
        "max_position_embeddings": _shape(leaves, "position_embedding.embedding")[0],
    }


def _t5_sizes(leaves: Leaves) -> dict[str, Any]:
    vocab_size, d_model = _shape(leaves, "embed_tokens.embedding")
    buckets, num_heads = _shape(leaves, "blocks.0.self_attn.relative_attention_bias.embedding")
    return {
        "vocab_size": vocab_size,
        "d_model": d_model,
        "d_ff": _shape(leaves, "blocks.0.feed_forward.DenseReluDense.wi_0.kernel")[1],
        "num_layers": _count(leaves, "blocks", 1),
        "num_heads": num_heads,
        "d_kv": _shape(leaves, "blocks.0.self_attn.q.kernel")[1] // num_heads,
        "relative_attention_num_buckets": buckets,
    }


def _assumed(component: Component, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """What no shape tells, of a file without a config.json, in FLUX.1's proportions."""
    if component == "transformer":
        head_dim = sizes["hidden_dim"] // sizes["num_heads"]
        return {"axes_dims_rope": (head_dim // 8, head_dim * 7 // 16, head_dim * 7 // 16)}
    if component == "clip_text":
        return {"num_attention_heads": max(sizes["hidden_size"] // 64, 1)}
    return {}


_SIZES: dict[Component, Callable[[Leaves], dict[str, Any]]] = {
    "transformer": _transformer_sizes,
    "vae": _vae_sizes,
    "clip_text": _clip_sizes,
    "t5_text": _t5_sizes,
}
