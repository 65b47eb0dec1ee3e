"""Opens the app on this terminal, and leaves the terminal as it was. Knows no verb.

Textual is imported here and nowhere before, while the terminal is asked what it can do.
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from flux_engine.arguments import FAILED, INTERRUPTED
from flux_engine.display import say
from flux_tui import paths
from flux_tui.launch import Launch
from flux_tui.terminal.abilities import Abilities
from flux_tui.terminal.colour import Colours
from flux_tui.terminal.endings import raised_signals
from flux_tui.terminal.output import Modes, greeting, output_to_log
from flux_tui.terminal.probe import PATIENCE_S, drain, probe

if TYPE_CHECKING:
    from flux_engine.request import EngineLike
    from flux_engine.where import Processes
    from flux_tui.app import FluxApp

STOP_S = 3.0  # how long quitting waits for the step that runs
THREADS_S = 1.0  # and for a file that is read or a star that is kept
LEAVE_S = STOP_S + 2.0  # how long Textual has to end, which takes it 0.3 s


def run_app(
    gallery_dir: Path | None = None,
    checkpoint_dir: str | None = None,
    make_engine: Callable[[], EngineLike] | None = None,
    launch: Launch | None = None,
    processes: Processes | None = None,
) -> int:
    """Open the app; returns when it has ended and the terminal is as it was.

    Args:
        gallery_dir: where pictures are kept; None is the config's folder, or the usual one.
        checkpoint_dir: the model to start with; None is that of the last run, or the demo model.
        make_engine: makes the engine in the worker's thread; the real one if None.
        launch: what the command line says of the app; nothing if None.
        processes: whose devices paint, if not this one's alone; this is the first of them.
    """
    launch = launch or Launch()
    if complaint := _unfit_terminal(launch):
        say(f"flux-tui: {complaint}")
        return FAILED
    modes = Modes(sys.stdin.fileno())
    try:
        with raised_signals():  # until the app listens to them
            return _open(gallery_dir, checkpoint_dir, make_engine, launch, processes, modes)
    except KeyboardInterrupt:  # before Textual has taken Ctrl+C for a key
        say("error: interrupted")
        return INTERRUPTED
    finally:
        modes.restore()


def _open(
    gallery_dir: Path | None,
    checkpoint_dir: str | None,
    make_engine: Callable[[], EngineLike] | None,
    launch: Launch,
    processes: Processes | None,
    modes: Modes,
) -> int:
    gc.disable()  # it would go through what is imported again and again; the app enables it
    with greeting("flux-tui"), _Asking(launch) as ask:  # while Textual is imported
        from flux_tui.app import FluxApp
        from flux_tui.gallery import Gallery
        from flux_tui.keys import keymap
        from flux_tui.session import Session
        from flux_tui.thumbnails import Thumbnails
        from flux_tui.worker import default_engine

        session = Session(launch, {str(binding.id) for binding in keymap()})
        thumbnails = Thumbnails(paths.cache_dir() / "thumbnails.sqlite3")
        gallery = Gallery(gallery_dir or session.config.app.gallery or paths.gallery_dir(), thumbnails)
        log_path = paths.log_file()
        abilities = ask.answer()
    try:
        with output_to_log(log_path):
            make_engine = make_engine or partial(default_engine, session.option("mesh"), processes)
            app = FluxApp(gallery, make_engine, log_path, checkpoint_dir, session, abilities)
            _run(app, session.option("mouse"), modes)
    finally:
        session.close()
    status = end(app)
    if status == FAILED:  # a fault of the app itself; signals end with 128 and more
        say(f"flux-tui: something unexpected went wrong; the log has the details: {log_path}")
    return status


def _run(app: FluxApp, mouse: bool, modes: Modes) -> None:
    """As `app.run`, which would wait without end for threads that hang on a folder whose server is gone."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    runner, threads, has_ended = asyncio.Runner(), ThreadPoolExecutor(), threading.Event()
    runner.get_loop().set_default_executor(threads)
    threading.Thread(target=_leave_anyway, args=(app, modes, has_ended), name="flux-leave", daemon=True).start()
    try:
        runner.run(app.run_async(mouse=mouse))
    except (KeyboardInterrupt, SystemExit):  # a signal that came before the app listens to it
        modes.restore_all()
        raise
    finally:
        has_ended.set()
        threads.shutdown(wait=False, cancel_futures=True)
        if not _still_run(THREADS_S):
            runner.close()  # waits for them


