"""The flags of a request, for `python -m flux_engine` and `flux-tui`, and the request that they make.

Knows argparse and the table of fields; knows neither engine nor screen. stdlib only.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from flux_engine.errors import RequestError
from flux_engine.fields import FIELD, FIELDS, LORA_FIELDS, MODEL_FIELDS, Field, default_values, text_of
from flux_engine.lora_text import SUFFIX, parse_lora
from flux_engine.request import GenerationRequest, LoraUse
from flux_engine.where import AUTO, MeshSizes, Processes, parse_mesh, processes

DONE, FAILED, BAD_REQUEST, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses; of several, the highest counts."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line: what is wrong, and where the help is."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_REQUEST, f"{self.prog}: {message} (see {self.prog} --help)\n")


class ShowVersion(argparse.Action):
    """`--version`: looked up only when asked for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "nargs": 0, "default": argparse.SUPPRESS, "help": "show the version and exit"})

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            text = version("flux-tui")
        except PackageNotFoundError:
            text = "(not installed)"
        print(f"flux-tui {text}")
        parser.exit(DONE)


def absolute(path: str) -> Path:
    """An argument's path from the root, `~` replaced; a `~name` of nobody stays as it is."""
    try:
        return Path(os.path.expanduser(named(path))).absolute()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"the current folder is gone ({error.strerror})") from None


def named(text: str) -> str:
    """An argument that is a name: not empty."""
    if not text:  # an unset shell variable must not mean the demo model, or the current folder
        raise argparse.ArgumentTypeError("empty; leave it out for the default")
    return text


def add_checkpoint_dir(
    parser: argparse._ActionsContainer, default: str | None = None, unsaid: str = "the demo model"
) -> None:
    """Give a parser the flag that names a model; `unsaid` is which one it is without."""
    parser.add_argument(
        "--checkpoint-dir",
        type=lambda text: str(absolute(text)),
        metavar="PATH",
        default=default,
        help=f"a checkpoint: its folder, or the file of its transformer (default: {unsaid})",
    )


def add_prompt(parser: argparse._ActionsContainer, *, required: bool) -> None:
    """Give a parser the flag for one prompt."""
    parser.add_argument("--prompt", required=required, help="what to paint")


def add_verbose_loading(parser: argparse._ActionsContainer) -> None:
    """Give a parser the flag that lets the engine talk."""
    parser.add_argument("--verbose-loading", action="store_true", help="say what is loaded, line by line, on stderr")


def add_mesh(parser: argparse._ActionsContainer, default: str | None = None) -> None:
    """Give a parser the flag that shares the work among devices; the default SUPPRESS as for `add_loras`."""
    parser.add_argument(
        "--mesh",
        type=_mesh,
        metavar="AXIS=N,...",
        default=default,
        help="share the work among devices: data=2,tensor=4 (default: one device)",
    )


def _mesh(text: str) -> MeshSizes:
    try:
        return parse_mesh(text)
    except RequestError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_processes(parser: argparse._ActionsContainer, default: str | None = None) -> None:
    """Give a parser the flags that name processes which paint together; `flux_engine.where.processes` reads them."""
    parser.add_argument(
        "--coordinator",
        type=named,
        metavar="HOST:PORT",
        default=default,
        help=f"paint with processes that meet at process 0's host; {AUTO}: as Slurm or Open MPI says",
    )
    parser.add_argument("--processes", type=int, metavar="N", default=default, help="how many there are")
    parser.add_argument(
        "--process", type=int, metavar="I", default=default, help="which one this is; 0 asks, the others follow it"
    )


def processes_of(arguments: argparse.Namespace) -> Processes | None:
    """The processes that the command line names; what makes none ends the program, as argparse's faults do."""
    try:
        return processes(arguments.coordinator, arguments.processes, arguments.process)
    except RequestError as error:
        Parser(prog="flux-tui").exit(BAD_REQUEST, f"error: {error} {error.hint}\n")


