"""The command line: no verb opens the app, `generate` paints one request without a screen.

`--help` and `--version` import neither textual nor jax.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flux_engine import cli
from flux_engine.display import say
from flux_engine.request import PicturesReady
from flux_tui import paths

if TYPE_CHECKING:
    from flux_tui.app import FluxApp
    from flux_tui.worker import EngineLike

STOP_S = 3.0  # how long quitting waits for the step that runs


def parser() -> argparse.ArgumentParser:
    """Arguments of `flux-tui`."""
    top = cli.Parser(prog="flux-tui", description="Paint pictures with FLUX.1, in the terminal.")
    top.add_argument("--version", action=cli.ShowVersion)
    top.add_argument(
        "--gallery",
        type=cli.absolute,
        metavar="DIR",
        help="the folder for pictures (default: %(default)s)",
        default=paths.gallery_dir(),
    )
    cli.add_checkpoint_dir(top)
    verbs = top.add_subparsers(dest="verb", metavar="VERB", title="verbs", description="Without one, the app opens.")
    generate = verbs.add_parser(
        "generate",
        help="paint one request without the app",
        description="Paint one request and file it in the gallery.",
    )
    cli.add_request_arguments(generate, checkpoint_dir=argparse.SUPPRESS)
    generate.add_argument(
        "--gallery", type=cli.absolute, metavar="DIR", help="the folder for pictures", default=argparse.SUPPRESS
    )
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit status."""
    arguments = parser().parse_args(argv)
    if arguments.verb == "generate":
        return generate(arguments)
    return run_app(arguments.gallery, arguments.checkpoint_dir)


def generate(arguments: argparse.Namespace) -> int:
    """Paint one request without the app; stdout gets the paths of its pictures."""
    from flux_tui.gallery import BatchNotSaved, Gallery

    gallery = Gallery(arguments.gallery)

    def save(ready: PicturesReady) -> Iterator[Path]:
        try:
            yield from (picture.path for picture in gallery.save(ready))
        except BatchNotSaved as error:
            yield from (picture.path for picture in error.saved)
            raise

    if arguments.output is not None:
        return cli.paint_to_file(arguments)
    return cli.paint(arguments, gallery.check, save)


def run_app(
    gallery_dir: Path, checkpoint_dir: str | None = None, make_engine: Callable[[], EngineLike] | None = None
) -> int:
    """Open the app; returns when it has ended and the terminal is as it was.

    Args:
        gallery_dir: where pictures are kept.
        checkpoint_dir: the model to start with; None is the demo model.
        make_engine: makes the engine in the worker's thread; the real one if None.
    """
    streams = (sys.stdin, sys.stdout, sys.stderr)
    if None in streams or not (sys.stdin.isatty() and sys.stderr.isatty()):
        say("flux-tui: the app needs a terminal; 'flux-tui generate' does not.")
        return 1
    from flux_tui.app import FluxApp
    from flux_tui.gallery import Gallery
    from flux_tui.terminal.output import output_to_log
    from flux_tui.worker import default_engine

    log_path = paths.log_file()
    with output_to_log(log_path):
        app = FluxApp(Gallery(gallery_dir), make_engine or default_engine, log_path, checkpoint_dir)
        app.run()
    status = end(app)
    if status == 1:  # a fault of the app itself; signals end with 128 and more
        print(f"flux-tui: something unexpected went wrong; the log has the details: {log_path}", file=sys.stderr)
    return status


def end(app: FluxApp) -> int:
    """Stop the worker and give the exit status, or leave at once when the thread is still inside a step."""
    status = app.return_code or 0
    if not app.worker.stop(STOP_S):
        # Ending the interpreter under a thread inside JAX aborts (status 134); the picture is lost anyway.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
