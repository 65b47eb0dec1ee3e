"""What the command line does with `flux_engine.planning`: a table for people, JSON lines for programs.

The table goes to stdout. JAX is imported when it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flux_engine.arguments import DONE, FAILED
from flux_engine.bench_sizes import MODELS
from flux_engine.display import Stdout, status_of
from flux_engine.host_memory import allow_most_of_the_device, sized
from flux_engine.request import check_sampling

if TYPE_CHECKING:
    from flux_engine.planning import Plan
    from flux_engine.where import MeshSizes

WORDS = {"transformer": "transformer", "vae": "autoencoder", "clip_text": "CLIP", "t5_text": "T5"}


def plan(
    model: str,
    dtype: Any,
    weights: Any = "full",
    *,
    width: int | None,
    height: int | None,
    batch_size: int,
    budget_bytes: int | None,
    mesh: MeshSizes | None = None,
    as_json: bool,
) -> int:
    """Say what a picture would take; the exit status, FAILED if it is more than is free.

    Args:
        model: a name in `MODELS`, or the path of a checkpoint; the name of a file comes second.
        dtype, weights, width, height, batch_size: as in a request; sizes are by default the model's own.
        budget_bytes: of the device's memory to plan with, instead of what is free.
        mesh: devices that share the work; what each takes is told.
    """

    def work() -> int:
        check_sampling(1, 0, batch_size, None)
        allow_most_of_the_device()
        from flux_engine import planning
        from flux_engine.compile_cache import keep_compiled
        from flux_engine.precision import resolve_dtype
        from flux_engine.programs import Picture
        from flux_engine.sharding import Places

        keep_compiled()
        configs, text_tokens, side_px = _sizes(model)
        places = Places.of(mesh)
        picture = Picture(
            dtype=resolve_dtype(dtype, places.device),
            width=width or side_px,
            height=height or side_px,
            batch_size=batch_size,
            text_tokens=text_tokens,
            weights=weights,
        )
        free = planning.free_memory(places)
        if budget_bytes is not None:
            free = replace(free, device=budget_bytes, program=0)
        found = planning.plan(configs, picture, places=places, free=free)
        Stdout().write(*(line.encode() for line in (_json_lines if as_json else _table)(model, found)))
        return DONE if found.fits_all else FAILED

    return status_of(work)


def _sizes(model: str) -> tuple[dict[Any, Any], int, int]:
    """Configs of the networks, T5's tokens, the side of a usual picture."""
    if model in MODELS:
        sizes = MODELS[model]()
        parts = {"transformer": sizes.transformer, "vae": sizes.vae, "clip_text": sizes.clip, "t5_text": sizes.t5}
        return parts, sizes.text_tokens, sizes.side_px
    from flux_engine.tokenizers import load_tokenizers
    from flux_engine.weights.sources import open_checkpoint

    checkpoint = open_checkpoint(Path(model))
    configs = {component: part.config for component, part in checkpoint.parts.items()}
    guided = getattr(configs["transformer"], "guidance_embeds", True)
    _, t5 = load_tokenizers(checkpoint.folder, guidance_embeds=guided)
    return configs, t5.max_length, 1024


def _json_lines(model: str, found: Plan) -> Iterator[str]:
    picture = found.picture
    what = {
        "model": model,
        "dtype": picture.dtype.name,
        "weights": picture.weights,
        "width": picture.width,
        "height": picture.height,
        "batch_size": picture.batch_size,
        "residency": asdict(found.residency),
        "waiting": dict(found.waiting),
        "mesh": None if found.places.sizes is None else str(found.places.sizes),
        "free_bytes": found.free.device,
        "fits": found.fits_all,
    }
    for stage in found.stages:
        line = {"event": "planned", **what, "stage": stage.name, "networks": dict(stage.networks)}
        sizes = {"working_bytes": stage.working_bytes, "program_bytes": found.free.program}
        yield json.dumps(line | sizes | {"peak_bytes": found.peak_bytes(stage)})


def _table(model: str, found: Plan) -> Iterator[str]:
    picture, free = found.picture, found.free.device
    pictures = f"{picture.batch_size} x " if picture.batch_size > 1 else ""
    each = " each" if found.places.sizes else ""
    left = "" if free is None else f", {sized(free)}{each} free"
    kind = "" if picture.weights == "full" else f"{picture.weights}  "
    yield f"{model}  {picture.dtype.name}  {kind}{pictures}{picture.width}x{picture.height}  on {found.places}{left}"
    networks = {name: size for stage in found.stages for name, size in stage.networks.items()}
    yield f"  {'':<9} {'weights':>9} {'working':>9} {'peak':>9}"
    for stage in found.stages:
        columns = (sum(stage.networks.values()), stage.working_bytes, found.peak_bytes(stage))
        fits = "" if found.fits(stage) else "  does not fit"
        yield f"  {stage.name:<9} {' '.join(f'{sized(size):>9}' for size in columns)}{fits}"
    if found.free.program:
        yield f"  peaks are with the program itself: {sized(found.free.program)}"
    yield f"  on {'each' if found.places.sizes else 'the'} device: {_listed(networks)}"
    if found.waiting:
        yield f"  streamed from the host's memory: {_listed(found.waiting)}"
    if not found.residency.encoders_stay:
        alone = found.residency.encoders == "alone"
        yield f"  read from the disk for every new prompt: {'all' if alone else 'CLIP, T5'}"


def _listed(networks: Mapping[Any, int]) -> str:
    return ", ".join(f"{WORDS[name]} {sized(size)}" for name, size in networks.items())
