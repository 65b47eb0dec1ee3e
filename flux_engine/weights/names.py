"""Where each weight of a network lies in a checkpoint. Tables and tuples only: no file, no array.

A network's own path and the stored one are the same names, but for two things. Repeated blocks are one module whose
leaves have a leading axis [N, ...]; they are stored as N leaves, one block each:

    double_blocks.attn.img_qkv.kernel [N, D, 3D]   <->   double_blocks.<i>.attn.img_qkv.kernel [D, 3D]

And T5's position bias, which every block adds, is stored inside the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

LeafPath = tuple[str, ...]

# Attributes that hold stacked blocks.
STACKS: dict[str, tuple[str, ...]] = {
    "transformer": ("double_blocks", "single_blocks"),
    "vae": (),
    "clip_text": ("layers",),
    "t5_text": ("blocks",),
}

# Own path -> stored path, where a leaf lives elsewhere.
MOVED: dict[str, dict[LeafPath, LeafPath]] = {
    "t5_text": {
        ("relative_attention_bias", "embedding"): ("blocks", "0", "self_attn", "relative_attention_bias", "embedding"),
    },
}

# The transformer's maps that read time, guidance and pooled text alone.
_MODULATION = re.compile(r"img_mod|txt_mod|modulation")

# jcopo/diffuse stores a scale for norms that have none in FLUX.
_FOREIGN_SCALE = re.compile(
    r"double_blocks\.\d+\.(img|txt)_norm[12]\.scale|single_blocks\.\d+\.norm\.scale|final_layer\.norm\.scale"
)


def path_of(keys: Iterable[Any]) -> LeafPath:
    """The path that JAX's keys to a leaf of a network's state mean: without flax's `value`, indices as text."""
    names = (str(key.key if hasattr(key, "key") else key.name) for key in keys)
    return tuple(name for name in names if name != "value")


def is_stacked(component: str, path: LeafPath) -> bool:
    """Whether the network's leaf at `path` holds one slice per block."""
    return path[0] in STACKS[component]


def is_modulation(component: str, path: LeafPath) -> bool:
    """Whether the network's leaf at `path` belongs to the modulation of its stacked blocks."""
    return component == "transformer" and is_stacked(component, path) and _MODULATION.fullmatch(path[1]) is not None


def is_large(path: LeafPath) -> bool:
    """Whether the leaf at `path` is a kernel, or the values of one in few bits.

    The scales of 4 bits are a sixteenth of those in size; all else is a thousandth or so.
    """
    return path[-1] == "kernel" or path[-2:] == ("kernel", "values")


def stored_path(component: str, path: LeafPath, block: int | None = None) -> LeafPath:
    """Where the leaf at `path`, or its slice number `block` if it is stacked, is stored."""
    if block is None:
        return MOVED.get(component, {}).get(path, path)
    return (path[0], str(block), *path[1:])


def own_path(component: str, stored: LeafPath) -> tuple[LeafPath, int | None]:
    """The path that a stored leaf or module has in the network, and its block's number if it is stacked."""
    for own, elsewhere in MOVED.get(component, {}).items():
        if stored == elsewhere:
            return own, None
    if stored[0] in STACKS[component]:
        return (stored[0], *stored[2:]), int(stored[1])
    return stored, None


def is_foreign(component: str, stored: LeafPath) -> bool:
    """Whether a stored leaf is one of those scales, which belong to no weight here."""
    return component == "transformer" and _FOREIGN_SCALE.fullmatch(".".join(stored)) is not None
