"""`flux-tui pull`: a checkpoint from the Hugging Face Hub. Knows flags only."""

from __future__ import annotations

import argparse

from flux_engine import checkpoint_cli
from flux_engine.arguments import named
from flux_tui.verbs import Verbs


def add_parser(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """The flags."""
    parser = verbs.add_parser(
        "pull",
        help="download a checkpoint from the Hugging Face Hub",
        description="Download a checkpoint into the Hub's ordinary cache, or go on with what was interrupted.",
        epilog="The folder goes to stdout; --checkpoint-dir takes it.",
    )
    parser.add_argument("repo", type=named, metavar="OWNER/NAME", help="the repository")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Download; the exit status."""
    return checkpoint_cli.pull(arguments.repo)
