"""The four networks against diffusers and transformers, on the same random weights."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests import reference_models as reference
from tests.tiny import (
    CLIPS,
    T5S,
    TRANSFORMERS,
    VAES,
    CLIPCase,
    T5Case,
    TransformerCase,
    VAECase,
    jitted,
    relative_error,
)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (2, 9)])
@pytest.mark.parametrize("name", TRANSFORMERS)
def test_transformer(name: str, rows: int, columns: int, batch: int) -> None:
    case: TransformerCase = replace(TRANSFORMERS[name], batch=batch, rows=rows, columns=columns)
    velocity = jitted(case.config)(*case.arguments(name))
    assert relative_error(velocity, reference.run_transformer(case, name)["velocity"]) < 1e-4


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("wider", [0, 1])
@pytest.mark.parametrize("name", VAES)
def test_vae(name: str, wider: int, batch: int) -> None:
    case: VAECase = VAES[name]
    case = replace(case, batch=batch, width=case.width + wider * case.config.downsampling)
    expected = reference.run_vae(case, name)
    assert relative_error(jitted(case.config, "encode")(case.images(name)), expected["encode"]) < 1e-4
    assert relative_error(jitted(case.config, "decode")(case.latents(name)), expected["decode"]) < 1e-4


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", CLIPS)
def test_clip(name: str, batch: int) -> None:
    case: CLIPCase = CLIPS[name]
    case = replace(case, ends=case.ends[-batch:])
    pooled = jitted(case.config)(case.ids(name))
    assert relative_error(pooled, reference.run_clip(case, name)["pooled"]) < 1e-5


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", T5S)
def test_t5(name: str, batch: int) -> None:
    case: T5Case = replace(T5S[name], batch=batch)
    hidden = jitted(case.config)(case.ids(name))
    assert relative_error(hidden, reference.run_t5(case, name)["hidden"]) < 2e-4
