"""`flux-tui config`: where the config file is and whether it can be understood; its options; a file to start from."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from flux_engine.arguments import DONE, FAILED
from flux_engine.display import say
from flux_tui import paths
from flux_tui.verbs import Verbs


def add_parser(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """The flags."""
    parser = verbs.add_parser(
        "config",
        help="check the config file, or print one to start from",
        description="Print where the config file is and whether it is valid, or what it may say.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--template", action="store_true", help="print a config file that says nothing but the defaults")
    what.add_argument("--list", action="store_true", help="list every option: what it takes, its default, what it does")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check or print; the exit status, 1 for a file with faults."""
    from flux_tui.config import template

    if arguments.template:
        sys.stdout.write(template())
        return DONE
    if arguments.list:
        _print_options()
        return DONE
    path = arguments.config or paths.config_file()
    print(path)
    faults, hint = _faults(path)
    for fault in faults:
        say(f"error: {fault}")
    if faults:
        say(hint)
        return FAILED
    say("valid" if path.exists() else "not there: the defaults hold. 'flux-tui config --template' prints one.")
    return DONE


def _faults(path: Path) -> tuple[Sequence[str], str]:
    """What is wrong with the file, and what to do about it; keys that clash, once all else is right."""
    from flux_tui.config import ConfigFileError, load_config
    from flux_tui.keys import key_faults

    try:
        config = load_config(path, action_ids=_action_ids())
    except ConfigFileError as error:
        return error.faults, error.hint
    return key_faults(config.keys), f"Give them other keys in {path}."


def _action_ids() -> frozenset[str]:
    from flux_tui.keys import keymap

    return frozenset(binding.id for binding in keymap() if binding.id)


def _print_options() -> None:
    from flux_tui.config import describe

    for row in describe():
        print(f"{row.key}  ({row.accepts}; default {row.default})")
        print(fill(row.help, 96, initial_indent="    ", subsequent_indent="    "))
