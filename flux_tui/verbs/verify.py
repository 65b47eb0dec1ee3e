"""`flux-tui verify`: whether a checkpoint is whole, and what is in it. Knows flags only."""

from __future__ import annotations

import argparse

from flux_engine import checkpoint_cli
from flux_engine.arguments import absolute
from flux_tui.verbs import Verbs


def add_parser(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """The flags."""
    parser = verbs.add_parser(
        "verify",
        help="see whether a checkpoint is whole",
        description="Read every weight of a checkpoint once: names, shapes and types, numbers that are none, hashes."
        " Where the extra 'parity' is installed, run each module beside that of diffusers or transformers as well,"
        " with the same weights in float32, and say what they differ by.",
        epilog="The exit status is 0 if it is sound and every module agrees, 1 if not.",
    )
    parser.add_argument("checkpoint", type=absolute, metavar="CHECKPOINT", help="a folder or a file, as for painting")
    parser.add_argument("--json", action="store_true", help="JSON lines on stdout")
    parser.add_argument(
        "--no-compare", action="store_true", help="only read the weights; for FLUX.1, a comparison takes minutes"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Verify; the exit status."""
    return checkpoint_cli.verify(arguments.checkpoint, as_json=arguments.json, compare=not arguments.no_compare)
