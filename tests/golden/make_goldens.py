"""Makes the reference numbers of this folder: python -m tests.golden.make_goldens

Needs torch, diffusers and transformers (the extra `parity`). README.md says what is in which file; provenance.json,
written along with them, which versions made it.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline
from diffusers.pipelines.flux.pipeline_flux import calculate_shift, retrieve_timesteps
from transformers import CLIPTokenizer, T5Tokenizer
from transformers.models.t5.modeling_t5 import T5Attention

from flux_engine.configs import CLIP_L, FLUX_DEV, FLUX_SCHNELL, FLUX_VAE, T5_XXL
from tests import reference_models
from tests.reference_names import compact_shapes
from tests.reference_pipeline import DEV_SCHEDULER, reference_picture, reference_pipeline
from tests.tiny import CLIPS, T5S, TRANSFORMERS, VAES
from tests.tiny_checkpoint import PICTURES
from tests.tiny_tokenizers import AWKWARD_PROMPTS, write_clip, write_t5

HERE = Path(__file__).parent
PACKAGES = ("torch", "diffusers", "transformers", "tokenizers", "sentencepiece", "numpy")
STEPS, SEQ_LENS = (4, 28, 50), (64, 256, 1024, 4096, 16384)
BUCKETS = ((32, 128), (16, 40), (32, 127), (64, 1000))
OFFSETS = 1100
FULL_SIZE = {"dev": FLUX_DEV, "schnell": FLUX_SCHNELL, "vae": FLUX_VAE, "clip_text": CLIP_L, "t5_text": T5_XXL}
CLIP_LENGTH, T5_LENGTH = 77, 64
TWO_HUNDRED_WORDS = " ".join(f"lake number {i} under the" for i in range(40))


def main() -> None:
    torch.set_num_threads(1)
    save("networks", networks())
    save("sampling", schedules() | packing() | noise() | buckets())
    full_size_shapes()
    tokenizers()
    save("pipeline", pictures())
    provenance()


def save(name: str, arrays: dict[str, np.ndarray]) -> None:
    np.savez_compressed(HERE / f"{name}.npz", **arrays)


def networks() -> dict[str, np.ndarray]:
    outputs = {}
    for cases, run in (
        (TRANSFORMERS, reference_models.run_transformer),
        (VAES, reference_models.run_vae),
        (CLIPS, reference_models.run_clip),
        (T5S, reference_models.run_t5),
    ):
        for name, case in cases.items():
            outputs |= {f"{name}: {key}": array for key, array in run(case, name).items()}
    return outputs


def schedules() -> dict[str, np.ndarray]:
    """Sigmas as FluxPipeline asks for them, of FLUX.1-dev's scheduler, of schnell's, and with shift 3."""
    tables = {f"sigmas dev {n} {seq}": _sigmas(n, seq, **DEV_SCHEDULER) for n in STEPS for seq in SEQ_LENS}
    for shift in (1.0, 3.0):
        tables |= {f"sigmas shift {shift:g} {n}": _sigmas(n, 1024, shift=shift) for n in STEPS}
    return tables


def _sigmas(n: int, seq_len: int, **config: Any) -> np.ndarray:
    scheduler = FlowMatchEulerDiscreteScheduler(**config)
    mu = calculate_shift(seq_len)
    retrieve_timesteps(scheduler, n, sigmas=np.linspace(1.0, 1 / n, n), mu=mu)
    return scheduler.sigmas.numpy()


def packing() -> dict[str, np.ndarray]:
    """Where each number of an enumerated [2, 16, 6, 10] lands, and the ids of its tokens."""
    latents = torch.arange(2 * 16 * 6 * 10, dtype=torch.float32).reshape(2, 16, 6, 10)
    packed = FluxPipeline._pack_latents(latents, 2, 16, 6, 10)
    assert torch.equal(FluxPipeline._unpack_latents(packed, 6 * 8, 10 * 8, 8), latents)
    ids = FluxPipeline._prepare_latent_image_ids(2, 3, 5, torch.device("cpu"), torch.float32)
    return {"packed": packed.numpy().astype(np.int32), "image ids": ids.numpy().astype(np.int32)}


def noise() -> dict[str, np.ndarray]:
    """The packed noise that FluxPipeline draws for two pictures of 48x80 pixels, seed 11."""
    latents = torch.randn((2, 16, 6, 10), generator=torch.Generator().manual_seed(11))
    return {"noise 11": FluxPipeline._pack_latents(latents, 2, 16, 6, 10).numpy()}


def buckets() -> dict[str, np.ndarray]:
    offsets = torch.arange(-OFFSETS, OFFSETS + 1)
    return {
        f"buckets {count} {distance}": T5Attention._relative_position_bucket(
            offsets, bidirectional=True, num_buckets=count, max_distance=distance
        )
        .numpy()
        .astype(np.int8)
        for count, distance in BUCKETS
    }


def full_size_shapes() -> None:
    """Shapes of the reference's full-size networks; leaves of repeated blocks on one line, with their number."""
    table = {name: compact_shapes(reference_models.reference_shapes(config)) for name, config in FULL_SIZE.items()}
    text = json.dumps(table, indent=1)
    text = re.sub(r"\[\s+([^\[\]]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    (HERE / "full_size.json").write_text(text + "\n")


def tokenizers() -> None:
    """Two small vocabularies, and what transformers' own tokenizers make of them."""
    clip, t5 = HERE / "tokenizer", HERE / "tokenizer_2"
    for folder in (clip, t5):
        shutil.rmtree(folder, ignore_errors=True)
    write_clip(clip, model_max_length=CLIP_LENGTH)
    write_t5(t5, model_max_length=T5_LENGTH)
    their_clip, their_t5 = CLIPTokenizer.from_pretrained(clip), T5Tokenizer.from_pretrained(t5)
    rows = [
        {"prompt": prompt, "clip": padded_ids(their_clip, prompt), "t5": padded_ids(their_t5, prompt)}
        for prompt in (*AWKWARD_PROMPTS, TWO_HUNDRED_WORDS)
    ]
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    (HERE / "token_ids.json").write_text(f"[\n{lines}\n]\n")


def padded_ids(tokenizer: CLIPTokenizer | T5Tokenizer, prompt: str) -> list[int]:
    return tokenizer(prompt, padding="max_length", truncation=True).input_ids


def pictures() -> dict[str, np.ndarray]:
    pipeline = reference_pipeline()
    return {name: reference_picture(pipeline, picture) for name, picture in PICTURES.items()}


def provenance() -> None:
    made = {
        "command": "python -m tests.golden.make_goldens",
        "date": str(datetime.date.today()),
        "python": f"{platform.python_version()}, {platform.system()} {platform.machine()}",
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }
    (HERE / "provenance.json").write_text(json.dumps(made, indent=2) + "\n")


if __name__ == "__main__":
    main()
