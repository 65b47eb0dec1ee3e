"""Schedules, packing, ids and position buckets against diffusers and transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux import pipeline_flux as flux
from transformers.models.t5.modeling_t5 import T5Attention

from flux_engine.models.t5_encoder import relative_position_buckets
from flux_engine.sampling.latents import image_ids, pack, unpack
from flux_engine.sampling.timers import FluxTimer
from tests.reference_pipeline import DEV_SCHEDULER


@pytest.mark.parametrize("seq_len", [1, 64, 255, 256, 1024, 4080, 4096, 9216, 16384])
@pytest.mark.parametrize("n_steps", [1, 2, 4, 20, 28, 50, 100])
def test_dynamic_schedule(n_steps: int, seq_len: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(**DEV_SCHEDULER)
    even = np.linspace(1.0, 1 / n_steps, n_steps)
    flux.retrieve_timesteps(scheduler, n_steps, sigmas=even, mu=flux.calculate_shift(seq_len))
    sigmas = FluxTimer(n_steps, use_dynamic_shift=True).with_image_seq_len(seq_len).sigmas()
    np.testing.assert_allclose(sigmas, scheduler.sigmas.numpy(), rtol=0, atol=2e-7)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("h", "w"), [(8, 8), (4, 14), (18, 2)])
def test_packing_both_ways_and_ids(h: int, w: int, batch: int) -> None:
    latents = np.random.default_rng(0).standard_normal((batch, 16, h, w), np.float32)
    packed = flux.FluxPipeline._pack_latents(torch.from_numpy(latents), batch, 16, h, w)
    unpacked = flux.FluxPipeline._unpack_latents(packed, h * 8, w * 8, 8).numpy()
    tokens = pack(latents.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(tokens.reshape(packed.shape), packed.numpy())
    np.testing.assert_array_equal(unpack(packed.numpy().reshape(tokens.shape)), unpacked.transpose(0, 2, 3, 1))
    ids = flux.FluxPipeline._prepare_latent_image_ids(batch, h // 2, w // 2, "cpu", torch.float32)
    np.testing.assert_array_equal(image_ids(h // 2, w // 2), ids.numpy())


@pytest.mark.parametrize(("count", "distance"), [(32, 128), (16, 40), (8, 20), (32, 127), (64, 1000)])
def test_position_buckets(count: int, distance: int) -> None:
    positions = torch.arange(1500)
    expected = T5Attention._relative_position_bucket(
        positions[None, :] - positions[:, None], bidirectional=True, num_buckets=count, max_distance=distance
    )
    np.testing.assert_array_equal(relative_position_buckets(1500, count, distance), expected.numpy())
