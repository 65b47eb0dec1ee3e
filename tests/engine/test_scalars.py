"""Numbers beside arrays: on the array's device once, and as they were otherwise."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from flux_engine.scalars import near


def test_a_number_is_sent_once_and_stays() -> None:
    x = jnp.ones(3)
    found = near(x, np.float32(0.25))
    assert found is near(x + 1, np.float32(0.25)) and found.devices() == x.devices()
    assert (found.dtype, found.weak_type, float(found)) == (jnp.float32, False, 0.25)
    assert near(x, np.int32(3)).dtype == jnp.int32 and near(x, np.float32(3)).dtype == jnp.float32


def test_all_else_is_left_as_it_is() -> None:
    number = np.float32(0.5)
    assert near(np.ones(3), number) is number and near(jnp.ones(3), 0.5) == 0.5
    there = jnp.float32(2)
    assert near(jnp.ones(3), there) is there
    seen = []
    jax.jit(lambda x: (seen.append(near(x, number)), x)[1])(jnp.ones(3))
    assert seen[0] is number
