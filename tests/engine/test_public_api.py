"""The names that users of the original example know, the snippet they know them from, and what an import costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flux_engine


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_imports_no_array_library() -> None:
    heavy = ("jax", "jaxlib", "flax", "numpy", "orbax", "tensorstore", "tokenizers", "sentencepiece", "PIL", "rich")
    code = (
        "import sys, flux_engine, flux_engine.request, flux_engine.errors, flux_engine.configs; dir(flux_engine)\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert run(code) == "[]"


def test_every_public_name_is_found_and_is_what_it_is_called() -> None:
    names = "from flux_engine import *; print(*sorted(name for name in dir() if name[0] != '_'))"
    assert run(names).split() == sorted(flux_engine.__all__) == dir(flux_engine)
    for name in flux_engine.__all__:
        assert getattr(flux_engine, name).__name__ == name
    assert {"FluxModelLoader", "FluxTimer", "FluxTransformer2D", "run_diffuse_generation"} <= set(flux_engine.__all__)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"flux_engine.*FluxPainter"):
        flux_engine.FluxPainter  # noqa: B018
    assert not hasattr(flux_engine, "__path_to_nowhere__")


def test_the_known_snippet_paints(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flux_engine import FluxModelLoader, run_diffuse_generation

    loader = FluxModelLoader(checkpoint_dir=checkpoint, verbose=True)
    conditioned = loader.prepare_conditioned_network(
        prompt="a hill", negative_prompt=None, guidance_scale=4.0, height=32, width=48
    )
    latents = run_diffuse_generation(
        conditioned_network=conditioned, height=32, width=48, num_steps=3, seed=42, batch_size=1, sigma_shift=None
    )
    images = loader.decode_latents(latents)  # float [B, H, W, 3] in [0, 1]
    again = loader.encode_images(images)

    assert images.shape == (1, 32, 48, 3) and images.dtype == jnp.float32
    assert float(images.min()) >= 0 and float(images.max()) <= 1 and float(images.std()) > 0.05
    assert latents.shape == again.shape == (1, 2, 3, 64)
    assert latents.dtype == again.dtype == jnp.float32
    assert isinstance(latents, jax.Array) and np.isfinite(again).all()
    out, err = capsys.readouterr()
    assert out == ""
    for component in ("transformer", "vae", "clip_text", "t5_text"):
        assert f"loading {component}" in err
    assert "released clip_text" in err and "released t5_text" in err


def test_defaults_are_the_known_ones() -> None:
    prepare = inspect.signature(flux_engine.FluxModelLoader.prepare_conditioned_network).parameters
    assert {name: prepare[name].default for name in ("negative_prompt", "guidance_scale", "height", "width")} == {
        "negative_prompt": None,
        "guidance_scale": 4.0,
        "height": 1024,
        "width": 1024,
    }
    generate = inspect.signature(flux_engine.run_diffuse_generation).parameters
    assert (generate["batch_size"].default, generate["sigma_shift"].default) == (1, None)
    assert inspect.signature(flux_engine.FluxModelLoader).parameters["verbose"].default is False


def test_the_timer_takes_a_size_in_place_or_makes_another_timer() -> None:
    timer = flux_engine.FluxTimer(n_steps=4, shift=1.15, use_dynamic_shift=True)
    sized = timer.with_image_seq_len(4096)
    timer.set_image_seq_len(4096)
    assert timer == sized
    assert timer(0) == 1.0 and timer(4) == 0.0
    assert timer.mu == pytest.approx(1.15)


def test_the_transformer_can_be_built_from_a_config() -> None:
    from flax import nnx

    from tests.tiny_checkpoint import TRANSFORMER

    network = nnx.eval_shape(lambda: flux_engine.FluxTransformer2D(TRANSFORMER, rngs=nnx.Rngs(0)))
    assert network.config is TRANSFORMER
