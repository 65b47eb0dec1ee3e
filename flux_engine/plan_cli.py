"""What the command line does with `flux_engine.planning`: a table for people, JSON lines for programs.

The table goes to stdout. JAX is imported when it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flux_engine.arguments import DONE, FAILED
from flux_engine.bench_sizes import MODELS
from flux_engine.display import Stdout, status_of
from flux_engine.request import check_sampling

if TYPE_CHECKING:
    from flux_engine.planning import Plan

WORDS = {"transformer": "transformer", "vae": "autoencoder", "clip_text": "CLIP", "t5_text": "T5"}


def plan(model: str, dtype: Any, *, width: int | None, height: int | None, batch_size: int, as_json: bool) -> int:
    """Say what a picture would take; the exit status, FAILED if it is more than is free.

    Args:
        model: a name in `MODELS`, or the path of a checkpoint; the name of a file comes second.
        dtype, width, height, batch_size: as in a request; sizes are by default the model's own.
    """

    def work() -> int:
        check_sampling(1, 0, batch_size, None)
        from flux_engine import planning
        from flux_engine.compile_cache import keep_compiled

        keep_compiled()
        configs, text_tokens, side_px = _sizes(model)
        size = {"width": width or side_px, "height": height or side_px, "batch_size": batch_size}
        found = planning.plan(configs, dtype=dtype, text_tokens=text_tokens, **size)
        what = {"model": model, "dtype": found.dtype, **size}
        lines = _json_lines(what, found) if as_json else _table(what, found)
        Stdout().write(*(line.encode() for line in lines))
        return DONE if all(map(found.fits, found.stages)) else FAILED

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


def _json_lines(what: dict[str, Any], found: Plan) -> Iterator[str]:
    for stage in found.stages:
        line = {"event": "planned", **what, "stage": stage.name, "networks": dict(stage.networks)}
        sizes = {"working_bytes": stage.working_bytes, "peak_bytes": stage.peak_bytes, "free_bytes": found.free_bytes}
        yield json.dumps(line | sizes)


def _table(what: dict[str, Any], found: Plan) -> Iterator[str]:
    pictures = f"{what['batch_size']} x " if what["batch_size"] > 1 else ""
    left = "" if found.free_bytes is None else f", {_bytes(found.free_bytes)} free"
    yield f"{what['model']}  {what['dtype']}  {pictures}{what['width']}x{what['height']}  on {found.device}{left}"
    yield f"  {'':<9} {'weights':>9} {'working':>9} {'peak':>9}"
    for stage in found.stages:
        columns = (sum(stage.networks.values()), stage.working_bytes, stage.peak_bytes)
        fits = "" if found.fits(stage) else "  does not fit"
        yield f"  {stage.name:<9} {' '.join(f'{_bytes(size):>9}' for size in columns)}{fits}"
    parts = {name: size for stage in found.stages for name, size in stage.networks.items()}
    yield "  " + ", ".join(f"{WORDS[name]} {_bytes(size)}" for name, size in parts.items())


def _bytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
