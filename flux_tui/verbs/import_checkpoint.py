"""`flux-tui import`: a checkpoint in whatever layout, written anew in this project's own. Knows flags and folders."""

from __future__ import annotations

import argparse
from pathlib import Path

from flux_engine import checkpoint_cli
from flux_engine.arguments import DONE, absolute
from flux_engine.display import say
from flux_engine.errors import FluxError
from flux_tui import paths
from flux_tui.models import add_model
from flux_tui.verbs import Verbs


def add_parser(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """The flags."""
    parser = verbs.add_parser(
        "import",
        help="write a checkpoint in flux-tui's own layout",
        description="Write a checkpoint anew, in flux-tui's own layout: one folder, which names its source.",
        epilog="The new folder appears complete or not at all. Its name goes to stdout.",
    )
    parser.add_argument(
        "source",
        type=absolute,
        metavar="SRC",
        help="a diffusers folder, a .safetensors or .gguf file with the other networks beside it, or a folder of them",
    )
    parser.add_argument(
        "destination",
        type=absolute,
        metavar="DST",
        nargs="?",
        help="the folder to write (default: one of the source's name among the user's data)",
    )
    parser.add_argument(
        "--dtype",
        choices=checkpoint_cli.DTYPES,
        default="stored",
        help="the type to store weights in (default: each as it is, but bfloat16 for fp8 and for a GGUF file's blocks);"
        " int8 and fp8 are for the large matrices, with a scale for each output, and the rest is bfloat16 then",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Import; the exit status."""
    destination = arguments.destination or destination_of(arguments.source)
    status = checkpoint_cli.import_to(arguments.source, destination, arguments.dtype)
    if status == DONE:
        _name(destination)
    return status


def _name(destination: Path) -> None:
    try:
        add_model(paths.models_file(), destination.name, destination)
    except FluxError as error:
        say(f"note: it has no name: {error} {error.hint}".rstrip())
    else:
        say(f"It is known as {destination.name}: flux-tui --checkpoint-dir {destination.name}")


def destination_of(source: Path) -> Path:
    """Where a checkpoint goes if nobody says where."""
    return paths.models_dir() / (source.name if source.is_dir() else source.stem)
