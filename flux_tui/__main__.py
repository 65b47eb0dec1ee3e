"""Where the program starts: `flux-tui`, and `python -m flux_tui`. Knows nothing but what Ctrl+C does that early."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit status.

    Until the rest is imported, for 0.1 s, Ctrl+C ends it without a word. As an exception it would come with a
    traceback, or be printed and forgotten where importlib calls back.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored, as under nohup
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from flux_tui.command_line import main as run

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
