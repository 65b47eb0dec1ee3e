"""`flux-tui models`: names for checkpoints, listed, given and taken away. Knows flags, and what a name stands for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from flux_engine import checkpoint_cli
from flux_engine.arguments import BAD_REQUEST, DONE, FAILED, absolute, named
from flux_engine.display import Stdout, say
from flux_engine.errors import FluxError, RequestError
from flux_tui import paths
from flux_tui.models import add_model, find_model, load_models, remove_model
from flux_tui.verbs import Verbs


def add_parser(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """The flags."""
    parser = verbs.add_parser(
        "models",
        help="names for checkpoints",
        description="List the models that have names; --checkpoint-dir and the app's model picker take these.",
        epilog="Names stand in models.toml beside the config, which may be edited by hand.",
    )
    parser.set_defaults(run=_list)
    deeds = parser.add_subparsers(metavar="DEED", title="deeds", description="Without one, the models are listed.")
    add = deeds.add_parser("add", help="give a checkpoint a name")
    add.add_argument("name", type=named, metavar="NAME")
    add.add_argument("checkpoint", type=absolute, metavar="CHECKPOINT", help="a folder or a file, as for painting")
    add.set_defaults(run=_add)
    remove = deeds.add_parser("remove", help="forget a name; the checkpoint stays")
    remove.add_argument("name", type=named, metavar="NAME")
    remove.set_defaults(run=_remove)
    show = deeds.add_parser("show", help="what a model is: layout, variant, sizes")
    show.add_argument("name", type=named, metavar="NAME")
    show.set_defaults(run=_show)


def _list(arguments: argparse.Namespace) -> int:
    def work() -> int:
        models, faults = load_models(paths.models_file())
        for fault in faults:
            say(f"note: {fault}")
        if not models:
            say("No model has a name yet: flux-tui models add NAME CHECKPOINT")
        width = max(map(len, models), default=0)
        gone = {name: "" if path.exists() else "  (not there)" for name, path in models.items()}
        Stdout().write(*(f"{name:<{width}}  {path}{gone[name]}".encode() for name, path in sorted(models.items())))
        return DONE

    return _status_of(work)


def _add(arguments: argparse.Namespace) -> int:
    def work() -> int:
        if not arguments.checkpoint.exists():
            raise RequestError(f"{arguments.checkpoint} does not exist.", hint="Name a checkpoint's folder or file.")
        add_model(paths.models_file(), arguments.name, arguments.checkpoint)
        return DONE

    return _status_of(work)


def _remove(arguments: argparse.Namespace) -> int:
    def work() -> int:
        remove_model(paths.models_file(), arguments.name)
        return DONE

    return _status_of(work)


def _show(arguments: argparse.Namespace) -> int:
    path: list[Path] = []

    def work() -> int:
        path.append(find_model(paths.models_file(), arguments.name))
        return DONE

    return _status_of(work) or checkpoint_cli.describe(path[0])


def _status_of(work: Callable[[], int]) -> int:
    try:
        return work()
    except RequestError as error:
        say(f"error: {error} {error.hint}".rstrip())
        return BAD_REQUEST
    except FluxError as error:
        say(f"error: {error} {error.hint}".rstrip())
        return FAILED
