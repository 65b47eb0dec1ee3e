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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, Protocol, get_args

from flux_engine.display import progress_on_stderr
from flux_engine.errors import CheckpointError, CheckpointNotFound, FluxError, OutputError, RequestError
from flux_engine.request import (
    DType,
    Event,
    GenerationRequest,
    Integrator,
    Noise,
    PicturesReady,
    StageStarted,
    defaults_for,
)

DONE, FAILED, BAD_REQUEST, INTERRUPTED = 0, 1, 2, 130
DEFAULT_OUTPUT = Path("flux_output.png")
HUB_FILES = [
    "*/config.json",
    "*/state/*",
    "tokenizer/*",
    "tokenizer_2/*",
]  # this layout, and no other weights beside it


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
        type=lambda text: str(absolute(_named(text))),
        metavar="DIR",
        default=default,
        help="an Orbax checkpoint folder (default: the demo model)",
    )


def absolute(path: str) -> Path:
    """The path from the root, `~` replaced; a `~name` of nobody stays as it is."""
    return Path(os.path.expanduser(path)).absolute()


def _named(text: str) -> str:
    if not text:  # an unset shell variable must not mean the demo model
        raise argparse.ArgumentTypeError("empty; leave it out for the demo model")
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
    parser.add_argument("--negative-prompt", help="what to stay away from; works with --true-cfg-scale above 1")
    parser.add_argument("--height", type=int, help="pixels, a multiple of 16 (default: the model's)")
    parser.add_argument("--width", type=int, help="pixels, a multiple of 16 (default: the model's)")
    parser.add_argument("--num-steps", type=int, help="steps of the integrator (default: the model's)")
    parser.add_argument(
        "--sigma-shift", type=float, help="a fixed shift of the schedule (default: it follows the size)"
    )
    parser.add_argument("--guidance-scale", type=float, help="embedded guidance (default: the model's)")
    parser.add_argument("--true-cfg-scale", type=float, default=1.0, help="real guidance; 1 is off (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="0 to 4294967295 (default: 0)")
    parser.add_argument("--batch-size", type=int, default=1, help="pictures painted together (default: 1)")
    parser.add_argument("--integrator", choices=get_args(Integrator), default="euler", help="default: euler")
    parser.add_argument("--noise", choices=get_args(Noise), default="jax", help="whose random numbers (default: jax)")
    parser.add_argument(
        "--dtype", choices=get_args(DType), default="auto", help="precision (default: the faster one here)"
    )
    parser.add_argument("--output", type=absolute, metavar="FILE", help="the PNG to write")
    parser.add_argument("--verbose-loading", action="store_true", help="say what is loaded, line by line, on stderr")


def request_from(arguments: argparse.Namespace) -> GenerationRequest:
    """The request that parsed arguments ask for; `--hf-repo` is downloaded, or found in its cache.

    Raises:
        RequestError: a value is out of range.
        CheckpointError: the repository cannot be had.
    """
    defaults = defaults_for(arguments.checkpoint_dir or arguments.hf_repo)
    names = ("width", "height", "num_steps", "guidance_scale")
    request = GenerationRequest(
        prompt=arguments.prompt,
        negative_prompt=arguments.negative_prompt,
        true_cfg_scale=arguments.true_cfg_scale,
        seed=arguments.seed,
        batch_size=arguments.batch_size,
        integrator=arguments.integrator,
        sigma_shift=arguments.sigma_shift,
        noise=arguments.noise,
        dtype=arguments.dtype,
        checkpoint_dir=arguments.checkpoint_dir,
        **{name: getattr(defaults if getattr(arguments, name) is None else arguments, name) for name in names},
    )
    if arguments.hf_repo is None:
        return request
    return replace(request, checkpoint_dir=download(arguments.hf_repo))  # last: a bad request downloads nothing


def download(repo: str) -> str:
    """The local folder of a checkpoint on the Hugging Face Hub; its files go into the Hub's ordinary cache.

    Raises:
        RequestError: `repo` is no name of a repository.
        CheckpointError: huggingface_hub is not installed, or the repository is gated, missing or out of reach.
    """
    try:
        from huggingface_hub import errors, snapshot_download
    except ImportError:
        raise CheckpointError("--hf-repo needs huggingface_hub.", hint="pip install huggingface_hub") from None
    try:
        return snapshot_download(repo, allow_patterns=HUB_FILES)
    except errors.HFValidationError:
        raise RequestError(f"{repo!r} is no repository name; expected OWNER/NAME.") from None
    except errors.GatedRepoError:
        hint = "Accept its terms on huggingface.co, then run 'hf auth login'."
        raise CheckpointError(f"{repo} is gated.", hint=hint) from None
    except errors.RepositoryNotFoundError:
        hint = "Check the name; a private one needs 'hf auth login'."
        raise CheckpointNotFound(f"{repo} is not on the Hub.", hint=hint) from None
    except (OSError, errors.HfHubHTTPError, errors.LocalEntryNotFoundError) as error:
        hint = "Check the network, or name a folder with --checkpoint-dir."
        raise CheckpointError(f"{repo} could not be downloaded: {_first_line(error)}", hint=hint) from None


def paint_to_file(arguments: argparse.Namespace) -> int:
    """`paint` to the file that `--output` names."""
    return paint(arguments, lambda: check_output(arguments.output), lambda ready: save_to(arguments.output, ready))


def paint(
    arguments: argparse.Namespace,
    check: Callable[[], None],
    save: Callable[[PicturesReady], Sequence[Path]],
    make_engine: Callable[[], EngineLike] | None = None,
) -> int:
    """Paint the request in `arguments`, showing progress on stderr and the saved paths on stdout.

    Args:
        arguments: what a parser with `add_request_arguments` made.
        check: raises an OutputError when `save` will not be able to write, so that nothing is painted in vain.
        save: writes the pictures and says where.
        make_engine: makes the engine; the real one if None.

    Returns:
        The exit status: 0 done, 1 failed, 2 a request that cannot be painted, 130 interrupted.
    """
    notes: list[str] = []
    if sys.stderr is None:  # closed by the caller (2>&-): print would turn to stdout
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        request = request_from(arguments)
        check()
        with progress_on_stderr() as show, _warnings_as(notes):
            engine = make_engine() if make_engine else _real_engine(arguments.verbose_loading)
            ready = _painted(engine, request, show)
            show(StageStarted("saving"))
            paths = save(ready)
    except RequestError as error:
        return _complain(f"{error} {error.hint}", BAD_REQUEST)
    except FluxError as error:
        return _complain(f"{error} {error.hint}", FAILED)
    except KeyboardInterrupt:
        return _complain("interrupted", INTERRUPTED)
    except Exception as error:
        if arguments.verbose_loading:
            raise
        hint = "Run again with --verbose-loading for the details."
        return _complain(f"unexpected {type(error).__name__}: {_first_line(error)} {hint}", FAILED)
    for note in (*notes, *ready.warnings):
        print(f"note: {note}", file=sys.stderr)
    return _print_paths(paths)


def _print_paths(paths: Sequence[Path]) -> int:
    try:
        for path in paths:
            print(path)
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
    from flux_engine.png import check_folder

    if output.is_dir():
        raise OutputError(f"{output} is a folder.", hint="Give the name of a file.")
    if output.suffix.lower() not in ("", ".png"):
        raise OutputError(f"{output.name} would be a PNG all the same.", hint="Give a name that ends in .png.")
    check_folder(output.parent)


def save_to(output: Path, ready: PicturesReady) -> list[Path]:
    """Write the pictures to one file, or to `name_00.png`, `name_01.png`, ... for a batch; older files are replaced.

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
    return paths


@contextlib.contextmanager
def _warnings_as(notes: list[str]) -> Iterator[None]:
    """Collect what would be printed as warnings, each with a line of code."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    notes += [str(warning.message) for warning in caught]


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
    print(f"error: {' '.join(text.split())}", file=sys.stderr)
    return status


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
