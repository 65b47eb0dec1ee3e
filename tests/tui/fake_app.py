"""The whole program but for its engine, to be driven in a pseudo-terminal: python fake_app.py GALLERY.

C code's chatter on descriptor 2, as XLA's, is part of the act.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from flux_engine.request import Event, GenerationRequest, LoadingProgress
from flux_tui import command_line, opening
from flux_tui.launch import launch_from
from tests.tui.fakes import FakeEngine


class NoisyEngine(FakeEngine):
    """Takes its time over each step: half a second for what is painted "slowly", and without end "for ever"."""

    def generate(
        self, request: GenerationRequest, watch: Callable[[LoadingProgress], None] = lambda progress: None
    ) -> Iterator[Event]:
        os.write(2, b"GARBAGE FROM C++\n")
        for event in super().generate(request, watch):
            yield event
            if request.prompt == "for ever":
                threading.Event().wait()
            time.sleep(0.5 if "slowly" in request.prompt else 0.02)


if __name__ == "__main__":
    opening.STOP_S = 0.2
    arguments = command_line.parser().parse_args(sys.argv[2:])
    sys.exit(opening.run_app(Path(sys.argv[1]), make_engine=NoisyEngine, launch=launch_from(arguments)))
