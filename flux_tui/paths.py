"""Where files live on this machine. Asking makes no folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

APP_NAME = "flux-tui"
GALLERY_VARIABLE = "FLUX_TUI_GALLERY"
CONFIG_VARIABLE = "FLUX_TUI_CONFIG"


def gallery_dir() -> Path:
    """The gallery folder: `$FLUX_TUI_GALLERY`, or `flux-tui` in the user's own pictures folder."""
    return _named_by(GALLERY_VARIABLE) or platformdirs.user_pictures_path() / APP_NAME


def config_dir() -> Path:
    """What people write: `config.toml`, `styles.toml`, and the folders `themes` and `styles`."""
    return platformdirs.user_config_path(APP_NAME, appauthor=False)


def config_file() -> Path:
    """The config: `$FLUX_TUI_CONFIG`, or `config.toml` in the config folder."""
    return _named_by(CONFIG_VARIABLE) or config_dir() / "config.toml"


def models_file() -> Path:
    """Names for checkpoints: `models.toml` beside the config."""
    return config_file().parent / "models.toml"


def state_dir() -> Path:
    """What the program remembers from one run to the next; losing it loses no picture."""
    return platformdirs.user_state_path(APP_NAME, appauthor=False)


def state_file() -> Path:
    """The draft, the settings, the queue and the seconds learned."""
    return state_dir() / "state.json"


def queue_claim() -> Path:
    """Held by the app that keeps the queue, the first of those that are open."""
    return state_dir() / "queue.lock"


def prompts_file() -> Path:
    """Every prompt that was ever run."""
    return state_dir() / "prompts.jsonl"


def models_dir() -> Path:
    """Checkpoints that were imported without a folder being named."""
    return platformdirs.user_data_path(APP_NAME, appauthor=False) / "models"


def loras_dir() -> Path:
    """LoRAs, which are put there by hand, or by links to where they lie."""
    return platformdirs.user_data_path(APP_NAME, appauthor=False) / "loras"


def cache_dir() -> Path:
    """What can be made again at any time, thumbnails above all."""
    return platformdirs.user_cache_path(APP_NAME, appauthor=False)


def log_file() -> Path:
    """The log: what XLA says on its own, and the tracebacks of unexpected faults."""
    return platformdirs.user_log_path(APP_NAME, appauthor=False) / f"{APP_NAME}.log"


def _named_by(variable: str) -> Path | None:
    named = os.environ.get(variable)
    return Path(os.path.expanduser(named)).absolute() if named else None
