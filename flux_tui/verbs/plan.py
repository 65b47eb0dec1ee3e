"""`flux-tui plan`: what lies where while a picture is painted, before anything is read. Knows flags only."""

from __future__ import annotations

import argparse
from typing import get_args

from flux_engine.arguments import add_mesh
from flux_engine.bench_sizes import MODELS
from flux_engine.request import DType, WeightKind
from flux_tui import paths
from flux_tui.models import named_or_path
from flux_tui.verbs import Verbs


def add_parser(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """The flags."""
    parser = verbs.add_parser(
        "plan",
        help="see what a picture takes of the memory",
        description="Say which weights are on the device, which wait elsewhere, and what each stage takes.",
        epilog="The exit status is 0 if it fits into what is free, 1 if not.",
    )
    parser.add_argument(
        "model", nargs="?", default="demo", metavar="MODEL", help=f"{', '.join(MODELS)}, a checkpoint or its name"
    )
    parser.add_argument("--dtype", choices=get_args(DType), default="auto", help="what to compute in (default: auto)")
    parser.add_argument(
        "--weights", choices=get_args(WeightKind), default="full", help="how kernels are kept (default: full)"
    )
    parser.add_argument("--width", type=int, help="pixels (default: the model's own)")
    parser.add_argument("--height", type=int, help="pixels (default: the model's own)")
    parser.add_argument("--batch-size", type=int, default=1, help="pictures at once (default: 1)")
    parser.add_argument(
        "--memory", type=_bytes, metavar="GB", help="of the device to plan with (default: what is free of this one)"
    )
    add_mesh(parser, argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="JSON lines on stdout")
    parser.set_defaults(run=run)


def _bytes(text: str) -> int:
    """How many bytes so many gigabytes are."""
    try:
        count = int(float(text) * 1e9)
    except (ValueError, OverflowError):  # no number, or one without an end
        count = 0
    if count < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected gigabytes, more than 0")
    return count


def run(arguments: argparse.Namespace) -> int:
    """Say it; the exit status."""
    from flux_engine import plan_cli

    model = arguments.model if arguments.model in MODELS else named_or_path(paths.models_file(), arguments.model)
    return plan_cli.plan(
        model,
        arguments.dtype,
        arguments.weights,
        width=arguments.width,
        height=arguments.height,
        batch_size=arguments.batch_size,
        budget_bytes=arguments.memory,
        mesh=arguments.mesh,
        as_json=arguments.json,
    )
