"""Where weights lie while they are not used: on the device, or in the host's memory. Knows leaves, and no sizes.

What lies on the host comes to the device a block at a time, in the middle of the program that computes with it; so the
same programs run, and give the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax

from flux_engine.configs import Component
from flux_engine.weights.names import STACKS, LeafPath, is_large, is_modulation
from flux_engine.weights.placing import HOST, Placement

ENCODERS: tuple[Component, ...] = ("clip_text", "t5_text")


@dataclass(frozen=True, kw_only=True)
class Residency:
    """What stays on the device, from the cheapest to give up to the dearest.

    Attributes:
        encoders: the text encoders: "disk" reads them for every new prompt, and lets them go; "alone" lets the other
            networks go before, to be read again after.
        modulations: the transformer's, 27 % of its weights, used once for all steps of a run.
        blocks: the kernels of the rest of the transformer's blocks, used in every step.
    """

    encoders: Literal["device", "host", "disk", "alone"] = "disk"
    modulations: Literal["device", "host"] = "device"
    blocks: Literal["device", "host"] = "device"

    @property
    def encoders_stay(self) -> bool:
        """Whether they are there while pictures are painted."""
        return self.encoders in ("device", "host")

    @property
    def uses_host(self) -> bool:
        """Whether anything waits in the host's memory."""
        return "host" in (self.encoders, self.modulations, self.blocks)

    def on_host(self, component: Component, path: LeafPath) -> bool:
        """Whether the network's own leaf at `path` waits in the host's memory."""
        if path[0] not in STACKS[component]:
            return False
        if component in ENCODERS:
            return self.encoders == "host"
        if component != "transformer":
            return False
        if is_modulation(component, path):
            return self.modulations == "host"
        return self.blocks == "host" and is_large(path)

    def placement(self, component: Component, there: Placement) -> Placement:
        """Where a network's leaves lie, if all of it would lie `there`."""

        def place(path: LeafPath, shape: tuple[int, ...]) -> jax.sharding.Sharding:
            sharding = there(path, shape)
            return sharding.with_memory_kind(HOST) if self.on_host(component, path) else sharding

        return place