def add_request_arguments(parser: argparse.ArgumentParser, checkpoint_dir: str | None = None) -> None:
    """Give a parser the flags that make up a request, but for its prompt, and `--output` and `--verbose-loading`.

    Args:
        checkpoint_dir: the default of that flag; `argparse.SUPPRESS` after a verb, where it would undo what stands
            before the verb.
    """
    model = parser.add_mutually_exclusive_group()
    add_checkpoint_dir(model, checkpoint_dir)
    model.add_argument(
        "--hf-repo",
        type=named,
        metavar="OWNER/NAME",
        help="a checkpoint on the Hugging Face Hub, in any layout of --checkpoint-dir",
    )
    for field in FIELDS:
        if field.name != "checkpoint_dir" and field.name not in LORA_FIELDS:
            _add_field(parser, field)
    add_loras(parser, checkpoint_dir)
    add_mesh(parser, checkpoint_dir)
    add_processes(parser, checkpoint_dir)
    parser.add_argument("--output", type=absolute, metavar="FILE", help="the PNG to write")
    add_verbose_loading(parser)


def _add_field(parser: argparse.ArgumentParser, field: Field) -> None:
    parser.add_argument(
        field.flag,
        type={"whole": int, "number": float}.get(field.kind, str),
        choices=[value for _, value in field.choices] or None,
        help=f"{field.help} (default: {_unsaid(field)})",
    )


def _unsaid(field: Field) -> str | None:
    default = getattr(GenerationRequest, field.name)
    return "the model's" if field.name in MODEL_FIELDS else text_of(default) or field.blank


def add_loras(parser: argparse._ActionsContainer, default: str | None = None) -> None:
    """Give a parser the flags that name LoRAs, one a flag, and those that say how they are applied.

    Args:
        default: of each; `argparse.SUPPRESS` after a verb, where it would undo what stands before the verb.
    """
    for field in (FIELD[name] for name in LORA_FIELDS):
        told: dict[str, Any] = {"dest": field.name, "default": default}
        if field.kind == "loras":
            told |= {
                "type": _lora,
                "metavar": "FILE[:STRENGTH]",
                "help": "a LoRA, of strength 1 if unsaid; repeatable",
            }
            parser.add_argument(field.flag, action="append", **told)
        else:
            told["help"] = f"{field.help} (default: {_unsaid(field)})"
            parser.add_argument(field.flag, action=argparse.BooleanOptionalAction, **told)


def _lora(text: str) -> LoraUse:
    """A LoRA of the command line; its path from the root where a file lies there, with or without its suffix."""
    try:
        lora = parse_lora(text)
    except RequestError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    path = os.path.expanduser(lora.file)
    here = next((each for each in (path, path + SUFFIX) if os.path.isfile(each)), None)
    return replace(lora, file=str(absolute(here))) if here else lora


def said(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that the command line names, by field name; what it leaves out is left out."""
    values = {name: getattr(arguments, name, None) for name in ("prompt", *FIELD)}
    return {name: value for name, value in values.items() if value is not None}


def request_from(
    arguments: argparse.Namespace, own: Mapping[str, Any] | None = None, usual: Mapping[str, Any] | None = None
) -> GenerationRequest:
    """The request that parsed arguments ask for, but for a model on the Hub, which is not downloaded yet.

    Args:
        arguments: what a parser with `add_request_arguments` made.
        own: settings that go before the arguments'.
        usual: settings that hold where neither says anything, before the model's own; their model does not where
            the arguments name one on the Hub.

    Raises:
        RequestError: a value is out of range, or two models are named.
    """
    model = {"checkpoint_dir": None} if arguments.hf_repo else {}
    values = {**(usual or {}), **model, **said(arguments), **(own or {})}
    checkpoint_dir = values.get("checkpoint_dir")
    if checkpoint_dir and arguments.hf_repo:  # one before the verb or in a file, one after the verb
        raise RequestError("--checkpoint-dir and --hf-repo each name a model.", hint="Leave one out.")
    return GenerationRequest(**{**default_values(checkpoint_dir or arguments.hf_repo), **values})
