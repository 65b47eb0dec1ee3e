"""Where files live on this machine. Asking makes no folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

APP_NAME = "flux-tui"
GALLERY_VARIABLE = "FLUX_TUI_GALLERY"


def gallery_dir() -> Path:
    """The gallery folder: `$FLUX_TUI_GALLERY`, or `flux-tui` in the user's own pictures folder."""
    named = os.environ.get(GALLERY_VARIABLE)
    if named:
        return Path(os.path.expanduser(named)).absolute()
    return platformdirs.user_pictures_path() / APP_NAME


def log_file() -> Path:
    """The log: what XLA says on its own, and the tracebacks of unexpected faults."""
    return platformdirs.user_log_path(APP_NAME, appauthor=False) / f"{APP_NAME}.log"
