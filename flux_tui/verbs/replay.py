"""`flux-tui replay`: a picture painted again from the request inside it, and compared pixel by pixel.

Knows the record in a PNG and what an engine painted; why two pictures differ it can only guess from the record.
"""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from flux_engine import cli
from flux_engine.arguments import (
    BAD_REQUEST,
    DONE,
    FAILED,
    absolute,
    add_checkpoint_dir,
    add_verbose_loading,
    processes_of,
)
from flux_engine.cli import Asked
from flux_engine.display import JsonReport, Report, TextReport
from flux_engine.errors import RequestError
from flux_engine.png import OWN_KEY, PictureRecord, encode_png, installed_versions, records_of, write_file
from flux_engine.request import PicturesReady, RGBImage
from flux_tui.metadata import harmless, read_record, read_texts
from flux_tui.preview import read_image
from flux_tui.verbs import Verbs, add_gallery, configured, gallery_dir

SAME, DIFFERENT, UNREADABLE = DONE, FAILED, BAD_REQUEST


def add_parser(verbs: Verbs[argparse.ArgumentParser]) -> None:
    """The flags."""
    parser = verbs.add_parser(
        "replay",
        help="paint a picture again and compare",
        description="Paint pictures again from the requests inside them, and say whether they come out the same.",
        epilog="The exit status is the worst of all pictures': 0 the same bit for bit, 1 different, 2 not compared.",
    )
    parser.add_argument("pictures", nargs="+", type=absolute, metavar="PICTURE", help="a PNG with its request inside")
    add_checkpoint_dir(parser, argparse.SUPPRESS, unsaid="the one that the picture names")
    keep = parser.add_mutually_exclusive_group()
    keep.add_argument("--output", type=absolute, metavar="FILE", help="the PNG to write the new picture to")
    keep.add_argument("--keep", action="store_true", help="file the new pictures in the gallery")
    add_gallery(parser)
    parser.add_argument("--json", action="store_true", help="JSON lines on stdout")
    add_verbose_loading(parser)
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class Difference:
    """How far a picture is from another one of its size.

    Attributes:
        pixels: how many differ.
        of: how many there are.
        largest: the largest difference of a channel, 1 to 255.
        psnr_db: peak signal-to-noise ratio over all channels.
    """

    pixels: int
    of: int
    largest: int
    psnr_db: float

    def __str__(self) -> str:
        return f"{self.pixels} of {self.of} pixels differ, by at most {self.largest} of 255, PSNR {self.psnr_db:.1f} dB"


def difference(old: RGBImage, new: RGBImage) -> Difference | None:
    """What is different between two pictures of one size; None when no bit is."""
    if old.data == new.data:
        return None
    import numpy as np

    then, now = (np.frombuffer(image.data, np.uint8).reshape(-1, 3).astype(np.int16) for image in (old, new))
    apart = np.abs(now - then)
    mean_square = float(np.mean(np.square(apart, dtype=np.int32)))
    return Difference(
        pixels=int(apart.any(axis=1).sum()),
        of=len(apart),
        largest=int(apart.max()),
        psnr_db=round(10 * math.log10(255**2 / mean_square), 2),
    )


def run(arguments: argparse.Namespace) -> int:
    """Paint and compare; the exit status."""
    read = [_read(path) for path in arguments.pictures]
    asked = [_asked(record, arguments.checkpoint_dir) for record in read]
    report = JsonReport() if arguments.json else TextReport()
    check, keep = _keeper(arguments)

    def compare(place: int, ready: PicturesReady) -> int:
        path, record = arguments.pictures[place - 1], read[place - 1]
        assert isinstance(record, PictureRecord)  # else nothing was painted
        found = difference(read_image(str(path)), ready.images[record.picture - 1])
        _tell(report, path, found, list(reasons(record, ready)) if found else [])
        for kept in keep(place, record, ready):
            report.result("saved", b"  painted again: " + os.fsencode(kept), path=str(kept))
        return DIFFERENT if found else SAME

    return cli.paint_all(
        asked,
        compare,
        report,
        check=check,
        mesh=arguments.mesh,
        processes=processes_of(arguments),
        verbose=arguments.verbose_loading,
        fault_status=UNREADABLE,
    )


