"""The command line: no verb opens the app; each verb works without a screen and has its own file in `verbs/`.

`--help` and `--version`, of every verb, import neither textual nor jax.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from flux_engine import cli
from flux_engine.arguments import (
    BAD_REQUEST,
    DONE,
    FAILED,
    INTERRUPTED,
    Parser,
    ShowVersion,
    add_checkpoint_dir,
    processes_of,
)
from flux_engine.display import say, to_nowhere
from flux_engine.host_memory import share_heaps
from flux_tui import paths, verbs
from flux_tui.launch import add_app_arguments, launch_from
from flux_tui.models import named_or_path
from flux_tui.opening import run_app
from flux_tui.verbs import (
    bench,
    completion,
    config,
    doctor,
    generate,
    import_checkpoint,
    keys,
    loras,
    models,
    plan,
    pull,
    replay,
    verify,
)

VERBS = (
    *(generate, replay, pull, import_checkpoint, models, loras),
    *(verify, plan, bench, doctor, keys, config, completion),
)
PAINTING = (None, "generate", "replay")


def parser() -> argparse.ArgumentParser:
    """Arguments of `flux-tui`."""
    top = Parser(prog="flux-tui", description="Paint pictures with FLUX.1, in the terminal.")
    top.add_argument("--version", action=ShowVersion)
    verbs.add_gallery(top, default=None)
    add_checkpoint_dir(top)
    add_app_arguments(top)
    places = top.add_subparsers(dest="verb", metavar="VERB", title="verbs", description="Without one, the app opens.")
    for verb in VERBS:
        verb.add_parser(places)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit status."""
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as `flux_tui.__main__` leaves it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return _run(argv)
    except KeyboardInterrupt:
        say("error: interrupted")
        return INTERRUPTED


def _run(argv: Sequence[str] | None) -> int:
    cli.replace_closed_streams()
    share_heaps()
    arguments = parser().parse_args(argv)
    if getattr(arguments, "checkpoint_dir", None):
        arguments.checkpoint_dir = named_or_path(paths.models_file(), arguments.checkpoint_dir)
    together = processes_of(arguments)
    if together is not None and arguments.verb not in PAINTING:
        say(f"error: 'flux-tui {arguments.verb}' runs in one process. Leave --coordinator out.")
        return BAD_REQUEST
    if together is not None and together.index > 0:
        return cli.follow(together, verbose=getattr(arguments, "verbose_loading", False))
    if arguments.verb is None:
        return run_app(arguments.gallery, arguments.checkpoint_dir, launch=launch_from(arguments), processes=together)
    return _run_verb(arguments)


def _run_verb(arguments: argparse.Namespace) -> int:
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except OSError as error:  # of stdout: the verbs name the faults of files themselves
        to_nowhere(sys.stdout)
        if isinstance(error, BrokenPipeError):  # the reader has gone, as in `| head -1`
            return DONE
        say(f"error: stdout cannot be written: {error.strerror}")
        return FAILED
    return status
