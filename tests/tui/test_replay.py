"""`flux-tui replay`: the same request again, the pixels compared, and the likely reasons when they differ."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flux_engine import cli
from flux_engine.errors import CheckpointNotFound
from flux_engine.png import OWN_KEY, PictureRecord, encode_png, installed_versions
from flux_engine.request import Event, GenerationRequest, PicturesReady, RGBImage
from flux_tui import command_line as tui_main
from flux_tui.metadata import read_record
from flux_tui.verbs.replay import difference
from tests.tui.fakes import FakeEngine, gradient

REQUEST = GenerationRequest(prompt="a hill", width=48, height=32, num_steps=2, seed=7, dtype="float32")
VERSIONS = installed_versions()


class OtherEngine(FakeEngine):
    """Paints two pixels otherwise, those of each picture of a batch in their own way; its "auto" is bfloat16."""

    def generate(self, request: GenerationRequest, *_: object) -> Iterator[Event]:
        for event in super().generate(request):
            if isinstance(event, PicturesReady):
                resolved = replace(request, dtype="bfloat16" if request.dtype == "auto" else request.dtype)
                images = tuple(map(painted, range(1, request.batch_size + 1)))
                event = replace(event, images=images, request=resolved)
            yield event


def painted(place: int) -> RGBImage:
    data = bytearray(gradient(REQUEST.width, REQUEST.height).data)
    data[0] ^= 4 * place
    data[-1] ^= 1
    return RGBImage(REQUEST.width, REQUEST.height, bytes(data))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setattr(cli, "_real_engine", lambda *_: fake)
    return fake


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = OtherEngine()
    monkeypatch.setattr(cli, "_real_engine", lambda *_: fake)
    return fake


def picture(path: Path, image: RGBImage | None = None, **changes: Any) -> Path:
    """A picture as it was painted some time ago."""
    record = PictureRecord(**{"request": REQUEST, "model_name": "fake", "versions": VERSIONS, **changes})
    path.write_bytes(encode_png(image or gradient(record.request.width, record.request.height), record))
    return path


def replay(*flags: str | Path) -> int:
    return tui_main.main(["replay", *map(str, flags)])


def test_a_picture_that_comes_out_the_same_is_said_to(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = picture(tmp_path / "a.png")
    assert replay(path) == 0
    assert engine.requests == [REQUEST]
    assert capsys.readouterr().out == f"{path}: bit for bit the same\n"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["a.png"]


def test_a_picture_that_differs_is_measured(
    other: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = picture(tmp_path / "a.png")
    assert replay(path) == 1
    psnr = 10 * math.log10(255**2 / ((4**2 + 1) / (48 * 32 * 3)))
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"{path}: 2 of 1536 pixels differ, by at most 4 of 255, PSNR {psnr:.1f} dB"
    assert rest == ["  the record names no cause: perhaps another processor, or other weights of the same name"]


def test_the_record_names_what_has_changed_since(
    other: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = picture(
        tmp_path / "a.png",
        request=replace(REQUEST, dtype="auto"),
        model_name="older \x1b[2J",
        versions={"flux-tui": VERSIONS["flux-tui"], "jax": "0.4\x1b[2J", "cuda": "12"},
    )
    assert replay(path) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert out.splitlines()[1:] == [
        f"  jax: 0.4\N{REPLACEMENT CHARACTER}[2J then, {VERSIONS['jax']} now",
        "  cuda: 12 then, unknown now",
        "  precision: auto then, bfloat16 now",
        "  model: older \N{REPLACEMENT CHARACTER}[2J then, fake now",
    ]


def test_a_batch_is_painted_whole_and_the_pictures_place_is_compared(other: FakeEngine, tmp_path: Path) -> None:
    request = replace(REQUEST, batch_size=3)
    paths = [picture(tmp_path / f"{place}.png", painted(place), request=request, picture=place) for place in (1, 2, 3)]
    assert replay(*paths) == 0
    wrong = picture(tmp_path / "wrong.png", painted(2), request=request, picture=3)
    assert replay(wrong) == 1
    assert other.requests == [request] * 4


def test_json_lines_carry_the_same(other: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    differs, same = picture(tmp_path / "a.png"), picture(tmp_path / "b.png", painted(1))
    assert replay("--json", differs, same) == 1
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    first, second = (event for event in events if event["event"] == "compared")
    assert (first["job"], first["path"], first["same"]) == (1, str(differs), False)
    assert {key: first["difference"][key] for key in ("pixels", "of", "largest")} == {
        **{"pixels": 2, "of": 1536, "largest": 4}
    }
    assert len(first["reasons"]) == 1
    assert (second["job"], second["same"], second["difference"], second["reasons"]) == (2, True, None, [])
    assert (events[-1]["event"], events[-1]["painted"], events[-1]["status"]) == ("done", 2, 1)


@pytest.mark.parametrize(
    "kind", ["missing", "folder", "text", "no record", "later record", "truncated", "resized", "place"]
)
def test_what_cannot_be_compared_is_status_2_and_paints_nothing(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    path, complaint = (
        tmp_path / "a.png",
        {
            "missing": "cannot be read: No such file or directory",
            "folder": "cannot be read: Is a directory",
            "text": "cannot be read: it is no picture, or a damaged one",
            "no record": "has no request inside",
            "later record": "has a request that is none to this version",
            "truncated": "cannot be read: it is no picture, or a damaged one",
            "resized": "is 24x16, but was painted as 48x32: it was resized",
            "place": "says that it is picture 4 of 1",
        }[kind],
    )
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("hello")
    elif kind == "no record":
        Image.new("RGB", (48, 32)).save(path)
    elif kind == "later record":
        text = PngInfo()
        text.add_text(OWN_KEY, '{"request":{"prompt":"a hill","weights":"int2"}}')
        Image.new("RGB", (48, 32)).save(path, pnginfo=text)
    elif kind == "truncated":
        path.write_bytes(picture(path).read_bytes()[:-200])
    elif kind == "resized":
        picture(path, gradient(24, 16))
    elif kind == "place":
        picture(path, picture=4)
    same = picture(tmp_path / "same.png")
    assert replay(path, same) == 2
    out, err = capsys.readouterr()
    assert out == f"{same}: bit for bit the same\n"
    assert f"error: {path} {complaint}" in err
    assert engine.requests == [REQUEST]


def test_a_model_that_has_moved_can_be_named(
    engine: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = picture(tmp_path / "a.png", request=replace(REQUEST, checkpoint_dir="/gone"))
    engine.fault = CheckpointNotFound("/gone is not a folder.")
    assert replay(path) == 2  # 1 would mean that it is different
    assert "error: /gone is not a folder." in capsys.readouterr().err
    for flags in (
        ["replay", str(path), "--checkpoint-dir", "/here"],
        ["--checkpoint-dir", "/here", "replay", str(path)],
    ):
        assert tui_main.main(flags) == 0
    assert [request.checkpoint_dir for request in engine.requests] == ["/gone", "/here", "/here"]


def test_the_new_picture_can_be_kept(other: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = picture(tmp_path / "a.png", request=replace(REQUEST, batch_size=2), picture=2)
    assert replay(path, "--output", tmp_path / "new.png") == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"  painted again: {tmp_path / 'new.png'}"
    record = read_record(tmp_path / "new.png")
    assert record is not None and (record.picture, record.request.batch_size) == (2, 2)
    assert replay(tmp_path / "new.png") == 0

    assert replay(path, "--keep", "--gallery", tmp_path / "gallery") == 1
    assert len(list((tmp_path / "gallery").rglob("*.png"))) == 2


def test_nothing_is_painted_that_could_not_be_kept(engine: FakeEngine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert replay(picture(tmp_path / "a.png"), "--output", tmp_path / "file" / "new.png") == 2
    assert engine.requests == []


def test_pictures_without_a_difference_have_none() -> None:
    black, white = RGBImage(2, 1, bytes(6)), RGBImage(2, 1, bytes([255] * 6))
    assert difference(black, black) is None
    found = difference(black, white)
    assert found is not None and (found.pixels, found.of, found.largest, found.psnr_db) == (2, 2, 255, 0.0)


@pytest.fixture(scope="module")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny_checkpoint import write_tiny_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    write_tiny_checkpoint(folder)
    return folder


def test_the_real_engine_paints_the_same_picture_again(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.png"
    flags = ["--width", "32", "--height", "32", "--num-steps", "1", "--checkpoint-dir", str(tiny_checkpoint)]
    assert tui_main.main(["generate", "--prompt", "a hill", "--output", str(path), "--batch-size", "2", *flags]) == 0
    paths = [tmp_path / "a_00.png", tmp_path / "a_01.png"]
    moved = shutil.move(tiny_checkpoint, tmp_path / "tiny")
    assert replay(*paths, "--checkpoint-dir", moved) == 0
    assert [line.rpartition(": ")[2] for line in capsys.readouterr().out.splitlines()[-2:]] == [
        "bit for bit the same"
    ] * 2
