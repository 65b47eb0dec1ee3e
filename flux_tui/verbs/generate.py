"""`flux-tui generate`: everything the app can ask for, without the app; paths or JSON lines on stdout."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from flux_engine import cli
from flux_engine.arguments import add_prompt, add_request_arguments, named, processes_of, request_from
from flux_engine.cli import Asked
from flux_engine.display import JsonReport, TextReport, say
from flux_engine.errors import RequestError
from flux_engine.fields import FIELD
from flux_engine.png import PictureRecord
from flux_engine.request import PicturesReady
from flux_engine.series import MAX_COUNT, SeedUse, next_seed, series
from flux_tui import paths
from flux_tui.config import Config
from flux_tui.loras import located
from flux_tui.settings import COUNT, FIXED, INCREMENT, RANDOM, SEED_USE
from flux_tui.styles import PROMPT, apply, styles
from flux_tui.toml_file import unknown
from flux_tui.verbs import Verbs, add_gallery, configured, gallery_dir, lora_folder
from flux_tui.verbs.prompt_file import prompt_lines, settings_in

EPILOG = """\
A prompt file has one prompt a line; blank lines and lines that start with # are passed over. A line that starts with {
is a JSON object of settings, {"prompt": "a hill", "width": 256}, which override the flags.
The exit status is the worst of all requests': 0 done, 1 failed, 2 a request that cannot be painted, 130 interrupted."""


def add_parser(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """The flags."""
    parser = verbs.add_parser(
        "generate",
        help="paint without the app",
        description="Paint one request, or many, and file the pictures in the gallery. stdout gets their paths.",
        epilog=EPILOG,
    )
    wanted = parser.add_mutually_exclusive_group(required=True)
    add_prompt(wanted, required=False)
    wanted.add_argument("--prompts", type=named, metavar="FILE", help="a file of prompts, one a line; - is stdin")
    add_request_arguments(parser, checkpoint_dir=argparse.SUPPRESS)
    add_gallery(parser)
    parser.add_argument(
        "--count", type=_count, metavar="N", help="pictures of each prompt, one after another (default: 1)"
    )
    parser.add_argument(
        "--seed-use",
        choices=get_args(SeedUse),
        help="fixed: each prompt starts at --seed; increment: each goes on where the last one ended; random: nobody "
        "knows. Further pictures of a prompt add 1 to the seed, or have any (default: fixed)",
    )
    parser.add_argument("--preset", type=named, metavar="NAME", help="a preset of the config file; flags override it")
    parser.add_argument("--style", type=named, metavar="NAME", help="put every prompt into a style, by its name")
    parser.add_argument("--json", action="store_true", help="JSON lines on stdout: every event, and what was saved")
    parser.add_argument("--stop-at-fault", action="store_true", help="begin nothing more after the first fault")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 1 <= int(text) <= MAX_COUNT:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text[:20]!r}; expected a whole number from 1 to {MAX_COUNT}")


def run(arguments: argparse.Namespace) -> int:
    """Paint; the exit status."""
    config = configured(arguments)
    asked = list(_asked(arguments, config))
    check, save = _destination(arguments, config, asked)
    report = JsonReport() if arguments.json else TextReport()
    return cli.paint_all(
        asked,
        cli.finish_with(save, report),
        report,
        check=check,
        hf_repo=arguments.hf_repo,
        mesh=arguments.mesh or config.app.mesh,
        processes=processes_of(arguments),
        verbose=arguments.verbose_loading,
        stop_at_fault=arguments.stop_at_fault,
    )


def _asked(arguments: argparse.Namespace, config: Config) -> Iterator[Asked]:
    """Every request, in order, or why it is none."""
    carried: dict[str, int] = {}
    try:
        usual, style = _usual(arguments, config), _style(arguments)
        for where, own in _own_settings(arguments):
            try:
                settings = own()
                request = request_from(arguments, {**carried, **settings}, _of_request(usual))
                request = located(replace(request, prompt=apply(style, request.prompt)), lora_folder(config))
            except RequestError as error:
                yield RequestError(f"{where}{error}", hint=error.hint)
                continue
            count, seed_use = usual[COUNT.name], _over(usual, settings)[SEED_USE.name]
            yield from series(request, count, seed_use)
            if seed_use == INCREMENT:
                carried["seed"] = next_seed(request.seed, count, seed_use)
    except RequestError as error:  # the file itself, or there is no such preset or style
        yield error


def _usual(arguments: argparse.Namespace, config: Config) -> dict[str, Any]:
    """What holds where no prompt says otherwise: the config's defaults, over them the preset, over them the flags."""
    preset = config.preset(arguments.preset) if arguments.preset else {}
    names = ("seed", COUNT.name, SEED_USE.name)
    flags = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    return _over(_over({COUNT.name: 1, SEED_USE.name: FIXED, **config.defaults}, preset), flags)


def _over(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `high` over those of `low`, whose random seeds give way to a seed that `high` names."""
    named_seed = "seed" in high and low[SEED_USE.name] == RANDOM
    return {**low, **({SEED_USE.name: FIXED} if named_seed else {}), **high}


def _of_request(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name in FIELD}


def _style(arguments: argparse.Namespace) -> str:
    if not arguments.style:
        return PROMPT
    found, faults = styles((arguments.config or paths.config_file()).parent)
    for fault in faults:
        say(f"note: {fault}")
    if arguments.style not in found:
        raise RequestError(unknown(arguments.style, found, "style "), hint="Styles stand in the config folder.")
    return found[arguments.style]


def _own_settings(arguments: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Mapping[str, Any]]]]:
    """For each prompt, what to put before a complaint, and what gives the settings that are its own."""
    if arguments.prompts is None:
        yield "", dict
        return
    for number, line in prompt_lines(arguments.prompts):
        yield f"line {number}: ", partial(settings_in, line, only_json=arguments.prompts.endswith(".jsonl"))


def _destination(arguments: argparse.Namespace, config: Config, asked: Sequence[Asked]) -> tuple[cli.Check, cli.Save]:
    """What makes sure that pictures can be written, and what writes them."""
    if arguments.output is not None:
        sizes = cli.batch_sizes(asked)
        return partial(cli.check_output, arguments.output, sizes), cli.files_at(arguments.output, sizes)
    from flux_tui.gallery import BatchNotSaved, Gallery

    gallery = Gallery(gallery_dir(arguments, config))

    def save(place: int, ready: PicturesReady) -> Iterator[tuple[Path, PictureRecord]]:
        try:
            saved = gallery.save(ready)
        except BatchNotSaved as error:
            yield from ((picture.path, picture.record) for picture in error.saved)
            raise
        yield from ((picture.path, picture.record) for picture in saved)

    return lambda place: gallery.check(), save
