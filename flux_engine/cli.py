"""Requests painted one after another by one engine, for `python -m flux_engine` and the verbs of `flux-tui`.

stdlib only at import; the engine, with JAX, is imported when the first request is painted. One fault does not stop the
others; the exit status is the worst of all.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from flux_engine.arguments import BAD_REQUEST, DONE, FAILED, INTERRUPTED, processes_of, request_from
from flux_engine.display import Report, TextReport, say, status_of
from flux_engine.errors import FluxError, OutputError, RequestError, unexpected
from flux_engine.png import PictureRecord, check_file, encode_png, record_json, records_of, write_file
from flux_engine.request import EngineLike, GenerationRequest, PicturesReady, StageStarted
from flux_engine.weights.hub import download
from flux_engine.where import MeshSizes, Processes

DEFAULT_OUTPUT = Path("flux_output.png")

Asked = GenerationRequest | FluxError
"""A request, or the reason why there is none."""
Finish = Callable[[int, PicturesReady], int]
"""What to do with the pictures of the request at a place, from 1; returns an exit status."""
Check = Callable[[int], None]
"""Makes sure that the pictures of the request at a place can be written, so that nothing is painted in vain."""


def asked_by(arguments: argparse.Namespace) -> Asked:
    """The one request in `arguments`."""
    try:
        return request_from(arguments)
    except RequestError as error:
        return error


def paint_one(arguments: argparse.Namespace) -> int:
    """Paint the request in `arguments` to the file that `--output` names; the exit status."""
    together = processes_of(arguments)
    if together is not None and together.index > 0:
        return follow(together, verbose=arguments.verbose_loading)
    asked, report = [asked_by(arguments)], TextReport()
    sizes = batch_sizes(asked)
    return paint_all(
        asked,
        finish_with(files_at(arguments.output, sizes), report),
        report,
        check=functools.partial(check_output, arguments.output, sizes),
        hf_repo=arguments.hf_repo,
        mesh=arguments.mesh,
        processes=together,
        verbose=arguments.verbose_loading,
    )


def paint_all(
    asked: Sequence[Asked],
    finish: Finish,
    report: Report,
    *,
    check: Check = lambda place: None,
    hf_repo: str | None = None,
    mesh: MeshSizes | None = None,
    processes: Processes | None = None,
    verbose: bool = False,
    stop_at_fault: bool = False,
    fault_status: int = FAILED,
) -> int:
    """Paint requests one after another; the exit status.

    Args:
        asked: the requests; one that is a fault is reported in its turn.
        finish: takes the pictures of each; runs inside `report.painting`.
        report: is told everything.
        check: raises an OutputError when `finish` will not be able to write what is painted at a place.
        hf_repo: the model of all requests; downloaded before the first one, which is checked by then.
        mesh: devices that share the work; by default one does it.
        processes: whose devices these are, if not this one's alone; this is the first of them.
        verbose: whether the engine talks, and unexpected faults come with their traceback.
        stop_at_fault: whether the first fault ends it all.
        fault_status: the status of a request that could not be painted, but for a bad one, which is 2.

    Returns:
        The highest of: 0 done, 1 failed, 2 a request that cannot be painted, 130 interrupted, what `finish` gives.
    """
    started_s = time.monotonic()
    engine = functools.cache(lambda: _real_engine(verbose, mesh, processes))
    model = functools.cache(download)

    def paint(place: int, wish: Asked) -> int:
        if isinstance(wish, FluxError):
            raise wish
        check(place)
        if hf_repo is not None:
            wish = replace(wish, checkpoint_dir=model(hf_repo))
        with _warnings_as_notes(report), report.painting(wish):
            ready = _painted(engine(), wish, report)
            status = finish(place, ready)
        for warning in ready.warnings:
            report.note(warning)
        return status

    statuses: list[int] = []
    for place, wish in enumerate(asked, 1):
        report.begin(place, len(asked))
        statuses.append(_status_of(functools.partial(paint, place, wish), report, verbose, fault_status))
        if statuses[-1] == INTERRUPTED or report.stdout.fault or (stop_at_fault and statuses[-1] != DONE):
            break
    left = len(asked) - len(statuses)
    status = max([*statuses, _stdout_status(report, left)])
    report.done(painted=len(statuses) - report.failures, left=left, status=status, seconds=time.monotonic() - started_s)
    return status


def _status_of(work: Callable[[], int], report: Report, verbose: bool, fault_status: int) -> int:
    """What `work` returns, or its fault, reported, as a status."""
    try:
        return work()
    except RequestError as error:
        report.failed(str(error), error.hint)
        return BAD_REQUEST
    except FluxError as error:
        report.failed(str(error), error.hint)
    except KeyboardInterrupt:
        report.failed("interrupted")
        return INTERRUPTED
    except Exception as error:
        report.failed(*_unexpected(error, verbose))
    return fault_status


def _unexpected(error: Exception, verbose: bool) -> tuple[str, str]:
    if not verbose:
        return unexpected(error, "Run again with --verbose-loading for the details.")
    import traceback

    traceback.print_exc()
    return unexpected(error, "")


def _stdout_status(report: Report, left: int) -> int:
    if isinstance(report.stdout.fault, BrokenPipeError):  # as in `| head -1`
        return FAILED if left else DONE
    return FAILED if report.stdout.fault else DONE


def _painted(engine: EngineLike, request: GenerationRequest, report: Report) -> PicturesReady:
    for event in engine.generate(request):
        report.show(event)
        if isinstance(event, PicturesReady):
            return event
    raise RuntimeError("the engine ended without a picture")


def follow(processes: Processes, *, verbose: bool) -> int:
    """Paint what process 0 asks for, and keep nothing; the exit status."""
    say(f"process {processes.index} of {processes.count}: waiting for process 0")

    def work() -> int:
        _quiet()
        from flux_engine.distributed import follow

        follow(processes, verbose=verbose)
        return DONE

    return status_of(work)


def _real_engine(verbose: bool, mesh: MeshSizes | None, processes: Processes | None) -> EngineLike:
    _quiet()
    if processes is not None:
        from flux_engine.distributed import lead

        _stdout_for_results()
        return lead(processes, mesh, verbose=verbose)
    from flux_engine.engine import Engine

    return Engine(mesh=mesh, verbose=verbose)


def _stdout_for_results() -> None:
    """Have what libraries write to stdout go to stderr: Gloo, which joins CPUs, says there whom it met."""
    sys.stdout.flush()
    sys.stdout = open(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)  # noqa: SIM115
    os.dup2(2, 1)


def _quiet() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA greets on stderr otherwise


Save = Callable[[int, PicturesReady], Iterable[tuple[Path, PictureRecord]]]
"""Writes the pictures of the request at a place, and yields where and with which record, one by one."""


def finish_with(save: Save, report: Report) -> Finish:
    """Saves the pictures and reports each as saved."""

    def finish(place: int, ready: PicturesReady) -> int:
        report.show(StageStarted("saving"))
        for path, record in save(place, ready):
            report.result("saved", os.fsencode(path), path=str(path), record=json.loads(record_json(record)))
        return DONE

    return finish


def batch_sizes(asked: Sequence[Asked]) -> list[int]:
    """How many pictures each request has."""
    return [wish.batch_size if isinstance(wish, GenerationRequest) else 0 for wish in asked]


def check_output(output: Path, sizes: Sequence[int], place: int) -> None:
    """Raises OutputError when `files_at` cannot write the PNGs of a place; their folder is made."""
    if output.suffix.lower() not in ("", ".png"):
        raise OutputError(f"{output.name} would be a PNG all the same.", hint="Give a name that ends in .png.")
    check_file(output)  # whose name is none of those below where it is numbered, and may still be a folder's
    for path in paths_at(output, sizes, place):
        check_file(path)


def paths_at(output: Path, sizes: Sequence[int], place: int) -> list[Path]:
    """One file, or `name_00.png`, `name_01.png`, ... of a place where there are several in all.

    A request's numbers do not depend on whether those before it could be painted.
    """
    if sum(sizes) == 1:
        return [output]
    first = sum(sizes[: place - 1])
    numbers = range(first, first + sizes[place - 1])
    return [output.with_name(f"{output.stem}_{number:02}{output.suffix}") for number in numbers]


def files_at(output: Path, sizes: Sequence[int]) -> Save:
    """Writes to what `paths_at` names; older files are replaced.

    Raises:
        OutputError: while saving: a file cannot be written.
    """

    def save(place: int, ready: PicturesReady) -> Iterator[tuple[Path, PictureRecord]]:
        records = records_of(ready, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        for path, image, record in zip(paths_at(output, sizes, place), ready.images, records, strict=True):
            write_file(path, encode_png(image, record), replace=True)
            yield path, record

    return save


@contextlib.contextmanager
def _warnings_as_notes(report: Report) -> Iterator[None]:
    """Say Python's warnings when the block ends, however it ends, without the line of code that gave them."""
    with warnings.catch_warnings(record=True) as caught:
        try:
            yield
        finally:
            for warning in caught:
                report.note(str(warning.message))


def replace_closed_streams() -> None:
    """A stream that the caller closed (`2>&-`) is None in Python, and print would turn to stdout."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
