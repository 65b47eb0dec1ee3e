"""Themes: what is text in them can be read, and what people write as themes loads or says why not."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from textual.app import App, ComposeResult
from textual.color import Color
from textual.theme import Theme
from textual.widgets import Button, Footer, Input, OptionList, TextArea

from flux_tui.options import DEFAULT_THEME
from flux_tui.themes import OWN_THEMES, load_user_themes

LEAST = {"flux-dark": 4.5, "flux-light": 4.5, "flux-contrast": 7.0}

GROUNDS = ("background", "surface", "panel", "block-cursor-background", "block-cursor-blurred-background")
TEXTS = (
    *("text", "text-muted", "foreground", "accent", "footer-key-foreground"),
    *("text-primary", "text-accent", "text-error", "text-success", "text-warning"),
)
PAIRS = (
    *itertools.product(TEXTS, GROUNDS),
    *itertools.product(("primary", "error", "success", "warning", "foreground-muted"), GROUNDS[:2]),
    *itertools.product(("button-color-foreground",), ("primary", "error", "success", "warning")),
    ("block-cursor-foreground", "block-cursor-background"),
    ("block-cursor-blurred-foreground", "block-cursor-blurred-background"),
    ("footer-description-foreground", "footer-background"),
    ("input-selection-foreground", "input-selection-background"),
    ("input-cursor-foreground", "input-cursor-background"),
)
"""What stands on what, by the names of Textual's variables."""


def luminance(colour: Color) -> float:
    """WCAG's relative luminance, 0 to 1."""
    parts = [part / 255 for part in colour.rgb]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Color, other: Color) -> float:
    """WCAG's contrast ratio, 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def painted(value: str, ground: Color) -> Color:
    """The colour seen when a variable's value is painted on a ground."""
    if share := re.fullmatch(r"auto (\d+)%", value):
        return ground + ground.get_contrast_text(int(share[1]) / 100)
    return ground + Color.parse(value)


def test_the_contrast_is_that_of_the_standard() -> None:
    assert contrast(Color.parse("white"), Color.parse("black")) == pytest.approx(21)
    assert contrast(Color.parse("#777777"), Color.parse("white")) == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", OWN_THEMES, ids=lambda theme: theme.name)
def test_every_text_stands_out_from_every_ground(theme: Theme) -> None:
    colours = theme.to_color_system().generate()
    found = {}
    for text, under in PAIRS:
        ground = painted(colours[under], Color.parse(colours["background"]))
        found[text, under] = contrast(painted(colours[text], ground), ground)
    low = {pair: round(ratio, 2) for pair, ratio in found.items() if ratio < LEAST[theme.name]}
    assert low == {}


@pytest.mark.parametrize("theme", OWN_THEMES, ids=lambda theme: theme.name)
def test_a_focused_frame_stands_out_and_what_is_typed_in_a_focused_field_does(theme: Theme) -> None:
    colours = {
        name: Color.parse(value) for name, value in theme.to_color_system().generate().items() if value[0] == "#"
    }
    assert contrast(colours["accent"], colours["background"]) >= LEAST[theme.name]
    field = colours["surface"] + colours["accent"].with_alpha(0.3)
    assert contrast(colours["foreground"], field) >= 4.5


def test_the_own_themes_are_a_dark_one_a_light_one_and_one_of_high_contrast() -> None:
    assert [theme.name for theme in OWN_THEMES] == list(LEAST)
    assert [theme.dark for theme in OWN_THEMES] == [True, False, True]
    assert DEFAULT_THEME == "flux-dark"


class Host(App[None]):
    """The widgets that use most of a theme's colours."""

    def compose(self) -> ComposeResult:
        yield Input(placeholder="any")
        yield TextArea("any")
        yield OptionList("one", "two")
        yield Button("any", variant="primary")
        yield Footer()


async def shown_in(*themes: Theme) -> list[str]:
    """The backgrounds of an app that puts on the themes one after another."""
    app = Host()
    seen = []
    async with app.run_test(size=(80, 24)) as pilot:
        for theme in themes:
            app.register_theme(theme)
            app.theme = theme.name
            await pilot.pause()
            seen.append(app.screen.styles.background.hex.lower())
    return seen


async def test_every_own_theme_can_be_put_on() -> None:
    assert await shown_in(*OWN_THEMES) == [theme.background for theme in OWN_THEMES]


