"""diffusers' own pipeline around the tiny checkpoint's weights. Needs torch, diffusers and transformers."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline
from transformers import CLIPTokenizer, T5Tokenizer

from flux_engine.configs import TransformerConfig
from tests.reference_models import tiny_reference
from tests.tiny_checkpoint import CLIP, T5, TOKENIZERS, TRANSFORMER, VAE, Picture

DEV_SCHEDULER = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "shift": 3.0}
SCHNELL_SCHEDULER = {"use_dynamic_shifting": False, "shift": 1.0}


def reference_pipeline(transformer: TransformerConfig = TRANSFORMER) -> FluxPipeline:
    """FluxPipeline with FLUX.1-dev's scheduler, or schnell's for a transformer without guidance embedding."""
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            **(DEV_SCHEDULER if transformer.guidance_embeds else SCHNELL_SCHEDULER)
        ),
        vae=tiny_reference(VAE),
        text_encoder=tiny_reference(CLIP),
        tokenizer=CLIPTokenizer.from_pretrained(TOKENIZERS / "tokenizer"),
        text_encoder_2=tiny_reference(T5),
        tokenizer_2=T5Tokenizer.from_pretrained(TOKENIZERS / "tokenizer_2"),
        transformer=tiny_reference(transformer),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def reference_picture(pipeline: FluxPipeline, picture: Picture) -> np.ndarray:
    """uint8 [B, H, W, 3]."""
    images = pipeline(
        prompt=picture.prompt,
        negative_prompt=picture.negative_prompt,
        true_cfg_scale=picture.true_cfg_scale,
        height=picture.height,
        width=picture.width,
        num_inference_steps=picture.num_steps,
        guidance_scale=picture.guidance_scale,
        num_images_per_prompt=picture.batch_size,
        max_sequence_length=pipeline.tokenizer_2.model_max_length,
        generator=torch.Generator().manual_seed(picture.seed),
    ).images
    return np.stack([np.asarray(image) for image in images])
