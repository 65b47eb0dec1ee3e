"""What an import costs, looked up in `sys.modules` of fresh interpreters."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

ARRAYS = {"jax", "jaxlib", "flax", "orbax", "tensorstore"}
SCREEN = {"textual"}
PICTURES = {"PIL", "numpy"}
WORDS = {"tokenizers", "sentencepiece"}


def modules_after(code: str, status: int = 0) -> set[str]:
    """The top-level modules there are once `code` has run."""
    script = f"import sys, json, atexit\natexit.register(lambda: print('\\n' + json.dumps(list(sys.modules))))\n{code}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    ("code", "forbidden"),
    [
        ("import flux_tui.app, flux_tui.terminal.output", ARRAYS | PICTURES | WORDS | {"sqlite3", "tomlkit"}),
        (
            "import flux_tui.worker, flux_tui.gallery, flux_tui.preview, flux_tui.settings, flux_tui.session,"
            " flux_tui.jobs, flux_tui.layout, flux_tui.progress, flux_tui.tokens, flux_tui.editor, flux_tui.machine,"
            " flux_tui.loader, flux_tui.thumbnails, flux_tui.timeline",
            ARRAYS | SCREEN | PICTURES | WORDS | {"sqlite3"},
        ),
        (
            "from flux_tui.terminal import probe, kitty, sixel, pacing, clipboard, notify",
            ARRAYS | SCREEN | PICTURES | {"rich"},
        ),
        (
            "import flux_tui.config, flux_tui.state, flux_tui.prompts, flux_tui.styles, flux_tui.launch",
            ARRAYS | SCREEN | PICTURES | {"rich", "tomlkit"},
        ),
        (
            "import flux_engine, flux_engine.request, flux_engine.errors, flux_engine.configs",
            ARRAYS | SCREEN | PICTURES,
        ),
        ("import flux_engine.cli, flux_engine.png, flux_engine.__main__", ARRAYS | SCREEN | PICTURES | {"rich"}),
        ("from flux_tui.__main__ import main; main(['--help'])", ARRAYS | SCREEN | PICTURES | {"rich"}),
        ("from flux_tui.__main__ import main; main(['--version'])", ARRAYS | SCREEN | PICTURES | {"rich"}),
        ("from flux_tui.__main__ import main; main(['generate', '--help'])", ARRAYS | SCREEN | PICTURES | {"rich"}),
        ("from flux_engine.__main__ import main; main(['--help'])", ARRAYS | SCREEN | PICTURES | {"rich"}),
    ],
)
def test_an_import_brings_only_what_it_needs(code: str, forbidden: set[str]) -> None:
    assert not modules_after(code) & forbidden


def test_a_bad_request_is_refused_before_jax_is_imported() -> None:
    code = "from flux_engine.__main__ import main; sys.exit(main(['--prompt', 'a', '--width', '3']))"
    assert not modules_after(code, status=2) & (ARRAYS | SCREEN)