def _leave_anyway(app: FluxApp, modes: Modes, has_ended: threading.Event) -> None:
    """Leave when the app was told to end and cannot: Textual waits without end for a terminal that takes nothing."""
    while app.return_code is None:
        if has_ended.wait(1.0):
            return
    if not has_ended.wait(LEAVE_S):
        last_words = threading.Thread(target=app.session.write, daemon=True)
        last_words.start()
        last_words.join(THREADS_S)
        modes.restore_all()
        os._exit(app.return_code)


def _still_run(patience_s: float) -> bool:
    """Whether threads that Python waits for outlive this patience."""
    until_s = time.monotonic() + patience_s
    others = [it for it in threading.enumerate() if not it.daemon and it is not threading.main_thread()]
    for thread in others:
        thread.join(max(0.0, until_s - time.monotonic()))
    return any(thread.is_alive() for thread in others)


class _Asking(threading.Thread):
    """Asks the terminal what it can do; nothing else may read the keys meanwhile."""

    def __init__(self, launch: Launch) -> None:
        super().__init__(name="flux-terminal", daemon=True)
        self._launch = launch
        self._abilities = Abilities()
        # Textual looks for both when it is imported.
        if launch.color == "none":
            os.environ["NO_COLOR"] = "1"
        os.environ.setdefault("TEXTUAL_FPS", "120")  # at its own 60, a key after a paint waits up to 33 ms for the next
        self.start()

    def run(self) -> None:
        self._abilities = probe(sys.stdin.fileno(), sys.stderr.fileno(), os.environ)

    def __enter__(self) -> _Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self.join(PATIENCE_S)  # left alone, it would change the terminal after us, and its answers come as keys

    def answer(self) -> Abilities:
        """What it can do, in the end; Textual is told of the colours."""
        from textual import constants

        self.join()
        late = drain(sys.stdin.fileno())
        colours = self._launch.color if self._launch.color not in (None, "auto") else self._abilities.colours
        # It asks the environment only, which SSH does not carry over.
        systems = {"truecolor": "truecolor", "256": "256", "16": "standard"}
        constants.COLOR_SYSTEM = systems.get(str(colours), constants.COLOR_SYSTEM)  # type: ignore[misc]
        return replace(
            self._abilities,
            colours=cast(Colours, colours),
            true_colour=colours == "truecolor",
            typed=self._abilities.typed + late,
        )


def _unfit_terminal(launch: Launch) -> str:
    """Why the app cannot be drawn here, and what to do; "" if it can."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    if None in streams or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return "the app needs a terminal; 'flux-tui generate' does not."
    if os.environ.get("TERM") == "dumb":
        return "TERM is dumb: no screen can be drawn. Set it to your terminal's, or use 'flux-tui generate'."
    if codecs.lookup(sys.stderr.encoding).name != "utf-8" and not _is_ascii(launch):  # Textual paints through stderr
        return f"the locale's encoding is {sys.stderr.encoding}, not UTF-8. Set LC_ALL=C.UTF-8, or give --ascii."
    return ""


def _is_ascii(launch: Launch) -> bool:
    if launch.ascii is not None:
        return launch.ascii
    from flux_tui.config import ConfigFileError, load_config

    try:
        return load_config(launch.config or paths.config_file()).app.ascii
    except ConfigFileError as error:
        return error.config.app.ascii


def end(app: FluxApp) -> int:
    """Stop the worker and give the exit status, or leave at once when a thread still hangs or is inside a step."""
    status = app.return_code or 0
    if not app.worker.stop(STOP_S) or _still_run(0.0):
        # Ending the interpreter under a thread inside JAX aborts (status 134); the picture is lost anyway.
        with contextlib.suppress(OSError):  # the terminal is gone
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    return status
