"""`flux-tui completion`: a script that teaches a shell the verbs and flags.

Made by shtab from the parser: it covers all three shells, and its scripts run without Python, where argcomplete would
start the program at every Tab.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from flux_engine.arguments import DONE
from flux_tui.verbs import Verbs

SHELLS = ("bash", "zsh", "fish")

EPILOG = """\
bash: flux-tui completion bash > ~/.local/share/bash-completion/completions/flux-tui
zsh: flux-tui completion zsh > DIR/_flux-tui, with DIR a folder of $fpath
fish: flux-tui completion fish > ~/.config/fish/completions/flux-tui.fish"""


def add_parser(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """The flags."""
    parser = verbs.add_parser(
        "completion",
        help="print a completion script for a shell",
        description="Print a script that completes the verbs and flags of flux-tui in a shell.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="whose script")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the script; the exit status."""
    import shtab

    from flux_tui.command_line import parser

    top = parser()
    kinds = {"DIR": shtab.DIRECTORY, "FILE": shtab.FILE, "PATH": shtab.FILE, "PICTURE": shtab.FILE}
    for action in _actions(top):
        if action.metavar in kinds:
            action.complete = kinds[action.metavar]  # type: ignore[attr-defined]
    print(shtab.complete(top, arguments.shell))
    return DONE


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every action of a parser and of its verbs."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from _actions(verb)
