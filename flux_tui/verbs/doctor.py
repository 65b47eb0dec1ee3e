"""`flux-tui doctor`: is everything there that pictures and the app need, and what to do where it is not."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby

from flux_engine.arguments import DONE, FAILED
from flux_engine.display import say
from flux_tui import paths
from flux_tui.metadata import harmless
from flux_tui.verbs import Verbs, add_gallery, checks, configured, gallery_dir
from flux_tui.verbs.checks import Row


def add_parser(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """The flags."""
    parser = verbs.add_parser(
        "doctor",
        help="look whether everything is in order",
        description="Look at versions, devices, terminal, folders and memory, and say what to do about what is wrong.",
        epilog="The exit status is 1 when anything is bad.",
    )
    add_gallery(parser)
    parser.add_argument("--json", action="store_true", help="a JSON object for each row")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Look at everything; the exit status."""
    rows = list(_rows(arguments))
    for line in (json.dumps(asdict(row)) for row in rows) if arguments.json else _table(rows):
        print(line)
    return FAILED if any(row.verdict == "bad" for row in rows) else DONE


def _rows(arguments: argparse.Namespace) -> Iterator[Row]:
    yield from checks.versions()
    say("starting JAX to see its devices ...")
    yield from checks.devices()
    yield from checks.terminal(0, 1, os.environ)
    yield from checks.locale()
    yield from checks.folders(
        {
            "gallery": gallery_dir(arguments, configured(arguments)),
            "config": paths.config_dir(),
            "state": paths.state_dir(),
            "cache": paths.cache_dir(),
            "log": paths.log_file().parent,
        }
    )
    yield from checks.config(arguments.config or paths.config_file())
    yield from checks.memory()


def _table(rows: list[Row]) -> Iterator[str]:
    width = max(len(row.name) for row in rows)
    for part, of_part in groupby(rows, key=lambda row: row.part):
        yield part
        for row in of_part:
            yield f"  {row.verdict:<4}  {row.name:<{width}}  {_plain(row.found)}"
            if row.advice:
                yield f"        {'':<{width}}  -> {_plain(row.advice)}"


def _plain(text: str) -> str:
    return " ".join(harmless(text).split())
