"""One step of the transformer beside eager diffusers: the same weights and inputs, the same machine, turn by turn.

Each is a process of its own, and waits while the other one steps. They have to agree before anything is timed. Ours
finds its programs compiled, as at every start but the first; theirs may have another Python than ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.figures import Figure, parser, report
from benchmarks.synthetic import beside, bfl_shapes, random_tensors, write_diffusers
from flux_engine.sampling.latents import image_ids, text_ids

WIDTH, HEAD, DOUBLE_BLOCKS, SINGLE_BLOCKS, TEXT_WIDTH = 768, 64, 2, 4, 4096
TEXT_TOKENS = 256
SIDES = {1024: 32, 4096: 64}  # image tokens: a square of so many
DTYPES = ("float32", "bfloat16")
# The most that a step may take beside diffusers', by type and image tokens; and its memory.
TIME_BARS = {"float32": {1024: 1.0, 4096: 1.2}, "bfloat16": {1024: 1.2, 4096: 1.5}}
MEMORY_BAR = 0.7
# max|difference| / max|velocity|; in bfloat16 each is as far from float32 as they are from each other.
APART = {"float32": 1e-4, "bfloat16": 0.1}


class Stepper:
    """The other end of `benchmarks.one_step`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ask(self, word: str = "") -> Any:
        """What it answers to a word; to none, that it is ready."""
        assert self.process.stdin is not None and self.process.stdout is not None
        if word:
            print(word, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.process.args} ended with status {self.process.wait()} before it answered")
        return json.loads(answer)


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--rounds", type=int, default=7, metavar="N", help="how many steps each takes")
    arguments.add_argument("--dtype", choices=DTYPES, action="append", help="both, if none is named")
    arguments.add_argument("--tokens", type=int, choices=SIDES, action="append", help="both, if none is named")
    arguments.add_argument(
        "--diffusers-python", default=sys.executable, metavar="FILE", help="the Python that has diffusers"
    )
    options = arguments.parse_args()
    pythons = {"ours": sys.executable, "diffusers": options.diffusers_python}
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="flux-against-") as temporary:
        folder = beside(Path(temporary) / "checkpoint")
        write_weights(folder)
        for dtype in options.dtype or DTYPES:
            for tokens in options.tokens or SIDES:
                np.savez(folder / "inputs.npz", **inputs(SIDES[tokens]))
                figures += _compared(folder, dtype, tokens, pythons, options.rounds)
    return report("One step beside eager diffusers, s and GB", figures, as_json=options.json)


def write_weights(folder: Path) -> None:
    """A transformer of random weights, as diffusers lays it out; norms near one, so that attention is not flat."""
    shapes = bfl_shapes(WIDTH, DOUBLE_BLOCKS, SINGLE_BLOCKS, text=TEXT_WIDTH, head=HEAD)
    tensors = {name: array + name.endswith("norm.scale") for name, array in random_tensors(shapes).items()}
    write_diffusers(folder / "transformer", tensors)


def inputs(side: int) -> dict[str, np.ndarray]:
    """What both are given, of a picture of `side` times `side` tokens."""
    random = np.random.default_rng(1)
    return {
        "img": random.standard_normal((1, side * side, 64), np.float32),
        "txt": random.standard_normal((1, TEXT_TOKENS, TEXT_WIDTH), np.float32),
        "pooled": random.standard_normal((1, 768), np.float32),
        "timesteps": np.array([0.5], np.float32),
        "guidance": np.array([4.0], np.float32),
        "img_ids": image_ids(side, side),
        "txt_ids": text_ids(TEXT_TOKENS),
    }


def _compared(folder: Path, dtype: str, tokens: int, pythons: dict[str, str], rounds: int) -> Iterator[Figure]:
    with _stepper("ours", folder, dtype, pythons) as first:
        first.ask()  # it compiles, which takes memory of its own
    with _stepper("ours", folder, dtype, pythons) as ours, _stepper("diffusers", folder, dtype, pythons) as theirs:
        seconds: dict[str, list[float]] = {"ours": [], "diffusers": []}
        for stepper in (ours, theirs):
            stepper.ask()
        apart = _apart(folder)
        for _ in range(rounds):
            seconds["ours"].append(ours.ask("step"))
            seconds["diffusers"].append(theirs.ask("step"))
        peaks = {"ours": ours.ask("peak") / 1e9, "diffusers": theirs.ask("peak") / 1e9}
    what = f"{dtype}, {tokens} image tokens"
    yield Figure(f"{what}: difference", {"ratio": apart}, "ratio", APART[dtype])
    yield _beside(f"{what}: time", {name: median(each) for name, each in seconds.items()}, TIME_BARS[dtype][tokens])
    yield _beside(f"{what}: memory", peaks, MEMORY_BAR)


def _beside(what: str, values: dict[str, float], bar: float) -> Figure:
    return Figure(what, {**values, "ratio": values["ours"] / values["diffusers"]}, "ratio", bar)


@contextmanager
def _stepper(who: str, folder: Path, dtype: str, pythons: dict[str, str]) -> Iterator[Stepper]:
    command = [pythons[who], "-m", "benchmarks.one_step", who, str(folder), dtype]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Stepper(process)
        finally:
            process.kill()


def _apart(folder: Path) -> float:
    ours, theirs = (np.load(folder / f"{who}.npy").astype(np.float64) for who in ("ours", "diffusers"))
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


if __name__ == "__main__":
    sys.exit(main())
