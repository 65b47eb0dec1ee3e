"""What the command line says of the app itself: its flags, and the value they make. stdlib only.

None is "not said": the config decides then, and the app's own default after it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from flux_engine.arguments import absolute, add_loras, add_mesh, add_processes, named
from flux_engine.request import LoraUse
from flux_engine.where import MeshSizes
from flux_tui.options import Graphics
from flux_tui.terminal.colour import Colours

Color = Literal["auto", Colours]


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How this one start of the app was asked for.

    Attributes:
        low_bandwidth: the link is thin: small previews, few of them.
        sync: ask the terminal for synchronized updates.
        mouse: listen to the mouse.
        ascii: draw with ASCII alone.
        color: how many colours the terminal shows; "auto" asks it.
        graphics: how pictures are drawn; "auto" takes the best that the terminal has.
        theme: a theme's name.
        warm_up: start the engine, and compile, ahead of the first picture.
        config: the config file, in place of the user's own.
        loras, lora_fuse, lora_lenient: these settings of the form.
        mesh: how several devices share the work.
    """

    low_bandwidth: bool | None = None
    sync: bool | None = None
    mouse: bool | None = None
    ascii: bool | None = None
    color: Color | None = None
    graphics: Graphics | None = None
    theme: str | None = None
    warm_up: bool | None = None
    config: Path | None = None
    loras: Sequence[LoraUse] | None = None
    lora_fuse: bool | None = None
    lora_lenient: bool | None = None
    mesh: MeshSizes | None = None


def add_app_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the app's own flags, and the one that names the config file."""
    parser.add_argument("--config", type=_config_file, metavar="FILE", help="the config file, in place of your own")
    app = parser.add_argument_group("the app", "These go before what the config file says.")
    app.add_argument("--low-bandwidth", action="store_true", default=None, help="small, rare previews for a thin link")
    app.add_argument(
        "--no-sync", dest="sync", action="store_false", default=None, help="no synchronized frames (mode 2026)"
    )
    app.add_argument(
        "--no-mouse", dest="mouse", action="store_false", default=None, help="leave the terminal its mouse"
    )
    app.add_argument("--ascii", action="store_true", default=None, help="draw with ASCII alone")
    app.add_argument("--color", choices=get_args(Color), help="how many colours there are (default: ask the terminal)")
    app.add_argument("--graphics", choices=get_args(Graphics), help="what draws pictures (default: the best there is)")
    app.add_argument("--theme", type=named, metavar="NAME", help="the colours, by name: flux-light, nord")
    app.add_argument(
        "--no-warm-up",
        dest="warm_up",
        action="store_false",
        default=None,
        help="leave the engine until a picture is due",
    )
    add_loras(app)
    add_mesh(app)
    add_processes(app)


def _config_file(text: str) -> Path:
    """A config file that was named: it is there, or its defaults would hold with nobody knowing why."""
    path = absolute(text)
    if not os.path.exists(path) or os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"no such file: {text!r}; name one that is there, or leave it out")
    return path


def launch_from(arguments: argparse.Namespace) -> Launch:
    """What parsed arguments say of the app."""
    return Launch(**{field.name: getattr(arguments, field.name) for field in fields(Launch)})
