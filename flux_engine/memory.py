"""Which networks are on the device, and with which LoRAs. Knows files and devices, and nothing of what is computed.

A LoRA is either computed beside the weights, which stay as they were read, or fused with them, and then they are read
again for every other choice. Weights are deleted, not dropped: cycles in flax would keep them until garbage is next
collected. What need not be on the device all the time waits where the residency says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath

import jax
import jax.numpy as jnp
from flax import nnx

from flux_engine.configs import Component
from flux_engine.errors import RequestError
from flux_engine.request import LoraUse, WeightKind
from flux_engine.residency import ENCODERS, Residency
from flux_engine.sharding import Places
from flux_engine.weights.checkpoint import Network, load_network, named_leaves, rebuilt
from flux_engine.weights.lora_apply import Placed, attach, place
from flux_engine.weights.lora_fuse import fuse
from flux_engine.weights.lora_metadata import printable
from flux_engine.weights.open_loras import OpenLora, OpenLoras
from flux_engine.weights.placing import HOST, Placement, laid, part_bytes
from flux_engine.weights.sources import Checkpoint

LORA_COMPONENTS: tuple[Component, ...] = ("transformer", "clip_text", "t5_text")
Split = tuple[nnx.GraphDef, nnx.State]
OnRead = Callable[[float], None]
Recipe = tuple[bool, tuple[tuple[str, float], ...]] | tuple[()]
"""What is added to a network's weights: whether into them, and which files' hashes with which strengths."""


@dataclass(frozen=True)
class Choice:
    """Which LoRAs are wanted, and how."""

    uses: tuple[LoraUse, ...] = ()
    files: tuple[OpenLora, ...] = ()
    fused: bool = False

    def of(self, component: Component) -> list[tuple[OpenLora, float]]:
        """Those that change one network, each with its strength."""
        chosen = zip(self.files, self.uses, strict=True)
        return [(file, use.strength) for file, use in chosen if component in file.lora.components]

    def recipe(self, component: Component) -> Recipe:
        """What tells the network's results from those of another choice."""
        added = tuple((file.sha256, strength) for file, strength in self.of(component) if strength)
        return (self.fused, added) if added else ()


class Networks:
    """The networks of one checkpoint, read when they are asked for.

    Args:
        checkpoint: whose.
        places: where they compute.
        dtype: what they are kept in and compute in.
        verbose: say on stderr what is read and released.
        residency: what lies where; `settle` changes it.
        weights: how they are kept; see `flux_engine.weights.quantised`.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        places: Places,
        dtype: jnp.dtype,
        verbose: bool,
        residency: Residency | None = None,
        weights: WeightKind = "full",
    ) -> None:
        self._checkpoint, self._places, self._dtype, self._verbose = checkpoint, places, dtype, verbose
        self._weights: WeightKind = weights
        self.residency = residency or Residency()
        self._resident: dict[Component, _Resident] = {}
        self._files = OpenLoras({component: checkpoint.parts[component].config for component in LORA_COMPONENTS})
        self._choice = Choice()

    @property
    def loras(self) -> tuple[LoraUse, ...]:
        """What is in use, each with its file's hash."""
        return self._choice.uses

    @property
    def lora_warnings(self) -> tuple[str, ...]:
        """What a person should know about their files."""
        return tuple(warning for file in self._choice.files for warning in file.lora.warnings)

    def load(self, component: Component, on_read: OnRead = lambda fraction: None) -> Split:
        """A network with its LoRAs, read if it is not on the device. What `on_read` raises ends the reading."""
        if component not in self._resident:
            if component in ENCODERS and self.residency.encoders == "alone":
                self.release("transformer")
                self.release("vae")
            kind = self._dtype.name if self._weights == "full" else f"{self._dtype.name} and {self._weights}"
            self._log(f"loading {component} as {kind} onto {self._places}")
            network = load_network(
                self._checkpoint.parts[component].open(),
                placement=self._placement(component),
                dtype=self._dtype,
                param_dtype=self._dtype,
                weights=self._weights,
                on_read=on_read,
            )
            self._resident[component] = self._with_loras(network, component, lambda fraction: on_read(1.0))
        return self._resident[component].current

    def is_loaded(self, component: Component) -> bool:
        return component in self._resident

    @property
    def device_bytes(self) -> int:
        """What the weights take of each device, without LoRAs beside them."""
        return sum(part_bytes(leaf) for leaf in self._weights_there() if leaf.sharding.memory_kind != HOST)

    @property
    def host_bytes(self) -> int:
        """What they take of the machine's memory, where they wait."""
        waiting = [leaf for leaf in self._weights_there() if leaf.sharding.memory_kind == HOST]
        return sum(part.data.nbytes for leaf in waiting for part in leaf.addressable_shards)

    def _weights_there(self) -> list[jax.Array]:
        return [leaf for resident in self._resident.values() for leaf in jax.tree.leaves(resident.bare[1])]

    def release(self, component: Component) -> None:
        """Give a network's memory back now."""
        if (resident := self._resident.pop(component, None)) is not None:
            resident.delete()
            self._log(f"released {component}")

    def release_encoders(self) -> None:
        """A prompt is encoded: let the text encoders go, unless they are to stay."""
        if not self.residency.encoders_stay:
            for encoder in ENCODERS:
                self.release(encoder)

    def settle(self, residency: Residency) -> None:
        """Have weights lie as `residency` says from now on; those that are there already move.

        A network that cannot move, for want of memory, is released.
        """
        if residency == self.residency:
            return
        self.residency = residency
        self.release_encoders()
        for component, resident in list(self._resident.items()):
            try:
                resident.move(component, self._placement(component))
            except BaseException:  # some of its weights are gone from where they were
                self.release(component)
                raise
            if not resident.fused:
                resident.take([] if self._choice.fused else self._choice.of(component), {})

    def recipe(self, component: Component) -> Recipe:
        """What tells a network's results from those with other LoRAs."""
        return self._choice.recipe(component)

    def changing_loras(
        self, uses: Sequence[LoraUse], *, fused: bool, lenient: bool, on_read: OnRead = lambda fraction: None
    ) -> Generator[str, None, None]:
        """Have these LoRAs from now on; yields the name of each file before it is read.

        Files are opened, and networks that are on the device get what they lack; the change is made when all of that
        has gone well. Until then, and if it ends before, everything stays as it was.

        Raises:
            RequestError: a file is named twice, or is to be fused with weights in few bits.
            CheckpointError: a file cannot be used.
        """
        if fused and uses and self._weights != "full":
            raise RequestError(
                f"LoRAs are to be fused with weights in {self._weights}, which would round them; expected full ones.",
                hint="Leave lora_fuse out: beside the weights LoRAs work with every kind.",
            )
        if len({use.file for use in uses}) < len(uses):
            raise RequestError(f"{[use.file for use in uses]} names a LoRA twice.", hint="Add the strengths up.")
        files: list[OpenLora] = []
        placed: dict[Component, dict[OpenLora, Placed]] = {component: {} for component in LORA_COMPONENTS}
        try:
            for use in uses:
                file = self._files.find(use, lenient=lenient)
                if file is None:
                    yield printable(PurePath(use.file).stem)
                    file = self._files.open(use, lenient=lenient)
                files.append(file)
                for component, resident in self._resident.items():
                    if not fused and resident.lacks(file, component):
                        placed[component][file] = resident.place(file, component, on_read)
        except BaseException:
            for lora in (lora for of_one in placed.values() for lora in of_one.values()):
                lora.delete()
            raise
        named = tuple(replace(use, sha256=file.sha256) for use, file in zip(uses, files, strict=True))
        self._choice = Choice(named, tuple(files), fused)
        self._files.keep(files)
        self._follow(placed)

    def _follow(self, placed: dict[Component, dict[OpenLora, Placed]]) -> None:
        """Have what is on the device be as it is chosen; what has other LoRAs fused with it is read again later."""
        for component in LORA_COMPONENTS:
            resident = self._resident.get(component)
            if resident is None:
                continue
            if resident.fused != (self._choice.recipe(component) if self._choice.fused else ()):
                self.release(component)
            elif not resident.fused:
                resident.take([] if self._choice.fused else self._choice.of(component), placed[component])

    def _placement(self, component: Component) -> Placement:
        return self.residency.placement(component, self._places.weights(component))

    def _with_loras(self, network: Network, component: Component, on_read: OnRead) -> _Resident:
        loras = self._choice.of(component)
        try:
            if self._choice.fused:
                fuse(network, [(*file.changes(component), strength) for file, strength in loras if strength], on_read)
                return _Resident(nnx.split(network), fused=self._choice.recipe(component))
            resident = _Resident(nnx.split(network))
            resident.take(loras, {file: resident.place(file, component, on_read) for file, _ in loras})
            return resident
        except BaseException:
            _delete(nnx.state(network))
            raise

    def _log(self, message: str) -> None:
        if self._verbose:
            print(f"[flux-loader] {message}", file=sys.stderr, flush=True)


