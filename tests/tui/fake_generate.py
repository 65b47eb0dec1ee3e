"""`flux-tui generate` but for its engine, to be run from a shell: python -m tests.tui.fake_generate FLAGS."""

from __future__ import annotations

import sys

from flux_engine import __main__, cli
from tests.tui.fakes import FakeEngine

if __name__ == "__main__":
    cli._real_engine = lambda *_: FakeEngine()
    sys.exit(__main__.main())
