"""From the tensors that a LoRA file has for one module to what they change in the network here.

Others' weights are [out, in]: their difference is alpha / rank up @ down (LoRA), alpha / rank (a1 b1) * (a2 b2) (LoHa,
Hyeon-Woo et al. 2022, arXiv:2108.06098), kron(w1, w2) (LoKr, Yeh et al. 2024, arXiv:2309.14859), or given whole. Here
they are turned. Knows shapes and factors, and neither names of modules nor files; numbers are read when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from flux_engine.weights.deltas import Dense, KernelDelta, Kronecker, LowRank, Term, VectorDelta
from flux_engine.weights.lora_names import Target
from flux_engine.weights.lora_settings import Factors
from flux_engine.weights.tensor_files import Tensor

Parts = Mapping[str, Tensor]
Factor = Callable[[int], float]  # of a product, from its rank
IMG_IN = ("img_in",)
UNSUPPORTED = {
    "tucker": "Tucker's form is one of convolutions, and FLUX has none",
    "glora": "GLoRA multiplies the model's own weights, which is not done here",
}


class Misfit(Exception):
    """What a file has for a module is no change of it: the kind of fault, as in `WeightsMismatch.faults`, and why."""

    def __init__(self, kind: str, why: str) -> None:
        super().__init__(why)
        self.kind, self.why = kind, why


def deltas(target: Target, parts: Parts, factors: Factors) -> tuple[list[KernelDelta], list[VectorDelta]]:
    """All that the parts change in the module. No number is read.

    Args:
        target: the module.
        parts: tensors by the names of `lora_names.split`.
        factors: those that hold where there is no `alpha` among them.

    Raises:
        Misfit: a part is missing, belongs to no leaf of this module, or has another shape.
    """
    _check_parts(target, parts)
    kernels = [
        make(target, parts, _factor(parts, factors.lora if make is _low_rank else lambda rank: factors.lycoris()))
        for family, make in _FAMILIES.items()
        if target.has_kernel and not parts.keys().isdisjoint(family)
    ]
    magnitude = _magnitude(target, parts) if "magnitude" in parts else None
    if magnitude and len(kernels) != 1:
        raise Misfit("incomplete", f"it has magnitudes for {len(kernels)} changes; expected 1")
    place = (target.component, target.module, target.start, target.stop)
    return [KernelDelta(*place, read, magnitude) for read in kernels], list(_vectors(target, parts, factors))


def is_widened(target: Target, parts: Parts) -> bool:
    """Whether a LoRA of Canny or Depth gives img_in more inputs than the model has, for a control picture."""
    return target.module == IMG_IN and "down" in parts and _shape(parts["down"])[-1] > target.inputs


def _check_parts(target: Target, parts: Parts) -> None:
    for part, why in UNSUPPORTED.items():
        if part in parts:
            raise Misfit("unused", why)
    integers = [part for part, tensor in parts.items() if tensor.dtype.kind in "iub" and part not in _NOTES]
    if integers:
        raise Misfit("not floating-point", f"{integers[0]} is {parts[integers[0]].dtype.name}")
    if parts.keys() <= _NOTES and not (parts.keys() == {"reshape"} and target.module == IMG_IN):
        raise Misfit("incomplete", f"it has only {', '.join(sorted(parts))}")
    homeless = {
        "a kernel": not target.has_kernel and parts.keys() & _OF_KERNELS,
        "a bias": not target.has_bias and parts.keys() & {"up_bias", "diff_bias"},
        "a scale": not target.has_scale and parts.keys() & {"replacement"},
        "a kernel or a scale": not (target.has_kernel or target.has_scale) and parts.keys() & {"diff"},
    }
    for leaf, lost in homeless.items():
        if lost:
            raise Misfit("unused", f"{', '.join(sorted(lost))}: this module has not {leaf}")


# Products and whole differences of kernels


def _low_rank(target: Target, parts: Parts, factor: Factor) -> Callable[[], Term]:
    down, up = _both(parts, "down", "up")
    rank = _inner(up, down)
    inputs = min(down.shape[1], target.inputs) if is_widened(target, parts) else down.shape[1]
    _check(target, inputs, up.shape[0])

    def read() -> Term:
        # What a control picture would be multiplied by is left out: there is none.
        return LowRank(_turned(_numbers(down)[:, :inputs]), _swapped(target, factor(rank) * _numbers(up).T))

    return read


def _hadamard(target: Target, parts: Parts, factor: Factor) -> Callable[[], Term]:
    a1, b1 = _both(parts, "hada_w1_a", "hada_w1_b")
    a2, b2 = _both(parts, "hada_w2_a", "hada_w2_b")
    ranks = _inner(a1, b1), _inner(a2, b2)
    if (a1.shape[0], b1.shape[1]) != (a2.shape[0], b2.shape[1]):
        raise Misfit("misshapen", f"its factors are {_product(a1, b1)} and {_product(a2, b2)}")
    _check(target, b1.shape[1], a1.shape[0])

    def read() -> Term:
        x1, y1, x2, y2 = (_numbers(tensor) for tensor in (a1, b1, a2, b2))
        x1 = factor(ranks[0]) * x1
        if 2 * ranks[0] * ranks[1] > min(target.inputs, target.outputs):
            return Dense(_swapped(target, ((x1 @ y1) * (x2 @ y2)).T))
        # Exactly as much as one product: columns of a1 times those of a2, each with each, and so the rows of b1 and b2.
        up = (x1[:, :, None] * x2[:, None, :]).reshape(len(x1), -1)
        down = (y1[:, None, :] * y2[None, :, :]).reshape(-1, y1.shape[1])
        return LowRank(_turned(down), _swapped(target, up.T))

    return read


def _kronecker(target: Target, parts: Parts, factor: Factor) -> Callable[[], Term]:
    first, second = _kronecker_factor(parts, "1"), _kronecker_factor(parts, "2")
    (out1, in1), (out2, in2) = _product(*first), _product(*second)
    _check(target, in1 * in2, out1 * out2)
    ranks = [_inner(*tensors) for tensors in (second, first) if len(tensors) == 2]  # ComfyUI asks the second first
    is_whole = not ranks and "alpha" in parts  # there is no rank for it; LyCORIS writes any number

    def read() -> Term:
        left, right = (_multiplied(*tensors) for tensors in (first, second))
        left = (1.0 if is_whole else factor(ranks[0] if ranks else 1)) * left
        if not target.halves_swapped or out1 % 2 == 0:
            return Kronecker(_swapped(target, left.T), _turned(right))
        return Dense(_swapped(target, np.kron(left, right).T))

    return read


def _dense(target: Target, parts: Parts, factor: Factor) -> Callable[[], Term]:
    diff = parts["diff"]
    outputs, inputs = _product(diff)
    _check(target, inputs, outputs)
    return lambda: Dense(_swapped(target, _numbers(diff).T))


_LOKR = frozenset(f"lokr_w{x}" for x in ("1", "1_a", "1_b", "2", "2_a", "2_b"))
_FAMILIES: dict[frozenset[str], Callable[[Target, Parts, Factor], Callable[[], Term]]] = {
    frozenset({"down", "up"}): _low_rank,
    frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}): _hadamard,
    _LOKR: _kronecker,
    frozenset({"diff"}): _dense,
}
_NOTES = frozenset({"alpha", "reshape"})  # say something of other parts
_OF_KERNELS = frozenset({"magnitude"}).union(*_FAMILIES) - {"diff"}


def _factor(parts: Parts, otherwise: Factor) -> Factor:
    """alpha / rank, where there is an alpha."""
    if "alpha" not in parts:
        return otherwise
    alpha = parts["alpha"]
    if alpha.shape not in ((), (1,)):
        raise Misfit("misshapen", f"alpha is {list(alpha.shape)}; expected one number")
    return lambda rank: float(_numbers(alpha).reshape(())) / rank


def _magnitude(target: Target, parts: Parts) -> Callable[[], np.ndarray]:
    """PEFT has [out], LyCORIS [out, 1] or [1, in]."""
    tensor = parts["magnitude"]
    if tensor.shape in ((target.outputs,), (target.outputs, 1)):
        return lambda: _swapped(target, _numbers(tensor).reshape(1, -1))
    if tensor.shape == (1, target.inputs):
        return lambda: _turned(_numbers(tensor))
    raise Misfit("misshapen", f"its magnitudes are {list(tensor.shape)}; expected [{target.outputs}]")


def _kronecker_factor(parts: Parts, which: str) -> tuple[Tensor, ...]:
    whole = parts.get(f"lokr_w{which}")
    return (whole,) if whole else _both(parts, f"lokr_w{which}_a", f"lokr_w{which}_b")


# Biases and scales


def _vectors(target: Target, parts: Parts, factors: Factors) -> list[VectorDelta]:
    found = []

    def add(leaf: str, part: str, factor: Callable[[], float] = lambda: 1.0, replaces: bool = False) -> None:
        tensor, place = parts[part], (target.component, (*target.module, leaf), target.start, target.stop)
        if tensor.shape != (target.outputs,):
            raise Misfit("misshapen", f"{part} is {list(tensor.shape)}; expected [{target.outputs}]")
        found.append(VectorDelta(*place, lambda: _swapped(target, factor() * _numbers(tensor)), replaces))

    if "up_bias" in parts:  # added by PEFT before the product is multiplied by its factor
        up, _ = _both(parts, "up", "down")
        factor = _factor(parts, factors.lora)
        add("bias", "up_bias", lambda: factor(up.shape[1]))
    if "diff_bias" in parts:
        add("bias", "diff_bias")
    if "diff" in parts and not target.has_kernel:
        add("scale", "diff")
    if "replacement" in parts:
        add("scale", "replacement", replaces=True)
    return found


# Shapes and numbers


def _both(parts: Parts, first: str, second: str) -> tuple[Tensor, Tensor]:
    missing = [part for part in (first, second) if part not in parts]
    if missing:
        raise Misfit("incomplete", f"{' and '.join(missing)} missing")
    return parts[first], parts[second]


def _shape(tensor: Tensor) -> tuple[int, int]:
    if len(tensor.shape) != 2 or 0 in tensor.shape:
        raise Misfit("misshapen", f"it has a tensor {list(tensor.shape)}; expected a matrix")
    return tensor.shape[0], tensor.shape[1]


def _inner(left: Tensor, right: Tensor) -> int:
    """The rank of left @ right."""
    rank = _shape(left)[1]
    if rank != _shape(right)[0]:
        raise Misfit("misshapen", f"{list(left.shape)} and {list(right.shape)} have no product")
    return rank


def _product(*tensors: Tensor) -> tuple[int, int]:
    """The shape of a matrix, or of a product of two."""
    if len(tensors) == 2:
        _inner(*tensors)
    return _shape(tensors[0])[0], _shape(tensors[-1])[1]


def _check(target: Target, inputs: int, outputs: int) -> None:
    if (inputs, outputs) != (target.inputs, target.outputs):
        raise Misfit(
            "misshapen", f"it changes [{outputs}, {inputs}] weights; the model has [{target.outputs}, {target.inputs}]"
        )


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.read().astype(np.float32)


def _multiplied(*tensors: Tensor) -> np.ndarray:
    first, *others = (_numbers(tensor) for tensor in tensors)
    return first @ others[0] if others else first


def _turned(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.T)


def _swapped(target: Target, array: np.ndarray) -> np.ndarray:
    """Outputs, along the last axis, in the order of the network here."""
    return np.ascontiguousarray(np.roll(array, array.shape[-1] // 2, axis=-1) if target.halves_swapped else array)
