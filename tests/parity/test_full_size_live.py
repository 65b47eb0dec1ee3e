"""The full-size networks against diffusers' and transformers' own on torch's meta device."""

from __future__ import annotations

import pytest

from tests import reference_models
from tests.engine.test_full_size import MODELS, reference_shapes


@pytest.mark.parametrize("name", MODELS)
def test_names_and_shapes_are_the_same(name: str) -> None:
    assert reference_shapes(MODELS[name]) == reference_models.reference_shapes(MODELS[name])
