"""What an import of several GB takes: peak resident memory and GB/s, beside a plain copy of the same bytes and a hash.

A checkpoint of random weights in FLUX.1's widths is imported as bfloat16, int8 and fp8, each in a process of its own.
All take turns. An import is on the disk when it ends, and the source has been hashed; so the copy is shown with `sync`.
"""

from __future__ import annotations

import hashlib
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, parser, report
from benchmarks.synthetic import beside, bfl_shapes, write_bfloat16

WIDTH = 3072
IMPORT = """
import resource, sys, time
from pathlib import Path
from flux_engine.weights.importing import import_checkpoint
started_s = time.perf_counter()
import_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]), dtype=sys.argv[3])
print(time.perf_counter() - started_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""
SPARE_GB = 1.5  # what an import may take beside three times its largest tensor
Run = Callable[[Path, Path], tuple[float, float | None]]


def main() -> int:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--rounds", type=int, default=3, metavar="N", help="how often each is done")
    arguments.add_argument("--blocks", type=int, nargs=2, default=(3, 6), metavar="N", help="double and single ones")
    options = arguments.parse_args()
    shapes = bfl_shapes(WIDTH, *options.blocks)
    largest_gb = max(2 * math.prod(shape) for shape in shapes.values()) / 1e9
    runs: dict[str, Run] = {
        "cp": _copied(then_sync=False),
        "cp, and sync": _copied(then_sync=True),
        "sha256": _hashed,
        **{f"import as {dtype}": _imported(dtype) for dtype in ("bfloat16", "int8", "fp8")},
    }
    found: dict[str, list[tuple[float, float | None]]] = {name: [] for name in runs}
    with tempfile.TemporaryDirectory(prefix="flux-importing-") as folder:
        source, target = beside(Path(folder, "source")) / "model.safetensors", Path(folder, "target")
        write_bfloat16(source, shapes)
        for _ in range(options.rounds):
            for name, run in runs.items():
                found[name].append(run(source, target))
                shutil.rmtree(target, ignore_errors=True)
                target.unlink(missing_ok=True)
                subprocess.run(["sync"], check=True)  # what one leaves to be written is not the next one's
        size_gb = source.stat().st_size / 1e9
    figures = [_figure(name, its, size_gb, 3 * largest_gb + SPARE_GB) for name, its in found.items()]
    return report(f"Importing {size_gb:.1f} GB", figures, as_json=options.json)


def _figure(name: str, found: list[tuple[float, float | None]], size_gb: float, bar_gb: float) -> Figure:
    seconds = median(each for each, _ in found)
    values = {"n": len(found), "GB/s": size_gb / seconds, "s/GB": seconds / size_gb}
    peaks = [peak for _, peak in found if peak is not None]
    if not peaks:
        return Figure(name, values)
    return Figure(name, {**values, "peak GB": max(peaks)}, "peak GB", bar_gb, below=False)


def _copied(*, then_sync: bool) -> Run:
    def run(source: Path, target: Path) -> tuple[float, None]:
        started_s = time.perf_counter()
        subprocess.run(["cp", str(source), str(target)], check=True)
        if then_sync:
            subprocess.run(["sync", str(target)], check=True)
        return time.perf_counter() - started_s, None

    return run


def _hashed(source: Path, target: Path) -> tuple[float, None]:
    """By the library that the import hashes with; coreutils' sha256sum may take four times as long."""
    started_s = time.perf_counter()
    with open(source, "rb") as opened:
        hashlib.file_digest(opened, "sha256")
    return time.perf_counter() - started_s, None


def _imported(dtype: str) -> Run:
    def run(source: Path, target: Path) -> tuple[float, float]:
        command = [sys.executable, "-c", IMPORT, str(source), str(target), dtype]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds, peak_gb = map(float, done.stdout.split()[-2:])
        return seconds, peak_gb

    return run


if __name__ == "__main__":
    sys.exit(main())
