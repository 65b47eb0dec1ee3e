"""LoRA files of every program, as changes of the networks here. What a file is, its tensors' names and shapes say.

diffusers and PEFT (ai-toolkit, SimpleTuner, fal), kohya's sd-scripts, OneTrainer, ComfyUI, XLabs, Black Forest Labs'
control LoRAs, LyCORIS (LoKr, LoHa, whole differences, norms), each with DoRA's magnitudes where it has them; a file may
mix them, and networks too. Every tensor is used or named in one error: nothing is dropped in silence.

Knows files and faults; `lora_names` knows what modules are called, `lora_terms` what their tensors mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flux_engine.configs import Component
from flux_engine.errors import WeightsMismatch
from flux_engine.weights.deltas import KernelDelta, VectorDelta
from flux_engine.weights.faults import listed
from flux_engine.weights.lora_metadata import printable, read_metadata, trigger_words
from flux_engine.weights.lora_names import (
    WHOLE,
    Names,
    Shapes,
    Target,
    is_unused_here,
    other_model,
    plain_module,
    split,
)
from flux_engine.weights.lora_settings import AdapterSettings
from flux_engine.weights.lora_terms import Misfit, deltas, is_widened
from flux_engine.weights.tensor_files import Tensor, read_tensors

__all__ = ["Lora", "open_lora", "read_metadata", "trigger_words"]

CONTROL_WARNING = (
    "It was made for a control picture (Canny or Depth), which cannot be given yet: what it does with one is left out."
)
PROJECTION_WARNING = "What it changes in CLIP's text projection is left out: FLUX does not use that layer."


@dataclass(frozen=True, eq=False)
class Lora:
    """A LoRA file whose header is read; its numbers are read by its changes.

    Attributes:
        file: where it is.
        name: for people.
        metadata: what its trainer wrote beside the tensors.
        kernels, vectors: all that it changes.
        unknown: names of what was left out, and why; only where that was asked for.
        warnings: sentences for a person.
    """

    file: Path
    name: str
    metadata: Mapping[str, str]
    kernels: tuple[KernelDelta, ...]
    vectors: tuple[VectorDelta, ...]
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def components(self) -> frozenset[Component]:
        """The networks that it changes."""
        return frozenset({delta.component for delta in self.kernels} | {delta.component for delta in self.vectors})


def open_lora(file: Path, shapes: Mapping[Component, Shapes], *, lenient: bool = False) -> Lora:
    """Read what a LoRA changes; see `Lora`. Its header is read, and no tensor.

    Args:
        file: a .safetensors file.
        shapes: of all leaves as they are stored (`checkpoint.stored_shapes`), of the networks that it may change.
        lenient: leave out what has no place in these networks, lacks a part or has another shape, and say so.

    Raises:
        CheckpointNotFound: there is no such file, or it may not be read.
        CheckpointCorrupt: it is damaged, or no safetensors file.
        WeightsMismatch: tensors have no place in these networks, lack a part or have another shape; all of them are
            listed. Leniently, too: it has nothing for these networks.
    """
    tensors = read_tensors(file)
    metadata = read_metadata(file)
    found = _Findings(Names(shapes), AdapterSettings(metadata, file))
    modules = found.by_module(tensors)
    # Of a module that is there under two names, diffusers takes the one with dots.
    for module in sorted(modules, key=lambda module: "." not in module):
        found.take(module, modules[module])
    left_out = {fault: [printable(name) for name in names] for fault, names in found.faults.items()}
    warnings = list(found.warnings)
    if left_out:
        other = other_model(tensors, found.strange)
        if not lenient or other == WHOLE or not (found.kernels or found.vectors):
            raise _mismatch(file, other, found, left_out)
        warnings.append(f"Left out of {printable(file.name)}: {listed(left_out)}.")
    elif not (found.kernels or found.vectors):
        raise WeightsMismatch(f"{file} changes nothing in this model.", hint="Take another LoRA.")
    return Lora(
        file=file,
        name=printable(file.stem),
        metadata=metadata,
        kernels=tuple(found.kernels),
        vectors=tuple(found.vectors),
        unknown=tuple(name for names in left_out.values() for name in names),
        warnings=tuple(warnings),
    )


class _Findings:
    """What is found in a file, module by module: changes, faults by kind, and what a person should know."""

    def __init__(self, names: Names, settings: AdapterSettings) -> None:
        self._names, self._settings = names, settings
        self._taken: dict[Target, str] = {}
        self.kernels: list[KernelDelta] = []
        self.vectors: list[VectorDelta] = []
        self.faults: dict[str, list[str]] = {}
        self.warnings: dict[str, None] = {}
        self.strange: list[str] = []  # names of modules that these networks have not

    def by_module(self, tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        """Tensors by their modules' names and their parts'; what is no part of a change is a fault."""
        modules: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            module, part = split(name) or ("", "")
            if not part or part in modules.setdefault(module, {}):
                self._fault("unused", name)
                self.strange.append(name)
            else:
                modules[module][part] = tensor
        return modules

    def take(self, module: str, parts: Mapping[str, Tensor]) -> None:
        """Take a module's parts for what they are, or note what is wrong with them."""
        target = self._names.target(module)
        if is_unused_here(module):
            self.warnings[PROJECTION_WARNING] = None
        elif target is None:
            self._fault("unused", f"{module} ({', '.join(parts)})")
            self.strange.append(module)
        elif (first := self._taken.setdefault(target, module)) != module:
            self._fault("unused", f"{module} ({first} changes the same)")
        else:
            self._take(target, module, parts)

    def _take(self, target: Target, module: str, parts: Mapping[str, Tensor]) -> None:
        try:
            kernels, vectors = deltas(target, parts, self._settings.of(target.component, plain_module(module)))
        except Misfit as misfit:
            self._fault(misfit.kind, f"{module} ({misfit.why})")
            return
        self.kernels += kernels
        self.vectors += vectors
        if kernels and is_widened(target, parts):
            self.warnings[CONTROL_WARNING] = None

    def _fault(self, kind: str, name: str) -> None:
        self.faults.setdefault(kind, []).append(name)


def _mismatch(file: Path, other: str, found: _Findings, faults: Mapping[str, list[str]]) -> WeightsMismatch:
    """The one error for all faults of a file; `other` is what it seems to be for, "" if that is not known."""
    if other == WHOLE:
        return WeightsMismatch(
            f"{file} is a whole model, no LoRA.", hint="Give it as the checkpoint instead.", faults=faults
        )
    if not found.kernels and not found.vectors:
        what = f"it seems to be for {other}" if other else "nothing in it fits"
        return WeightsMismatch(
            f"{file} is no LoRA for this model: {what}; {listed(faults)}.",
            hint="Take a LoRA that was trained for FLUX.1.",
            faults=faults,
        )
    what = f" It seems to be for {other}." if other else ""
    return WeightsMismatch(
        f"{file} does not fit this model: {listed(faults)}.{what}",
        hint="Take another LoRA, or use what fits with --lora-lenient.",
        faults=faults,
    )
