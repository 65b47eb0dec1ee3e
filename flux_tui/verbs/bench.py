"""`flux-tui bench`: how fast this machine is, with random weights of real sizes. Knows flags only."""

from __future__ import annotations

import argparse
from typing import get_args

from flux_engine.arguments import add_mesh
from flux_engine.bench_sizes import MODELS
from flux_engine.request import DType, WeightKind
from flux_tui.verbs import Verbs


def add_parser(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """The flags."""
    parser = verbs.add_parser(
        "bench",
        help="measure how fast this machine paints",
        description="Run every stage of a picture with random weights: seconds, operations a second, memory.",
        epilog="flux-dev and flux-schnell take 24 GB of device memory in bfloat16, whatever lies on the disk.",
    )
    parser.add_argument("model", nargs="*", metavar="MODEL", help=f"one or more of {', '.join(MODELS)} (default: demo)")
    parser.add_argument("--dtype", nargs="*", choices=get_args(DType), default=["auto"], help="one type or several")
    parser.add_argument(
        "--weights",
        nargs="*",
        choices=get_args(WeightKind),
        default=["full"],
        help="one kind or several; each is compared with full weights, which are measured before it",
    )
    parser.add_argument(
        "--waiting",
        nargs="*",
        choices=("encoders", "modulations", "blocks"),
        default=[],
        help="what waits in the machine's memory, as with a small card (default: nothing)",
    )
    parser.add_argument("--width", type=int, help="pixels (default: the model's own)")
    parser.add_argument("--height", type=int, help="pixels (default: the model's own)")
    parser.add_argument("--num-steps", type=int, default=8, help="steps to time, and of the picture (default: 8)")
    parser.add_argument("--batch-size", type=int, default=1, help="pictures at once (default: 1)")
    add_mesh(parser, argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="JSON lines on stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure; the exit status."""
    from flux_engine import bench_cli

    return bench_cli.bench(
        arguments.model or ["demo"],
        arguments.dtype,
        arguments.weights,
        width=arguments.width,
        height=arguments.height,
        num_steps=arguments.num_steps,
        batch_size=arguments.batch_size,
        mesh=arguments.mesh,
        waiting=arguments.waiting,
        as_json=arguments.json,
    )
