"""`python -m flux_engine`: one request from the command line, one PNG (or a numbered few) on the disk."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from flux_engine import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = cli.Parser(prog="python -m flux_engine", description="Paint pictures with FLUX.1.")
    parser.add_argument("--version", action=cli.ShowVersion)
    cli.add_request_arguments(parser)
    parser.set_defaults(output=cli.DEFAULT_OUTPUT)
    arguments = parser.parse_args(argv)
    return cli.paint_to_file(arguments)


if __name__ == "__main__":
    sys.exit(main())
