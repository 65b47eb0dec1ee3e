"""`python -m flux_engine`: one request from the command line, one PNG (or a numbered few) on the disk."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from flux_engine import arguments, cli
from flux_engine.host_memory import share_heaps


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    cli.replace_closed_streams()
    share_heaps()
    parser = arguments.Parser(prog="python -m flux_engine", description="Paint pictures with FLUX.1.")
    parser.add_argument("--version", action=arguments.ShowVersion)
    arguments.add_prompt(parser, required=True)
    arguments.add_request_arguments(parser)
    parser.set_defaults(output=cli.DEFAULT_OUTPUT)
    return cli.paint_one(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
