"""The config file: it is read with all its faults at once, edited without losing a comment, and told from one table."""

from __future__ import annotations

import errno
import os
import tomllib
from pathlib import Path

import pytest

from flux_engine.errors import FluxError, OutputError, RequestError
from flux_engine.fields import FIELDS
from flux_engine.request import LoraUse
from flux_tui import paths
from flux_tui.config import Config, ConfigFileError, describe, load_config, set_value, template
from flux_tui.options import AppOptions, PreviewOptions, key_names, options_of


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a config file may be."""
    return tmp_path / "config.toml"


def faults(file: Path, text: str, action_ids: set[str] | None = None) -> tuple[str, ...]:
    file.write_text(text)
    with pytest.raises(ConfigFileError) as raised:
        load_config(file, action_ids=action_ids)
    return raised.value.faults


def test_without_a_file_the_defaults_hold_and_none_is_made(file: Path) -> None:
    assert load_config(file) == Config()
    assert Config().app.theme == "flux-dark"
    assert not file.exists()


def test_what_is_written_is_read_and_known_to_be_written(file: Path) -> None:
    file.write_text("""
app.theme = "flux-light"
[preview]
max_fps = 8
[defaults]
num_steps = 12
guidance_scale = 3
sigma_shift = ""
checkpoint_dir = "models/x"
seed_use = "increment"
count = 4
[presets.quick]
num_steps = 4
integrator = "heun"
[keys]
generate = "F5, Ctrl+G"
quit = ""
""")
    config = load_config(file, action_ids={"generate", "quit"})
    assert config.app == AppOptions(theme="flux-light")
    assert config.preview == PreviewOptions()
    assert config.defaults == {
        "num_steps": 12,
        "guidance_scale": 3.0,
        "sigma_shift": None,
        "checkpoint_dir": str(file.parent / "models/x"),
        "seed_use": "increment",
        "count": 4,
    }
    assert config.preset("quick") == {"num_steps": 4, "integrator": "heun"}
    assert config.keys == {"generate": "f5,ctrl+g", "quit": ""}


def test_paths_are_counted_from_the_file_or_from_home(file: Path, own_home: Path) -> None:
    file.write_text('[app]\ngallery = "~/pictures"\neditor = ""')
    config = load_config(file)
    assert config.app.gallery == own_home / "pictures"
    assert config.app.editor is None
    file.write_text('[app]\ngallery = "pictures"')
    assert load_config(file).app.gallery == file.parent / "pictures"


def test_all_faults_are_told_at_once_from_the_top_with_what_was_expected(file: Path) -> None:
    text = """# mine
