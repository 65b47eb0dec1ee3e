"""The benchmark runs the real programs with random weights, and its figures hang together."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from flux_engine import bench_cli
from flux_engine.bench import measure, random_network
from flux_engine.bench_sizes import MODELS
from flux_engine.configs import FLUX_DEV
from flux_engine.loader import DEMO_CHECKPOINT
from flux_engine.weights.checkpoint import on_device
from flux_engine.weights.sources import open_checkpoint
from tests.tiny_checkpoint import TRANSFORMER

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_a_measurement_hangs_together() -> None:
    told: list[str] = []
    found = measure("demo", dtype="float32", width=32, height=48, num_steps=3, batch_size=2, watch=told.append)
    assert (
        told
        == list(found.compile_s)
        == list(found.seconds)
        == list(found.flops)
        == ["CLIP", "T5", "modulations", "step", "decoding"]
    )
    assert (found.model, found.dtype, found.width, found.height, found.batch_size) == ("demo", "float32", 32, 48, 2)
    assert found.parameters == 9_043_059
    clip, t5, modulations, step, decoding = found.seconds.values()
    assert found.picture_s == pytest.approx(clip + t5 + modulations + 3 * step + decoding)
    assert found.denoising_s == pytest.approx(modulations + 3 * step)
    assert found.flops_per_s("step") == pytest.approx(found.flops["step"] / step)
    assert found.device_flops_per_s is None  # of a CPU no peak is known
    assert found.peak_bytes > 4 * found.parameters


def test_random_weights_keep_numbers_in_bounds() -> None:
    _, state = random_network(TRANSFORMER, jnp.dtype(jnp.bfloat16), on_device(jax.devices()[0]))
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]}
    assert {leaf.dtype for leaf in leaves.values()} == {jnp.dtype(jnp.bfloat16)}
    for name, leaf in leaves.items():
        expected = 1.0 if "scale" in name else 0.0 if "bias" in name else leaf.shape[-2] ** -0.5
        spread = leaf.astype(jnp.float32).mean() if "kernel" not in name else leaf.astype(jnp.float32).std()
        assert spread == pytest.approx(expected, rel=0.2)


def test_the_demo_models_sizes_are_those_of_its_files_and_fluxs_are_fluxs() -> None:
    parts = open_checkpoint(DEMO_CHECKPOINT).parts
    demo = MODELS["demo"]()
    assert [demo.transformer, demo.vae, demo.clip, demo.t5] == [
        parts[name].config for name in ("transformer", "vae", "clip_text", "t5_text")
    ]
    assert (MODELS["flux-dev"]().transformer, MODELS["flux-dev"]().text_tokens) == (FLUX_DEV, 512)
    assert (MODELS["flux-schnell"]().transformer.guidance_embeds, MODELS["flux-schnell"]().text_tokens) == (False, 256)


def test_a_share_of_the_peak_is_told_where_the_device_is_known() -> None:
    found = measure("demo", dtype="float32", width=32, height=32, num_steps=1)
    known = replace(found, device_flops_per_s=2 * found.flops_per_s("step"))
    (step,) = (line for line in bench_cli._text_lines(known) if line.startswith("  step "))
    assert step.endswith(" TFLOP/s, 50% of the device's peak")
