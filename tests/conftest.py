"""What JAX and Hypothesis must be told before any test. Imports nothing heavy: the app's tests need no array."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"  # shapes that only happen to fit are errors
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # xdist's workers, and programs that tests start, inherit it
    kept = tempfile.mkdtemp(prefix="flux-tests-")
    atexit.register(shutil.rmtree, kept, ignore_errors=True)
    os.environ |= {
        "XDG_CACHE_HOME": kept,  # not the user's own
        # What one test has compiled no other compiles again, but for what is small: for each new entry JAX looks at all
        # that are there, 0.07 ms each, and thousands of tests compile thousands of additions and copies.
        "JAX_COMPILATION_CACHE_DIR": f"{kept}/compiled",
        "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**30),  # with it, JAX locks the folder
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "8192",  # an addition takes 4 KB, a tiny network 25 to 70
    }
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; tests press Ctrl+C all the same
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup's; tests hang up terminals
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
# A busy machine is no fault of the program: nothing is timed.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """For programs that run once or twice: compiling takes a third of the time, the arithmetic is the same."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