@dataclass(eq=False)
class _Resident:
    """A network on the device: as it was read, as it is used, and the LoRAs beside it.

    Attributes:
        bare: without LoRAs beside it.
        fused: what is in its weights; `placed` is empty then.
        placed: what is beside its weights.
    """

    bare: Split
    fused: Recipe = ()
    placed: dict[OpenLora, Placed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.current = self.bare

    def lacks(self, file: OpenLora, component: Component) -> bool:
        return not self.fused and component in file.lora.components and file not in self.placed

    def place(self, file: OpenLora, component: Component, on_read: OnRead) -> Placed:
        """Read a LoRA onto the device, where it waits to be taken."""
        return place(self._copy(), *file.changes(component), on_read)

    def take(self, loras: Sequence[tuple[OpenLora, float]], placed: dict[OpenLora, Placed]) -> None:
        """Have these LoRAs, each with its strength, and no others; `placed` are those that it has not yet."""
        self.placed = {file: (self.placed | placed)[file] for file, _ in loras}
        self.current = self.bare
        if loras:
            network = self._copy()
            attach(network, [(self.placed[file], strength) for file, strength in loras])
            self.current = nnx.split(network)

    def move(self, component: Component, placement: Placement) -> None:
        """Have the weights where `placement` says; what leaves the device leaves it first."""
        graphdef, state = self.bare
        leaves = named_leaves(state)
        places = {path: placement(path, leaf.shape) for path, leaf in leaves.items()}
        for path in sorted(leaves, key=lambda path: places[path].memory_kind != HOST):
            old = leaves[path]
            if old.sharding.memory_kind != places[path].memory_kind:
                leaves[path] = jax.block_until_ready(laid(component, path, old, places[path]))
                old.delete()
        self.current = self.bare = graphdef, rebuilt(state, leaves.values())

    def delete(self) -> None:
        _delete((self.bare[1], self.current[1]))

    def _copy(self) -> Network:
        """Modules of their own around the same arrays."""
        return nnx.merge(*self.bare, copy=True)


def _delete(arrays: nnx.State | tuple[nnx.State, ...]) -> None:
    for array in jax.tree.leaves(arrays):
        array.delete()
