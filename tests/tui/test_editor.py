"""A prompt goes to the user's own editor and comes back, or stays as it was. The editors are real programs."""

from __future__ import annotations

import os
import signal
import stat
import threading
from pathlib import Path

import pytest

from flux_tui.editor import MAX_BYTES, UNCHANGED, EditorError, edit_outside, find_editor, run_in_terminal
from tests.tui.terminal import Terminal

APP = Path(__file__).parent / "prompt_app.py"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No editor of the user's, and a folder of temporary files of the test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    for variable in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(variable, raising=False)
    return folder


def editor(folder: Path, script: str, name: str = "my editor") -> str:
    """A program that finds the file in $1; its command, quoted as in a shell."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"'{path}'"


def test_what_the_editor_saved_comes_back(tmp_path: Path, own_folders: Path) -> None:
    command = editor(tmp_path, 'printf "%s" "in a fog" >> "$1"')

    assert edit_outside("a boat\non a lake", command) == "a boat\non a lake\nin a fog"
    assert list(own_folders.iterdir()) == []


@pytest.mark.parametrize("text", ["", "a boat", "a boat\n", "a boat\n\n", "  été 日本語\ttab"])
def test_an_editor_that_changes_nothing_changes_nothing(text: str, tmp_path: Path) -> None:
    assert edit_outside(text, editor(tmp_path, 'test -f "$1"')) == text


def test_the_newline_that_editors_add_is_taken_off(tmp_path: Path) -> None:
    assert edit_outside("old", editor(tmp_path, 'echo "new" > "$1"')) == "new"
    assert edit_outside("old", editor(tmp_path, 'printf new > "$1"')) == "new"


def test_nobody_else_may_read_the_file_and_its_name_ends_in_txt(tmp_path: Path) -> None:
    seen: list[Path] = []

    def look(command: list[str]) -> int:
        path = Path(command[-1])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.read_text() == "a secret\n"
        seen.append(path)
        return 0

    edit_outside("a secret", "any", look)  # type: ignore[arg-type]

    assert seen[0].suffix == ".txt"


def test_an_editor_that_saves_to_another_file_and_renames_it_is_read(tmp_path: Path) -> None:
    command = editor(tmp_path, 'echo new > "$1.new"; mv "$1.new" "$1"')

    assert edit_outside("old", command) == "new"


def test_arguments_are_taken_as_a_shell_takes_them(tmp_path: Path) -> None:
    command = editor(tmp_path, 'printf "%s|" "$1" "$2" > "$3"')

    assert edit_outside("", f"{command} --wait 'two words'") == "--wait|two words|"


@pytest.mark.parametrize(
    ("config", "visual", "edits", "found"),
    [
        ("c", "v", "e", ["c"]),
        (None, "v -w", "e", ["v", "-w"]),
        (None, None, "e", ["e"]),
        (" ", "", "e", ["e"]),
        (None, None, None, ["vi"]),
    ],
)
def test_the_config_goes_before_visual_and_visual_before_editor(
    config: str | None,
    visual: str | None,
    edits: str | None,
    found: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("vi", "nano"):
        editor(tmp_path, "", name)
    monkeypatch.setenv("PATH", str(tmp_path))
    for variable, value in (("VISUAL", visual), ("EDITOR", edits)):
        if value is not None:
            monkeypatch.setenv(variable, value)

    assert find_editor(config) == found


def test_nano_is_taken_where_there_is_no_vi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    editor(tmp_path, "", "nano")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_editor() == ["nano"]


def test_a_machine_without_an_editor_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(EditorError, match="There is no editor") as error:
        edit_outside("a boat")
    assert "$VISUAL" in error.value.hint


@pytest.mark.parametrize("command", ["/no/such/editor", "./no-such-editor -w"])
def test_an_editor_that_is_not_there_is_named(command: str, own_folders: Path) -> None:
    with pytest.raises(EditorError, match=r"no.such.editor' could not be run: No such file") as error:
        edit_outside("a boat", command)

    assert error.value.hint == UNCHANGED
    assert list(own_folders.iterdir()) == []


def test_quotes_that_are_not_closed_are_told_of() -> None:
    with pytest.raises(EditorError, match="is no command"):
        edit_outside("a boat", "vi 'x")


def test_an_error_of_the_editor_keeps_the_prompt_and_what_was_saved(tmp_path: Path, own_folders: Path) -> None:
    with pytest.raises(EditorError, match="ended with status 3; expected 0") as error:
        edit_outside("a boat", editor(tmp_path, 'echo "hours of work" > "$1"; exit 3'))

    [kept] = own_folders.iterdir()
    assert kept.read_text() == "hours of work\n"
    assert error.value.hint == f"{UNCHANGED} What the editor saved is in {kept}."


def test_an_error_after_which_nothing_is_new_leaves_no_file(tmp_path: Path, own_folders: Path) -> None:
    with pytest.raises(EditorError, match="ended by signal 15") as error:
        edit_outside("a boat", editor(tmp_path, "kill -TERM $$"))

    assert error.value.hint == UNCHANGED
    assert list(own_folders.iterdir()) == []


def test_a_file_that_the_editor_removed_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(EditorError, match="cannot be read: No such file"):
        edit_outside("a boat", editor(tmp_path, 'rm "$1"'))


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (r'printf "caf\351" > "$1"', "not UTF-8"),
        (r'printf "\377\376a\000" > "$1"', "not UTF-8"),
        (f'head -c {MAX_BYTES + 1} /dev/zero | tr "\\000" x > "$1"', f"more than {MAX_BYTES} bytes"),
    ],
)
def test_a_text_that_cannot_be_a_prompt_is_kept_in_its_file(
    script: str, fault: str, tmp_path: Path, own_folders: Path
) -> None:
    with pytest.raises(EditorError, match=fault) as error:
        edit_outside("a boat", editor(tmp_path, script))

    [kept] = own_folders.iterdir()
    assert str(kept) in error.value.hint


def test_what_a_terminal_obeys_does_not_come_back(tmp_path: Path) -> None:
    text = edit_outside("", editor(tmp_path, r'printf "\357\273\277a\r\nb\033[2Jc" > "$1"'))

    assert text == "a\nb\N{REPLACEMENT CHARACTER}[2Jc"


def test_a_disk_that_takes_no_file_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "no" / "such"))

    with pytest.raises(EditorError, match="could not be written for the editor: No such file"):
        edit_outside("a boat", "vi")


def test_ctrl_c_is_the_editors_own_affair(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    command = editor(tmp_path, f"trap 'exit 7' INT; kill -INT {os.getpid()}; kill -INT $$; exit 1").strip("'")

    assert run_in_terminal([command]) == 7
    assert signal.getsignal(signal.SIGINT) is before


def test_an_editor_runs_from_another_thread_too(tmp_path: Path) -> None:
    status: list[int] = []
    command = editor(tmp_path, "exit 5").strip("'")
    thread = threading.Thread(target=lambda: status.append(run_in_terminal([command])))
    thread.start()
    thread.join()

    assert status == [5]


def test_the_editor_has_the_terminal_though_descriptors_1_and_2_lead_to_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = 'echo "EDITOR HERE"; echo "AND ITS FAULTS" >&2; test -t 0 || exit 1; read word; echo "$word" >> "$1"'
    monkeypatch.setenv("VISUAL", editor(tmp_path, script))
    with Terminal([str(APP), str(tmp_path / "log")], ROOT) as terminal:
        terminal.until(lambda: "Prompt" in terminal.text())
        terminal.press("a boat\x1b[19~")
        terminal.until(lambda: "EDITOR HERE" in terminal.text() and "AND ITS FAULTS" in terminal.text())
        terminal.press("on a lake\r")
        terminal.until(lambda: terminal.raw.count(b"\x1b[?2004h") == 2)  # the app has the terminal again
        terminal.press("!\r")
        terminal.until(lambda: "ran 1" in terminal.text())

        assert r"ran 1: 'a boat\non a lake!'" in terminal.text()
    assert "EDITOR HERE" not in (tmp_path / "log").read_text()


def test_an_editor_that_fails_gives_the_screen_back_with_the_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", editor(tmp_path, "exit 4"))
    with Terminal([str(APP), str(tmp_path / "log")], ROOT) as terminal:
        terminal.until(lambda: "Prompt" in terminal.text())
        terminal.press("a boat\x1b[19~")
        terminal.until(lambda: "ended with status 4; expected 0. The prompt is as it was." in terminal.text())
        terminal.press("!\r")
        terminal.until(lambda: "ran 1: 'a boat!'" in terminal.text())
