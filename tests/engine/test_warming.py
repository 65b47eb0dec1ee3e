"""What is compiled ahead is what the plan looks at."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from flux_engine import FluxModelLoader, GenerationRequest, planning
from flux_engine.planning import RESIDENCIES, Memory
from flux_engine.programs import Picture, Program
from flux_engine.residency import Residency
from flux_engine.warming import compiling


def test_of_a_way_whose_weights_do_not_fit_nothing_is_compiled(
    tiny_loader: FluxModelLoader, monkeypatch: pytest.MonkeyPatch
) -> None:
    tight, least = RESIDENCIES[2], RESIDENCIES[5]
    looked_at: list[Residency] = []

    def with_residency(configs: Any, picture: Any, way: Residency, *others: Any) -> Any:
        looked_at.append(way)
        return SimpleNamespace(fits_all=way is least)

    monkeypatch.setattr(planning, "weights_fit", lambda configs, picture, way, *others: way in (tight, least))
    monkeypatch.setattr(planning, "with_residency", with_residency)
    monkeypatch.setattr(planning, "free_memory", lambda places, held, waiting: Memory(device=1, host=1))
    monkeypatch.setattr(Program, "compile", lambda program: [])
    picture = Picture(dtype=tiny_loader.dtype, width=32, height=32)
    planning.plan(tiny_loader.configs, picture, places=tiny_loader.places, free=Memory(device=1, host=1))
    names = list(compiling(tiny_loader, picture, GenerationRequest(prompt="-", width=32, height=32)))
    assert looked_at == [tight, least] * 2
    assert names.count("transformer velocity") == 2
