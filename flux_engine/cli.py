"""The arguments of a request and the progress of one, shared by `python -m flux_engine` and `flux-tui generate`.

stdlib only at import; the engine, with JAX, is imported inside `paint`. stdout gets the paths of pictures and nothing
else.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, Protocol

from flux_engine.display import progress_on_stderr, say
from flux_engine.errors import FluxError, OutputError, RequestError
from flux_engine.fields import FIELDS, MODEL_FIELDS, Field, default_values, text_of
from flux_engine.request import Event, GenerationRequest, PicturesReady, StageStarted
from flux_engine.weights.hub import download

DONE, FAILED, BAD_REQUEST, INTERRUPTED = 0, 1, 2, 130
DEFAULT_OUTPUT = Path("flux_output.png")


class EngineLike(Protocol):
    """What painting asks of an engine."""

    def generate(self, request: GenerationRequest) -> Iterator[Event]: ...


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


def add_checkpoint_dir(parser: argparse._ActionsContainer, default: str | None = None) -> None:
    """Give a parser the flag that names a model."""
    parser.add_argument(
        "--checkpoint-dir",
        type=lambda text: str(absolute(text)),
        metavar="DIR",
        default=default,
        help="an Orbax checkpoint folder (default: the demo model)",
    )


def absolute(path: str) -> Path:
    """An argument's path from the root, `~` replaced; a `~name` of nobody stays as it is."""
    try:
        return Path(os.path.expanduser(_named(path))).absolute()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"the current folder is gone ({error.strerror})") from None


def _named(text: str) -> str:
    if not text:  # an unset shell variable must not mean the demo model, or the current folder
        raise argparse.ArgumentTypeError("empty; leave it out for the default")
    return text


def add_request_arguments(parser: argparse.ArgumentParser, checkpoint_dir: str | None = None) -> None:
    """Give a parser the flags that make up a request, and `--output` and `--verbose-loading`.

    Args:
        checkpoint_dir: the default of that flag; `argparse.SUPPRESS` after a verb, where it would undo what stands
            before the verb.
    """
    model = parser.add_mutually_exclusive_group()
    add_checkpoint_dir(model, checkpoint_dir)
    model.add_argument(
        "--hf-repo", type=_named, metavar="OWNER/NAME", help="a checkpoint in this layout on the Hugging Face Hub"
    )
    parser.add_argument("--prompt", required=True, help="what to paint")
    for field in FIELDS:
        if field.name != "checkpoint_dir":
            _add_field(parser, field)
    parser.add_argument("--output", type=absolute, metavar="FILE", help="the PNG to write")
    parser.add_argument("--verbose-loading", action="store_true", help="say what is loaded, line by line, on stderr")


def _add_field(parser: argparse.ArgumentParser, field: Field) -> None:
    default = None if field.name in MODEL_FIELDS else getattr(GenerationRequest, field.name)
    said = "the model's" if field.name in MODEL_FIELDS else field.blank if default is None else text_of(default)
    parser.add_argument(
        field.flag,
        type={"whole": int, "number": float}.get(field.kind, str),
        choices=[value for _, value in field.choices] or None,
        default=default,
        help=f"{field.help} (default: {said})",
    )


def request_from(arguments: argparse.Namespace) -> GenerationRequest:
    """The request that parsed arguments ask for, but for a model on the Hub, which is not downloaded yet.

    Raises:
        RequestError: a value is out of range, or two models are named.
    """
    if arguments.checkpoint_dir and arguments.hf_repo:  # one before the verb, one after it
        raise RequestError("--checkpoint-dir and --hf-repo each name a model.", hint="Leave one out.")
    values = {field.name: getattr(arguments, field.name) for field in FIELDS}
    for name, default in default_values(arguments.checkpoint_dir or arguments.hf_repo).items():
        if values[name] is None:
            values[name] = default
    return GenerationRequest(prompt=arguments.prompt, **values)


def paint_to_file(arguments: argparse.Namespace) -> int:
    """`paint` to the file that `--output` names."""
    return paint(arguments, lambda: check_output(arguments.output), lambda ready: save_to(arguments.output, ready))