MINE = """
name = "mine"
dark = false
primary = "steelblue"
accent = "rgb(140, 70, 0)"
background = "#FBFAF5"
surface = "hsl(60, 10%, 93%)"
text_alpha = 0.9
luminosity_spread = 0
[variables]
text-muted = "auto 70%"
border = "#12345680"
block-cursor-text-style = "bold not italic"
link-style = "none"
ansi-background = "transparent"
"""


async def test_a_theme_of_a_file_is_loaded_and_can_be_put_on(tmp_path: Path) -> None:
    (tmp_path / "any.toml").write_text(MINE)
    (tmp_path / "small.toml").write_text('primary = "#abc"\nbackground = "#000000"')
    (tmp_path / "notes.txt").write_text("no theme")
    themes, faults = load_user_themes(tmp_path)
    assert faults == []
    assert [theme.name for theme in themes] == ["mine", "small"]
    assert themes[0].variables["text-muted"] == "auto 70%"
    assert await shown_in(*themes) == ["#fbfaf5", "#000000"]


async def test_every_variable_that_is_taken_can_be_put_on(tmp_path: Path) -> None:
    for colour in ("#123456", "#12345601", "auto 50%"):
        lines = []
        for name, default in OWN_THEMES[0].to_color_system().generate().items():
            value = "bold" if "-style" in name else colour
            if default.startswith("auto") or "auto" not in value:
                lines.append(f'{name} = "{value}"')
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.toml"
        file.write_text('primary = "#abcdef"\n[variables]\n' + "\n".join(lines))
    themes, faults = load_user_themes(tmp_path)
    assert faults == []
    assert len(await shown_in(*themes)) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('primary = "#12345"', "bad.toml, line 1: primary is '#12345'; expected a colour such as #7aa6d8."),
        ('primary = "#12345600"', "bad.toml, line 1: primary is '#12345600'; expected a colour such as #7aa6d8."),
        ('primary = "ansi_red"', "bad.toml, line 1: primary is 'ansi_red'; expected a colour such as #7aa6d8."),
        ('accent = "red"', "bad.toml: primary is missing; expected a colour such as #7aa6d8."),
        ('primary = "red"\nacent = "red"', "bad.toml, line 2: acent is unknown; did you mean accent?"),
        ('primary = "red"\ndark = "yes"', "bad.toml, line 2: dark is 'yes'; expected true or false."),
        ('primary = "red"\ntext_alpha = 95', "bad.toml, line 2: text_alpha is 95; expected a number from 0 to 1."),
        ('primary = "red"\nname = ""', "bad.toml, line 2: name is ''; expected a name."),
        ('primary = "red"\nvariables = 3', "bad.toml, line 2: variables is 3; expected a table."),
        (
            'primary = "red"\n[variables]\nborder = "x y"',
            "line 3: variables.border is 'x y'; expected a colour",
        ),
        ('primary = "red"\n[variables]\nborder = "auto 5%"', "border is 'auto 5%'; expected a colour such as #7aa6d8."),
        ('primary = "red"\n[variables]\ntext = "auto 5"', "text is 'auto 5'; expected a colour such as #7aa6d8, or"),
        ('primary = "red"\n[variables]\nborder = 3', "line 3: variables.border is 3; expected a colour such as"),
        ('primary = "red"\n[variables]\nbordr = "red"', "line 3: variables.bordr is unknown; did you mean border?"),
        (
            'primary = "red"\n[variables]\nlink-style = "big"',
            "link-style is 'big'; expected words such as \"bold underline\".",
        ),
        ('primary = "red"\n[variables]\nlink-style = "none bold"', "link-style is 'none bold'; expected words such as"),
        ("primary = red", "bad.toml, line 1, column 11: no TOML: Invalid value."),
    ],
)
def test_a_theme_that_is_wrong_says_so_in_a_line_and_the_others_load(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    (tmp_path / "good.toml").write_text('primary = "red"')
    themes, faults = load_user_themes(tmp_path)
    assert [theme.name for theme in themes] == ["good"]
    assert len(faults) == 1 and said in faults[0]


def test_no_folder_means_no_themes(tmp_path: Path) -> None:
    assert load_user_themes(tmp_path / "themes") == ([], [])