[app]
them = "x"
mouse = 1
notify = "osc"
[preview]
max_fps = 31
[defaults]
width = 130
num_stps = 3
count = 0
negative_prompt = 5
integrator = ["euler"]
[presets.odd]
timer = "linear"
sigma_shift = 2
[keys]
generate = "ctl+g"
genrate = "f5"
quit = 3
[aps]
"""
    assert faults(file, text, {"generate", "quit"}) == (
        "config.toml, line 3: [app] them is unknown; did you mean theme?",
        "config.toml, line 4: [app] mouse is 1; expected true or false.",
        "config.toml, line 5: [app] notify is 'osc'; expected one of off, bell, osc9, osc777.",
        "config.toml, line 7: [preview] max_fps is 31; expected a whole number from 1 to 30.",
        "config.toml, line 9: [defaults] width is 130; expected a multiple of 16: 128 or 144.",
        "config.toml, line 10: [defaults] num_stps is unknown; did you mean num_steps?",
        "config.toml, line 11: [defaults] count is 0; expected a whole number from 1 to 1000.",
        "config.toml, line 12: [defaults] negative_prompt is 5; expected plain text.",
        "config.toml, line 13: [defaults] integrator is ['euler']; expected one of euler, heun, ddim, dpmpp_2s.",
        "config.toml, line 14: [presets.odd] timer is 'linear' and sigma_shift is 2.0; expected one of them.",
        "config.toml, line 18: [keys] generate is 'ctl+g'; expected ctrl in place of 'ctl'.",
        "config.toml, line 19: [keys] genrate is unknown; did you mean generate?",
        'config.toml, line 20: [keys] quit is 3; expected keys as text, "f5,ctrl+g".',
        "config.toml, line 21: aps is unknown; did you mean app?",
    )


def test_a_fault_leaves_the_rest_of_the_file_in_force(file: Path) -> None:
    odd = '[presets.odd]\ntimer = "linear"\nsigma_shift = 2'
    file.write_text(f'[app]\nmouse = "no"\nsync = false\n[presets.a]\nnum_steps = 0\nwidth = 16\n{odd}')
    with pytest.raises(ConfigFileError, match=r"3 faults: .*line 2.*line 5.*line 7") as raised:
        load_config(file)
    assert raised.value.config.app == AppOptions(sync=False)
    assert raised.value.config.presets == {"a": {"width": 16}, "odd": {}}
    assert str(file) in raised.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("theme = 'x'", "line 1: theme stands in no table; expected it in [app]."),
        ("app = 3", "line 1: [app] is 3; expected a table."),
        ("[presets]\nquick = 3", "line 2: [presets.quick] is 3; expected a table."),
        ("[app]\nmouse = true\n[app]\n", "config.toml, line 3, column "),
        ("[app]\ntheme = 'x", "no TOML: Expected"),
        ("[app]\ntheme == 1", "config.toml, line 2, column 8: no TOML: Invalid value."),
        ("a = " + "[" * 5000, "nested too deeply"),
        ("a = " + "1" * 5000, "no TOML"),
        ('[app]\ntheme = "\\u001b[31m"', r"theme is '\x1b[31m'; expected plain text."),
        ('["\\u001b[31m"]', r"'\x1b[31m' is unknown"),
        ('[defaults]\nnegative_prompt = "\\u009b"', r"negative_prompt is '\x9b'; expected plain text."),
    ],
)
def test_a_bad_file_is_told_in_one_line_that_no_terminal_obeys(file: Path, text: str, said: str) -> None:
    (line,) = faults(file, text)
    assert said in line
    assert line.isprintable()


def test_a_file_that_is_no_text_or_no_file_is_refused(file: Path) -> None:
    file.write_bytes(b"[app]\n# \xff\n")
    with pytest.raises(ConfigFileError, match=r"config.toml, line 2: not UTF-8"):
        load_config(file)
    file.write_bytes(b"#" * 2**21)
    with pytest.raises(ConfigFileError, match="longer than 1048576 bytes"):
        load_config(file)
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigFileError, match="cannot be read: Is a directory"):
        load_config(file)


def test_lines_are_found_past_long_texts_quoted_keys_and_a_byte_order_mark(file: Path) -> None:
    text = '''\ufeff[defaults]
negative_prompt = """
width = 1
"""
width = 1
[ "presets" . 'my own' ]
width = 1
'''
    assert faults(file, text) == (
        "config.toml, line 5: [defaults] width is 1; expected a whole number from 16 to 8192.",
        "config.toml, line 7: [presets.my own] width is 1; expected a whole number from 16 to 8192.",
    )


def test_a_preset_that_is_not_there_is_named_with_the_nearest_one(file: Path) -> None:
    file.write_text("[presets.quick]\nnum_steps = 4")
    with pytest.raises(RequestError, match=r"preset quik is unknown; did you mean quick\?"):
        load_config(file).preset("quik")
    with pytest.raises(RequestError, match="there is none"):
        Config().preset("quick")


@pytest.mark.parametrize(
    ("written", "textual"),
    [
        ("F5, Ctrl+G", "f5,ctrl+g"),
        ("?", "?"),
        ("G", "G"),
        ("shift+g", "G"),
        ("+", "+"),
        ("ctrl+shift+Left", "ctrl+shift+left"),
        ("alt+question_mark", "alt+question_mark"),
        ("left_parenthesis,comma,slash", "left_parenthesis,comma,slash"),
        (" ", ""),
    ],
)
def test_keys_are_taken_as_people_and_as_textual_write_them(written: str, textual: str) -> None:
    assert key_names(written) == textual


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("esc", "escape in place of 'esc'"),
        ("page_up", "pageup in place of 'page_up'"),
        ("strg+g", "ctrl, alt or shift in place of 'strg'"),
        ("f5,", "in place of ''"),
        ("ctrl+", "in place of ''"),
        ("f25", "in place of 'f25'"),
        ("hello there", "in place of 'hello there'"),
        ("\x1b", r"in place of '\x1b'"),
    ],
)
def test_a_key_that_no_terminal_sends_is_refused(written: str, expected: str) -> None:
    with pytest.raises(ValueError) as raised:
        key_names(written)
    assert expected in str(raised.value)


def test_an_action_without_keys_gets_one_that_cannot_be_pressed() -> None:
    assert Config(keys={"quit": "", "help": "f1"}).keymap == {"quit": "unbound", "help": "f1"}


def test_the_template_says_what_no_file_says(file: Path) -> None:
    file.write_text(template())
    assert load_config(file) == Config()
    assert max(map(len, template().splitlines())) <= 100


def test_every_line_of_the_template_is_valid_once_it_counts(file: Path) -> None:
    file.write_text("\n".join(line.removeprefix("#") if line[:2] != "# " else "" for line in template().splitlines()))
    config = load_config(file, action_ids={"generate"})
    assert config.app == AppOptions()
    assert config.preview == PreviewOptions()
    assert set(config.defaults) == {field.name for field in FIELDS} | {"seed_use", "count"}
    assert config.presets and config.keys


def test_every_option_is_told_with_what_it_takes() -> None:
    rows = {row.key: row for row in describe()}
    assert rows["preview.max_fps"][1:] == ("a whole number from 1 to 30", "8", "The most previews a second.")
    assert rows["app.gallery"].accepts == "a path"
    assert rows["defaults.width"].default == "the model's"
    told = {f"app.{name}" for name in options_of(AppOptions)} | {f"defaults.{field.name}" for field in FIELDS}
    assert told | {"presets.NAME", "keys.ACTION"} <= set(rows)
    assert all(row.help.endswith(".") and row.accepts for row in rows.values())


def test_a_value_is_set_and_every_comment_stays(file: Path) -> None:
    text = "# mine\n[app]\ntheme = 'a'   # dark\n\n[preview] # slow link\nmax_fps = 2\n"
    file.write_text(text)
    set_value(file, "app.theme", "flux-light")
    assert file.read_text() == text.replace("'a'", '"flux-light"')
    set_value(file, "app.gallery", Path("/pictures"))
    set_value(file, "keys.generate", "f7")
    loras = (LoraUse(file="ink", strength=0.8), LoraUse(file="film"))
    quick = {"num_steps": 4, "sigma_shift": None, "loras": loras, "lora_fuse": True}
    set_value(file, ("presets", "v1.5"), quick)
    config = load_config(file)
    assert (config.app.theme, config.app.gallery) == ("flux-light", Path("/pictures"))
    assert config.keys == {"generate": "f7"}
    assert config.preset("v1.5") == quick and 'loras = "ink:0.8; film"' in file.read_text()
    assert file.read_text().startswith("# mine\n[app]\n") and "# slow link\nmax_fps = 2\n" in file.read_text()


def test_a_value_is_taken_out_again(file: Path) -> None:
    set_value(file, "preview.max_fps", 2)
    assert load_config(file).preview.max_fps == 2
    set_value(file, "preview.max_fps", None)
    set_value(file, "app.theme", None)
    assert load_config(file) == Config()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("app.theme", 3, "theme is 3; expected plain text"),
        ("app.them", "x", "did you mean theme"),
        ("presets.quick", {"num_steps": 0}, "num_steps is 0"),
        ("defaults.loras", "ink:11", "loras is 'ink:11'; expected a strength from -10 to 10 for ink."),
        ("defaults.loras", 3, r"loras is 3; expected FILE\[:STRENGTH\], several with a ; between"),
        ("defaults.lora_fuse", "yes", "lora_fuse is 'yes'; expected true or false"),
        ("presets.quick.num_steps", 2000, "num_steps is 2000"),
        ("preview.max_fps.deep", 3, "max_fps is 2; expected a table"),
        ("defaults.timer", object(), "cannot be edited"),
    ],
)
def test_a_value_that_is_not_taken_leaves_the_file_as_it_was(file: Path, key: str, value: object, said: str) -> None:
    file.write_text(text := "[preview]\nmax_fps = 2\n")
    with pytest.raises(ConfigFileError, match=said):
        set_value(file, key, value)
    assert file.read_text() == text


def test_what_else_is_wrong_with_a_file_does_not_keep_a_value_out(file: Path) -> None:
    file.write_text("[app]\nmouse = 3\n")
    set_value(file, "app.theme", "flux-light")
    assert tomllib.loads(file.read_text()) == {"app": {"mouse": 3, "theme": "flux-light"}}
    file.write_text("[app\n")
    with pytest.raises(ConfigFileError, match="line 1, column 5"):
        set_value(file, "app.theme", "flux-light")


def test_a_config_that_is_a_link_stays_one(file: Path, tmp_path: Path) -> None:
    (real := tmp_path / "dotfiles.toml").write_text("")
    file.symlink_to(real)
    set_value(file, "app.theme", "flux-light")
    assert file.is_symlink()
    assert load_config(real).app.theme == "flux-light"


def test_a_disk_that_is_full_leaves_the_old_config(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("[app]\n")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        set_value(file, "app.theme", "flux-light")
    assert [path.name for path in file.parent.iterdir() if path.is_file()] == ["config.toml"]
    assert file.read_text() == "[app]\n"


def test_the_errors_are_the_projects_own() -> None:
    assert issubclass(ConfigFileError, FluxError)


def test_folders_follow_the_home_and_asking_makes_none(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "FLUX_TUI_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    for path in (paths.config_file(), paths.state_file(), paths.prompts_file(), paths.cache_dir()):
        assert path.is_relative_to(own_home)
        assert "flux-tui" in path.parts
    monkeypatch.setenv("FLUX_TUI_CONFIG", "~/other.toml")
    assert paths.config_file() == own_home / "other.toml"
    assert list(own_home.iterdir()) == []
