"""Live comparison with torch, diffusers and transformers: needs the extra `parity`, and is asked for by its path."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def one_thread_for_torch() -> Iterator[None]:
    """Sums are then in the same order on every machine, and torch's threads do not wait for JAX's."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