def paint(
    arguments: argparse.Namespace,
    check: Callable[[], None],
    save: Callable[[PicturesReady], Iterable[Path]],
) -> int:
    """Paint the request in `arguments`, showing progress on stderr and the saved paths on stdout.

    Args:
        arguments: what a parser with `add_request_arguments` made.
        check: raises an OutputError when `save` will not be able to write, so that nothing is painted in vain.
        save: writes the pictures and yields where, one by one.

    Returns:
        The exit status: 0 done, 1 failed, 2 a request that cannot be painted, 130 interrupted.
    """
    _replace_closed_streams()
    saved: list[Path] = []
    status = DONE
    try:
        request = request_from(arguments)
        check()
        if arguments.hf_repo is not None:  # a bad request downloads nothing
            request = replace(request, checkpoint_dir=download(arguments.hf_repo))
        with _warnings_as_notes(), progress_on_stderr() as show:
            ready = _painted(_real_engine(arguments.verbose_loading), request, show)
            show(StageStarted("saving"))
            saved.extend(save(ready))
        for warning in ready.warnings:
            say(f"note: {warning}")
    except RequestError as error:
        status = _complain(f"{error} {error.hint}", BAD_REQUEST)
    except FluxError as error:
        status = _complain(f"{error} {error.hint}", FAILED)
    except KeyboardInterrupt:
        status = _complain("interrupted", INTERRUPTED)
    except Exception as error:
        if arguments.verbose_loading:
            raise
        hint = "Run again with --verbose-loading for the details."
        status = _complain(f"unexpected {type(error).__name__}: {_first_line(error)} {hint}", FAILED)
    return _print_paths(saved) or status


def _replace_closed_streams() -> None:
    """A stream that the caller closed (`2>&-`) is None in Python, and print would turn to stdout."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115


def _print_paths(paths: Sequence[Path]) -> int:
    """Write paths to stdout as the bytes that they are; the exit status."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.writelines(os.fsencode(path) + b"\n" for path in paths)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try again when it ends
        if isinstance(error, BrokenPipeError):  # the reader has gone, as in `| true`
            return DONE
        names = ", ".join(map(str, paths))
        return _complain(f"{names} written, but stdout cannot be: {error.strerror}", FAILED)
    return DONE


def check_output(output: Path) -> None:
    """Raises OutputError when no PNG can be written to `output`; its folder is made."""
    from flux_engine.png import check_file

    if output.suffix.lower() not in ("", ".png"):
        raise OutputError(f"{output.name} would be a PNG all the same.", hint="Give a name that ends in .png.")
    check_file(output)


def save_to(output: Path, ready: PicturesReady) -> Iterator[Path]:
    """Write the pictures to one file, or to `name_00.png`, `name_01.png`, ... for a batch; older files are replaced.

    Yields each path once its file is there.

    Raises:
        OutputError: a file cannot be written.
    """
    from flux_engine.png import encode_png, records_of, write_file

    records = records_of(ready, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    paths = [output]
    if len(records) > 1:
        paths = [output.with_name(f"{output.stem}_{place:02}{output.suffix}") for place in range(len(records))]
    for path, image, record in zip(paths, ready.images, records, strict=True):
        write_file(path, encode_png(image, record), replace=True)
        yield path


@contextlib.contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Say Python's warnings when the block ends, however it ends, without the line of code that gave them."""
    with warnings.catch_warnings(record=True) as caught:
        try:
            yield
        finally:
            for warning in caught:
                say(f"note: {warning.message}")


def _real_engine(verbose: bool) -> EngineLike:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA greets on stderr otherwise
    from flux_engine.engine import Engine

    return Engine(verbose=verbose)


def _painted(engine: EngineLike, request: GenerationRequest, show: Callable[[Event], None]) -> PicturesReady:
    for event in engine.generate(request):
        show(event)
        if isinstance(event, PicturesReady):
            return event
    raise RuntimeError("the engine ended without a picture")


def _complain(text: str, status: int) -> int:
    say(f"error: {' '.join(text.split())}")
    return status


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
