"""Styles: named texts with a place for the prompt, built in or from the user's files.

    <config>/styles.toml        name = "text with {prompt}"
    <config>/styles/NAME.txt    the text alone

Only `{prompt}` means something; every other brace is a brace. Knows no screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from flux_tui.metadata import harmless
from flux_tui.toml_file import TomlFileError, plain, read_toml, shown

PROMPT = "{prompt}"
MAX_BYTES = 64 * 1024  # far beyond the 512 tokens that T5 reads

# FLUX reads sentences, so these are sentences and not lists of praise.
BUILT_IN = {
    "film": "{prompt}, a still from a film, wide format, shallow focus, light from one side",
    "ink": "{prompt}, an ink drawing with a brush on rough white paper, few lines, much empty space",
    "isometric": "{prompt}, a small isometric model seen from above, clean edges, soft even light",
    "night": "{prompt}, at night, lit by the moon and a few warm lamps, deep shadows",
    "painting": "{prompt}, an oil painting on canvas with visible brush strokes and muted colours",
    "pencil": "{prompt}, a pencil drawing on cream paper, fine hatching, soft shadows",
    "photo": "{prompt}, a photograph with a 50 mm lens in natural light, fine detail",
    "poster": "{prompt}, a screen-printed travel poster, flat shapes, four colours",
    "watercolour": "{prompt}, a watercolour with wet edges and the grain of the paper showing",
}


def styles(folder: Path) -> tuple[dict[str, str], list[str]]:
    """The styles there are, by name and in the order of their names, and a line about each that cannot be read.

    A file's style replaces a built-in one of the same name, and one of its own file that of `styles.toml`.

    Args:
        folder: the config folder; it need not be there.
    """
    faults: list[str] = []
    found = {
        **BUILT_IN,
        **dict(_of_table(folder / "styles.toml", faults)),
        **dict(_of_files(folder / "styles", faults)),
    }
    return dict(sorted(found.items())), faults


def _of_table(path: Path, faults: list[str]) -> Iterator[tuple[str, str]]:
    try:
        file = read_toml(path)
    except FileNotFoundError:
        return
    except TomlFileError as error:
        faults.append(str(error))
        return
    wrong = []
    for name, text in file.data.items():
        if isinstance(text, str) and text.strip() and _is_name(name):
            yield name, harmless(text).strip()
        else:
            wrong.append(((name,), f'{plain(name)} is {shown(text)}; expected a text such as "{{prompt}}, in ink".'))
    faults += file.lines_about(wrong)


def _of_files(folder: Path, faults: list[str]) -> Iterator[tuple[str, str]]:
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".txt")
    except OSError:  # no such folder: no such styles
        return
    for path in paths:
        name = plain(path.name)
        try:
            with path.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
            text = raw.decode("utf-8-sig").strip()
        except OSError as error:
            faults.append(f"{name} cannot be read: {error.strerror}.")
        except UnicodeDecodeError:
            faults.append(f"{name} is not UTF-8; expected a text in UTF-8.")
        else:
            if text and len(raw) <= MAX_BYTES and _is_name(path.stem):
                yield path.stem, harmless(text)
            else:
                faults.append(f"{name} is no style; expected a name and 1 to {MAX_BYTES} bytes of text.")


def _is_name(name: str) -> bool:
    return bool(name.strip()) and name.isprintable()


def apply(template: str, prompt: str) -> str:
    """The prompt in its style; a template without a place for it follows it after a comma.

    A blank prompt stays blank: a style alone says nothing of what to paint.
    """
    if not prompt.strip():
        return prompt
    if PROMPT in template:
        return template.replace(PROMPT, prompt)
    return f"{prompt}, {template}"


def matching(names: Iterable[str], typed: str) -> list[str]:
    """The names that what was typed may become: those that start with it, then those that hold it. Case is nothing."""
    typed = typed.strip().casefold()
    holding = [name for name in names if typed in name.casefold()]
    return sorted(holding, key=lambda name: not name.casefold().startswith(typed))  # stable: their own order else
