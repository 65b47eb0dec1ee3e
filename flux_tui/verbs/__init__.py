"""What `flux-tui` does without its screen: one verb, one file, with `add_parser` and `run`.

`add_parser` is called at every start, so that heavy things are imported inside `run` alone, which takes the parsed
arguments and returns the exit status.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from flux_engine.arguments import absolute
from flux_engine.display import say
from flux_tui import paths

if TYPE_CHECKING:
    from flux_tui.config import Config

Verbs = argparse._SubParsersAction
"""Where a verb's parser is added."""


def add_gallery(parser: argparse.ArgumentParser, default: str | None = argparse.SUPPRESS) -> None:
    """Give a parser the flag for the gallery; the default SUPPRESS, after a verb, lets stand what stands before it."""
    usual = re.sub(f"^{re.escape(os.path.expanduser('~'))}/", "~/", str(paths.gallery_dir())).replace("%", "%%")
    parser.add_argument(
        "--gallery",
        type=absolute,
        metavar="DIR",
        default=default,
        help=f"the folder for pictures (default: {usual})",
    )


def configured(arguments: argparse.Namespace) -> Config:
    """What the config file says; what is wrong in it is said on stderr, and the rest holds."""
    from flux_tui.config import ConfigFileError, load_config

    try:
        return load_config(arguments.config or paths.config_file())
    except ConfigFileError as error:
        for fault in error.faults:
            say(f"note: {fault}")
        return error.config


def lora_folder(config: Config) -> Path:
    """Where LoRAs are looked for by name: the config's folder, or the usual one."""
    return config.app.lora_folder or paths.loras_dir()


def gallery_dir(arguments: argparse.Namespace, config: Config) -> Path:
    """The gallery that was named, else the config's, else the usual one."""
    return arguments.gallery or config.app.gallery or paths.gallery_dir()
