"""The benchmark runs the real programs with random weights, and its figures hang together."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flux_engine import bench_cli
from flux_engine.bench import Measured, measure, peak_of
from flux_engine.bench_sizes import MODELS
from flux_engine.bench_weights import random_network
from flux_engine.configs import FLUX_DEV
from flux_engine.loader import DEMO_CHECKPOINT
from flux_engine.residency import Residency
from flux_engine.weights.placing import on_device
from flux_engine.weights.sources import open_checkpoint
from tests.tiny_checkpoint import TRANSFORMER


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
    many = replace(found, num_steps=64)
    assert many.denoising_s == pytest.approx(2 * modulations + 64 * step)
    assert many.picture_s == pytest.approx(clip + t5 + many.denoising_s + decoding)
    assert found.flops_per_s("step") == pytest.approx(found.flops["step"] / step)
    assert found.device_flops_per_s is None  # of a CPU no peak is known
    assert found.peak_bytes > 4 * found.parameters


def test_what_waits_in_the_machines_memory_changes_no_number_and_is_told() -> None:
    size: dict[str, Any] = {"width": 32, "height": 32, "num_steps": 1}
    there = measure("demo", dtype="float32", **size)
    found = measure("demo", dtype="float32", residency=Residency(modulations="host", blocks="host"), **size)
    assert np.array_equal(found.velocity, there.velocity)
    assert (there.waiting, found.waiting) == ((), ("modulations", "blocks"))
    assert "  waiting            modulations, blocks, in the machine's memory" in bench_cli._text_lines(found)


def test_random_weights_keep_numbers_in_bounds() -> None:
    _, state = random_network(TRANSFORMER, jnp.dtype(jnp.bfloat16), on_device(jax.devices()[0]))
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]}
    assert {leaf.dtype for leaf in leaves.values()} == {jnp.dtype(jnp.bfloat16)}
    for name, leaf in leaves.items():
        expected = 1.0 if "scale" in name else 0.0 if "bias" in name else leaf.shape[-2] ** -0.5
        spread = leaf.astype(jnp.float32).mean() if "kernel" not in name else leaf.astype(jnp.float32).std()
        assert spread == pytest.approx(expected, rel=0.2)


def test_random_weights_in_few_bits_are_those_in_full_rounded() -> None:
    place = on_device(jax.devices()[0])
    (_, full), (_, few) = (
        random_network(TRANSFORMER, jnp.dtype(jnp.float32), place, kind) for kind in ("full", "int8_fast")
    )
    kernels = [its.attn.img_qkv.kernel for its in (full.double_blocks, few.double_blocks)]
    assert few.single_blocks.linear2.kernel[...].fast and not few.single_blocks.modulation.kernel[...].fast
    assert np.abs(kernels[0][...] - kernels[1][...].astype(jnp.float32)).max() < np.abs(kernels[0][...]).max() / 250
    assert np.array_equal(full.img_in.kernel[...], few.img_in.kernel[...])


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
    assert step.endswith(" TFLOP/s, 50% of the device's peak in bfloat16")


@pytest.mark.parametrize(
    ("device_kind", "tera"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA H200 NVL", 835),
        ("TPU v5 lite", 197),
        ("TPU v5e", 197),
        ("TPU v5", 459),
        ("TPU v5p", 459),
        ("TPU v6 lite", 918),
    ],
)
def test_a_device_has_the_peak_of_its_kind(device_kind: str, tera: int) -> None:
    assert peak_of(device_kind) == tera * 1e12
    assert peak_of("cpu") is None


def test_weights_in_few_bits_are_measured_after_full_ones_and_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = measure("demo", dtype="float32", width=32, height=32, num_steps=1)
    ramp = np.linspace(0, 1, known.velocity.size, dtype=np.float32).reshape(known.velocity.shape)

    def measured(model: str, dtype: str, weights: str, waiting: list[str], sizes: dict[str, int]) -> Measured:
        return replace(known, weights=weights, velocity=ramp + (0.01 if weights == "fp8" else 0))

    monkeypatch.setattr(bench_cli, "_in_a_process_of_its_own", measured)
    assert bench_cli.bench(["demo"], ["float32"], ["fp8"], as_json=True, num_steps=1, batch_size=1) == 0
    full, few = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert [(line["weights"], line["psnr_db"]) for line in (full, few)] == [("full", None), ("fp8", pytest.approx(40))]
    assert "velocity" not in few
    assert "  PSNR               40.0 dB, of a velocity, from full weights" in bench_cli._text_lines(
        replace(known, psnr_db=40.0)
    )
