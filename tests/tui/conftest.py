"""What every test of the app shares: a home of its own, a gallery, and pictures to put into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flux_tui.gallery import Gallery
from tests.tui import settling
from tests.tui.pictures import save

settling.install()

FOREIGN = (
    *("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_PICTURES_DIR", "FLUX_TUI_GALLERY", "FLUX_TUI_CONFIG"),
    *("SSH_CONNECTION", "SSH_TTY", "TMUX", "STY", "ZELLIJ", "NO_COLOR", "COLUMNS", "LINES", "VISUAL", "EDITOR"),
)
"""Variables of the user's own, which no test may see."""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing a test does touches the user's folders."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for variable in FOREIGN:
        monkeypatch.delenv(variable, raising=False)
    return home


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """An empty gallery."""
    return Gallery(tmp_path / "gallery")


@pytest.fixture
def filled(gallery: Gallery) -> Gallery:
    """Seeds 1 to 30, the newest last; 1 to 5 are a day older."""
    for seed in range(1, 31):
        save(gallery, seed, days=int(seed <= 5))
    return gallery
