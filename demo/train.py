"""`python -m demo.train`: the demo model from nothing, in one seeded command.

Stages, each resuming from the files of the one before, so that a run that was cut off goes on where it was:
pictures, tokenizers, vae, latents, flow, guidance, checkpoint. `--only STAGE` runs one of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from demo.captions import vocabulary_sample
from demo.data import TRAIN_SHAPES, VALIDATION, draw_all
from demo.networks import Tokens
from demo.publish import publish
from demo.train_flow import distil_guidance, encode_latents, train_flow
from demo.train_tokenizers import train_tokenizers
from demo.train_vae import train_vae

SEED = 0
CROP_STEPS, FULL_STEPS, FLOW_STEPS, GUIDANCE_STEPS = 3000, 400, 3600, 600


def stages(work: Path, out: Path) -> dict[str, tuple[Path, Callable[[], None]]]:
    """Name -> (the file whose presence means done, how to make it), in order."""
    data = work / "pictures"
    captions = vocabulary_sample(np.random.default_rng(SEED), 20000)
    return {
        "pictures": (data / f"{TRAIN_SHAPES[-1].name}.npy", lambda: _draw(data)),
        "tokenizers": (work / "tokenizer_2" / "spiece.model", lambda: train_tokenizers(captions, work)),
        "vae": (
            work / "vae.npz",
            lambda: train_vae(data, work, crop_steps=CROP_STEPS, full_steps=FULL_STEPS, seed=SEED),
        ),
        "latents": (work / "latents.npz", lambda: encode_latents(data, work)),
        "flow": (work / "flow.done", lambda: train_flow(work, Tokens(work), steps=FLOW_STEPS, seed=SEED)),
        "guidance": (
            work / "guidance.done",
            lambda: distil_guidance(work, Tokens(work), steps=GUIDANCE_STEPS, seed=SEED),
        ),
        "checkpoint": (work / "checkpoint.done", lambda: publish(work, out)),
    }


def _draw(data: Path) -> None:
    for shape in (VALIDATION, *TRAIN_SHAPES):
        draw_all(data, shape)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo.train", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("demo_work"), help="folder for pictures and stages")
    parser.add_argument("--out", type=Path, default=Path("flux_engine/demo"), help="folder of the checkpoint")
    parser.add_argument("--only", help="one stage, even if it is done")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    todo = stages(args.work, args.out)
    if args.only and args.only not in todo:
        parser.error(f"--only: got {args.only!r}, expected one of {', '.join(todo)}")
    for name, (done, make) in todo.items():
        if args.only != name and (args.only or done.exists()):
            continue
        started = time.monotonic()
        make()
        if done.suffix == ".done":
            done.touch()
        with (args.work / "times.txt").open("a") as times:
            print(f"{name} {time.monotonic() - started:.0f} s", file=times)


if __name__ == "__main__":
    main()
