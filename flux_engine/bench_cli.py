"""What the command line does with `flux_engine.bench`: a table for people, JSON lines for programs.

Figures go to stdout, what is being done to stderr. JAX is imported when it is needed.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from flux_engine.arguments import DONE
from flux_engine.bench_sizes import MODELS
from flux_engine.display import Stdout, say, status_of
from flux_engine.host_memory import allow_most_of_the_device
from flux_engine.request import check_choice, check_sampling

if TYPE_CHECKING:
    from flux_engine.bench import Measured


def bench(
    models: Sequence[str],
    dtypes: Sequence[str],
    weights: Sequence[str] = ("full",),
    *,
    waiting: Sequence[str] = (),
    as_json: bool,
    **sizes: Any,
) -> int:
    """Measure each model in each type with each kind of weights; the exit status.

    Args:
        models: names in `MODELS`.
        dtypes, weights: as in a request. Full weights are measured before any others, which are compared with them.
        waiting: "encoders", "modulations", "blocks": what the machine's memory holds meanwhile.
        sizes: width, height, num_steps, batch_size, mesh, as `flux_engine.bench.measure` takes them.
    """

    def work() -> int:
        for model in models:
            check_choice("The model", model, tuple(MODELS))
        check_sampling(sizes["num_steps"], 0, sizes["batch_size"], None)
        stdout, lines = Stdout(), _json_lines if as_json else _text_lines
        for model, dtype in product(models, dtypes):
            full = _in_a_process_of_its_own(model, dtype, "full", waiting, sizes)
            stdout.write(*(line.encode() for line in lines(full)))
            for kind in (kind for kind in weights if kind != "full"):
                found = _compared(_in_a_process_of_its_own(model, dtype, kind, waiting, sizes), full)
                stdout.write(*(line.encode() for line in lines(found)))
        return DONE

    return status_of(work)


def _in_a_process_of_its_own(*what: Any) -> Measured:
    """A peak of memory is a process's, and no device forgets it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_measured, *what).result()


def _compared(found: Measured, full: Measured) -> Measured:
    from flux_engine.psnr import psnr

    return replace(found, psnr_db=psnr(full.velocity, found.velocity))


def _measured(model: str, dtype: Any, weights: Any, waiting: Sequence[str], sizes: Mapping[str, Any]) -> Measured:
    allow_most_of_the_device()
    from flux_engine.bench import measure
    from flux_engine.compile_cache import keep_compiled
    from flux_engine.residency import Residency

    keep_compiled()
    host: Any = dict.fromkeys(waiting, "host")
    return measure(
        model,
        dtype=dtype,
        weights=weights,
        residency=Residency(**host),
        watch=lambda stage: say(f"{model} {dtype} {weights}: {stage}"),
        **sizes,
    )


def _json_lines(found: Measured) -> Iterable[str]:
    plain = {name: value for name, value in asdict(found).items() if name != "velocity"}
    derived = {"picture_s": found.picture_s, "flops_per_s": {stage: found.flops_per_s(stage) for stage in found.flops}}
    yield json.dumps({"event": "measured", **plain, **derived})


def _text_lines(found: Measured) -> Iterable[str]:
    pictures = f"{found.batch_size} x " if found.batch_size > 1 else ""
    mesh = f", {found.mesh}" if found.mesh else ""
    versions = ", ".join(f"{name} {number}" for name, number in found.versions.items())
    kind = "" if found.weights == "full" else f"{found.weights}  "
    size = f"{found.width}x{found.height}"
    yield f"{found.model}  {found.dtype}  {kind}{pictures}{size}  on {found.device}{mesh}; {versions}"
    waiting = {"waiting": f"{', '.join(found.waiting)}, in the machine's memory"} if found.waiting else {}
    rows = {stage: _rate(found, stage) for stage in found.seconds}
    for name, value in {
        "parameters": f"{found.parameters:,}",
        **waiting,
        "compiling": ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in found.compile_s.items()),
        **rows,
        f"picture, {found.num_steps} steps": _seconds(found.picture_s),
        "transformer": f"{found.weight_bytes / 1e9:.2f} GB",
        "peak memory": f"{found.peak_bytes / 1e9:.2f} GB",
        **({} if found.psnr_db is None else {"PSNR": f"{found.psnr_db:.1f} dB, of a velocity, from full weights"}),
    }.items():
        yield f"  {name:<18} {value}"


def _rate(found: Measured, stage: str) -> str:
    rate = found.flops_per_s(stage)
    peak = found.device_flops_per_s
    share = "" if peak is None else f", {rate / peak:.0%} of the device's peak in bfloat16"
    return f"{_seconds(found.seconds[stage]):>8}  {rate / 1e12:.3g} TFLOP/s{share}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"