def _read(path: Path) -> PictureRecord | RequestError:
    """What a picture says of itself; a fault when it cannot be compared, so that nothing is painted in vain."""
    try:
        record, image = read_record(path), read_image(str(path))
    except Exception as error:  # of a damaged file Pillow says OSError, SyntaxError, ValueError, zlib.error, ...
        reason = getattr(error, "strerror", None) or "it is no picture, or a damaged one"
        return RequestError(f"{path} cannot be read: {reason}.", hint="Name a PNG.")
    if record is None and OWN_KEY in read_texts(path):
        return RequestError(f"{path} has a request that is none to this version.", hint="Replay it with a newer one.")
    if record is None:
        return RequestError(f"{path} has no request inside.", hint="Name a PNG that flux-tui painted.")
    request = record.request
    if not 1 <= record.picture <= request.batch_size:
        return RequestError(f"{path} says that it is picture {record.picture} of {request.batch_size}.")
    if (image.width, image.height) != (request.width, request.height):
        painted = f"{request.width}x{request.height}"
        return RequestError(f"{path} is {image.width}x{image.height}, but was painted as {painted}: it was resized.")
    return record


def _asked(record: PictureRecord | RequestError, checkpoint_dir: str | None) -> Asked:
    if isinstance(record, RequestError):
        return record
    return replace(record.request, checkpoint_dir=checkpoint_dir or record.request.checkpoint_dir)


def reasons(record: PictureRecord, ready: PicturesReady) -> Iterator[str]:
    """Why a picture may have come out different, as far as its record tells."""
    now = installed_versions()
    pairs = {name: (record.versions.get(name), now.get(name)) for name in (*record.versions, *now)}
    pairs["precision"] = (record.request.dtype, ready.request.dtype)
    pairs["model"] = (record.model_name, ready.model_name)
    differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    for name, (then, today) in differing.items():
        yield harmless(f"{name}: {then or 'unknown'} then, {today or 'unknown'} now").replace("\n", " ")
    if not differing:
        yield "the record names no cause: perhaps another processor, or other weights of the same name"


def _tell(report: Report, path: Path, found: Difference | None, why: list[str]) -> None:
    verdict = str(found) if found else "bit for bit the same"
    lines = [f": {verdict}", *(f"  {reason}" for reason in why)]
    measured = asdict(found) if found else None
    text = os.fsencode(path) + "\n".join(lines).encode()
    report.result("compared", text, path=str(path), same=found is None, difference=measured, reasons=why)


Keep = Callable[[int, PictureRecord, PicturesReady], Iterator[Path]]


def _keeper(arguments: argparse.Namespace) -> tuple[cli.Check, Keep]:
    """What makes sure that new pictures can be kept, and what keeps them, where that was asked for."""
    if arguments.output is not None:
        sizes = [1] * len(arguments.pictures)
        return partial(cli.check_output, arguments.output, sizes), partial(_to_file, arguments.output, sizes)
    if not arguments.keep:
        return lambda place: None, lambda *_: iter(())
    from flux_tui.gallery import Gallery

    gallery = Gallery(gallery_dir(arguments, configured(arguments)))
    return lambda place: gallery.check(), lambda place, record, ready: (picture.path for picture in gallery.save(ready))


def _to_file(output: Path, sizes: list[int], place: int, record: PictureRecord, ready: PicturesReady) -> Iterator[Path]:
    """Write the one picture of a batch that was compared."""
    new = records_of(ready, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))[record.picture - 1]
    (path,) = cli.paths_at(output, sizes, place)
    write_file(path, encode_png(ready.images[record.picture - 1], new), replace=True)
    yield path
