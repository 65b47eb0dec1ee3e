"""What the command line does with `flux_engine.planning`: a table for people, JSON lines for programs.

The table goes to stdout. JAX is imported when it is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flux_engine.arguments import BAD_REQUEST, DONE, FAILED
from flux_engine.bench_sizes import MODELS
from flux_engine.display import Stdout, say
from flux_engine.errors import FluxError, unexpected
from flux_engine.request import check_sampling

if TYPE_CHECKING:
    from flux_engine.planning import Stage

WORDS = {"transformer": "transformer", "vae": "autoencoder", "clip_text": "CLIP", "t5_text": "T5"}


def plan(model: str, dtype: Any, *, width: int | None, height: int | None, batch_size: int, as_json: bool) -> int:
    """Say what a picture would take; the exit status, FAILED if it is more than is free.

    Args:
        model: a name in `MODELS`, or the path of a checkpoint; the name of a file comes second.
        dtype, width, height, batch_size: as in a request; sizes are by default the model's own.
    """
    stdout = Stdout()
    try:
        check_sampling(1, 0, batch_size, None)
        import jax

        from flux_engine import planning
        from flux_engine.compile_cache import keep_compiled
        from flux_engine.precision import resolve_dtype

        keep_compiled()
        device = jax.devices()[0]
        configs, text_tokens, side_px = _sizes(model)
        kind = resolve_dtype(dtype, device)
        width, height = width or side_px, height or side_px
        stages = planning.plan(
            configs, dtype=kind, width=width, height=height, batch_size=batch_size, text_tokens=text_tokens
        )
        free = planning.free_bytes(device)
    except FluxError as error:
        say(f"error: {error} {error.hint}".rstrip())
        return BAD_REQUEST if isinstance(error, ValueError) else FAILED
    except Exception as error:
        message, hint = unexpected(error, "")
        say(f"error: {message} {hint}".rstrip())
        return FAILED
    what = {"model": model, "dtype": kind.name, "width": width, "height": height, "batch_size": batch_size}
    if as_json:
        stdout.write(*(json.dumps({**what, **_fields(stage), "free_bytes": free}).encode() for stage in stages))
    else:
        stdout.write(*(line.encode() for line in _table(what, device.device_kind, stages, free)))
    return FAILED if free is not None and any(stage.peak_bytes > free for stage in stages) else DONE


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


def _fields(stage: Stage) -> dict[str, Any]:
    return {
        "event": "planned",
        "stage": stage.name,
        "networks": dict(stage.networks),
        "working_bytes": stage.working_bytes,
        "peak_bytes": stage.peak_bytes,
    }


def _table(what: dict[str, Any], device: str, stages: tuple[Stage, ...], free: int | None) -> Iterator[str]:
    pictures = f"{what['batch_size']} x " if what["batch_size"] > 1 else ""
    left = "" if free is None else f", {_bytes(free)} free"
    yield f"{what['model']}  {what['dtype']}  {pictures}{what['width']}x{what['height']}  on {device}{left}"
    yield f"  {'':<9} {'weights':>9} {'working':>9} {'peak':>9}"
    for stage in stages:
        columns = (sum(stage.networks.values()), stage.working_bytes, stage.peak_bytes)
        fits = "" if free is None or stage.peak_bytes <= free else "  does not fit"
        yield f"  {stage.name:<9} {' '.join(f'{_bytes(size):>9}' for size in columns)}{fits}"
    parts = {name: size for stage in stages for name, size in stage.networks.items()}
    yield "  " + ", ".join(f"{WORDS[name]} {_bytes(size)}" for name, size in parts.items())


def _bytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
