"""`flux-tui verify` beside diffusers and transformers: it agrees with them, and sees where something does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import diffusers
import gguf
import jax
import jax.numpy as jnp
import pytest

from flux_engine.configs import Component
from flux_engine.models import clip_text, t5_encoder, transformer, vae
from flux_engine.weights.chains import CHAINS
from flux_engine.weights.comparing import NotCompared, compare_checkpoint
from flux_engine.weights.importing import import_checkpoint
from flux_engine.weights.reference import their_format
from flux_engine.weights.sides import Compared, Sides
from flux_engine.weights.sources import open_checkpoint
from flux_tui.__main__ import main
from tests.foreign_files import (
    CLIP,
    TRANSFORMER,
    VAE,
    as_scaled_fp8,
    bfl_tensors,
    save_file,
    write_diffusers_folder,
    write_gguf,
    write_single_files,
)
from tests.tiny_checkpoint import write_tiny_checkpoint


@pytest.fixture(autouse=True)
def compiled_anew() -> Iterator[None]:
    """What was compiled from other mathematics is forgotten."""
    jax.clear_caches()
    yield
    jax.clear_caches()


def rows_of(checkpoint: Path, component: Component) -> dict[str, Compared]:
    weights = open_checkpoint(checkpoint).parts[component].open()
    sides = Sides(weights, lambda component, fraction: None)
    return {row.module: row for row in CHAINS[component](sides, weights.config)}


def differing(checkpoint: Path, component: Component) -> list[str]:
    return [name for name, row in rows_of(checkpoint, component).items() if not row.agrees]


def write_scaled_fp8(folder: Path) -> Path:
    file = write_single_files(folder)
    save_file(as_scaled_fp8(bfl_tensors(TRANSFORMER)), file)
    return file


def write_quantised(folder: Path) -> Path:
    write_single_files(folder).unlink()
    write_gguf(folder / "model.gguf", bfl_tensors(TRANSFORMER), gguf.GGMLQuantizationType.Q8_0)
    return folder / "model.gguf"


def write_folder(folder: Path) -> Path:
    write_diffusers_folder(folder, shards=2)
    return folder


def write_own(folder: Path) -> Path:
    write_tiny_checkpoint(folder, TRANSFORMER, VAE, CLIP)
    return folder


def write_int8(folder: Path) -> Path:
    import_checkpoint(write_own(folder.with_name("whole")), folder, dtype="int8")
    return folder


def write_schnell(folder: Path) -> Path:
    file = write_single_files(folder)
    save_file(bfl_tensors(replace(TRANSFORMER, guidance_embeds=False)), file)
    return file


@pytest.mark.parametrize("write", [write_own, write_folder])
def test_every_module_of_a_checkpoint_agrees(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    told: list[tuple[str, float]] = []
    rows = list(compare_checkpoint(write(tmp_path / "model"), lambda what, done: told.append((what, done))))
    modules = [(row.component, row.module) for row in rows if isinstance(row, Compared) and row.agrees]
    assert len(modules) == len(rows) == len(set(modules)) == 39
    for expected in (
        ("transformer", "guidance_in"),
        ("transformer", "double_blocks.1"),
        ("transformer", "single_blocks.2"),
        ("transformer", "whole"),
        ("vae", "encoder.down_blocks.3"),
        ("vae", "decode"),
        ("clip_text", "layers.1"),
        ("clip_text", "pooled"),
        ("t5_text", "blocks.1"),
        ("t5_text", "whole"),
    ):
        assert expected in modules
    assert [fraction for what, fraction in told if what == "transformer"][-1] == 1.0


@pytest.mark.parametrize(
    ("write", "component"),
    [
        (write_single_files, "transformer"),
        (write_single_files, "vae"),
        (write_scaled_fp8, "transformer"),
        (write_quantised, "transformer"),
        (write_int8, "transformer"),
        (write_int8, "t5_text"),
        (write_schnell, "transformer"),
    ],
)
def test_every_module_agrees_whatever_the_format(
    tmp_path: Path, write: Callable[[Path], Path], component: Component
) -> None:
    rows = rows_of(write(tmp_path / "model"), component)
    assert len(rows) >= 6 and all(row.agrees for row in rows.values())
    assert ("guidance_in" in rows) == (component == "transformer" and write is not write_schnell)


DOUBLE = ["double_blocks.0", "double_blocks.1"]
SINGLE = ["single_blocks.0", "single_blocks.1", "single_blocks.2"]
FAULTS: dict[str, tuple[Component, object, str, Callable[..., object], list[str]]] = {
    "no rotation": ("transformer", transformer, "rotate", lambda x, rope: x, [*DOUBLE, *SINGLE, "whole"]),
    "no residual scale": (
        "transformer",
        transformer,
        "modulate",
        lambda x, shift, scale: scale * transformer.layer_norm(x) + shift,
        [*DOUBLE, *SINGLE, "final_layer", "whole"],
    ),
    "pictures tiled, not widened": (
        "vae",
        vae,
        "_upsample_nearest",
        lambda x: jnp.tile(x, (1, 2, 2, 1)),
        ["decoder.up_blocks.0", "decoder.up_blocks.1", "decoder.up_blocks.2", "decode"],
    ),
    "another activation": (
        "clip_text",
        clip_text.MLP,
        "__call__",
        lambda mlp, x: mlp.fc2(jax.nn.gelu(mlp.fc1(x))),
        ["layers.0", "layers.1", "pooled"],
    ),
    "positions backwards": (
        "t5_text",
        t5_encoder,
        "relative_position_buckets",
        lambda *sizes, buckets=t5_encoder.relative_position_buckets: buckets(*sizes).T,
        ["relative_attention_bias", "whole"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_mathematics_is_named_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    component, owner, name, wrong, expected = FAULTS[fault]
    monkeypatch.setattr(owner, name, wrong)
    assert differing(write_folder(tmp_path / "model"), component) == expected


def test_names_that_are_read_in_the_wrong_order_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = their_format("transformer").modules
    query, key, value = modules["double_blocks.N.attn.img_qkv"]
    monkeypatch.setitem(modules, "double_blocks.N.attn.img_qkv", (key, query, value))  # type: ignore[arg-type]
    assert differing(write_folder(tmp_path / "model"), "transformer") == ["double_blocks.0", "double_blocks.1", "whole"]


def test_a_fault_of_the_reference_is_told_and_is_none_of_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("no such operator\nand more lines")

    monkeypatch.setattr(diffusers.AutoencoderKL, "forward", broken)
    monkeypatch.setattr(diffusers.FluxTransformer2DModel, "__init__", broken)
    folder = write_folder(tmp_path / "model")
    assert list(compare_checkpoint(folder)) == [NotCompared(reason="no such operator")]
    assert main(["verify", str(folder)]) == 0
    captured = capsys.readouterr()
    assert captured.err.endswith("Not compared with diffusers: no such operator.\n")
    assert captured.out.count("sound") == 4 and "agrees" not in captured.out


def test_the_table_is_printed_and_a_difference_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "model")
    assert main(["verify", str(folder), "--no-compare"]) == 0
    assert "agrees" not in capsys.readouterr().out
    assert main(["verify", str(folder), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    compared = [line for line in lines if line["event"] == "compared"]
    assert len(lines) - len(compared) == 4 and len(compared) == 39 and all(line["agrees"] for line in compared)
    monkeypatch.setattr(transformer, "rotate", lambda x, rope: x)
    jax.clear_caches()
    assert main(["verify", str(folder)]) == 1
    table = capsys.readouterr().out.splitlines()
    assert "network      module                   difference   relative" in table
    assert next(line.split()[1] for line in table if "DIFFERS by more than" in line) == "double_blocks.0"
