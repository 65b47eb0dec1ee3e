"""A model on several devices paints what it paints on one, and each device holds its share."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from flux_engine.configs import Component
from flux_engine.errors import RequestError
from flux_engine.models.quantised import QuantisedKernel
from flux_engine.sharding import Places, latents_sharding, make_mesh, weight_sharding
from flux_engine.weights.lora_apply import beside
from flux_engine.where import MeshSizes
from flux_tui.locks import locked
from tests.engine.test_loras import STYLE, write

PROGRAM = Path(__file__).with_name("eight_devices.py")
# A mesh, and behind a plus the kind of weights.
SHARES = {
    "data=2": 1.0,
    "tensor=2": 1 / 2,
    "sequence=2": 1.0,
    "data=2,sequence=2,tensor=2": 1 / 2,
    "tensor=2+int4": 1 / 2,
}
PICTURES = {"sequence=2": (1 / 2, 1.0), "data=2,sequence=2,tensor=2": (1 / 4, 1 / 2), "tensor=2+int4": (1.0, 1.0)}


@pytest.fixture(scope="module")
def found(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> dict[str, Any]:
    if worker_id == "master":
        return meshes(checkpoint, tmp_path_factory)
    shared = (
        tmp_path_factory.getbasetemp().parent / "meshes"
    )  # of all workers, each of which may have some of the tests
    with locked(shared):
        if not (file := shared / "found.json").exists():
            file.write_text(json.dumps(meshes(checkpoint, tmp_path_factory)))
        return json.loads(file.read_text())


def meshes(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    lora = write(tmp_path_factory.mktemp("loras") / "style.safetensors", STYLE)
    command = [sys.executable, str(PROGRAM), str(checkpoint), lora, " ".join(SHARES), " ".join(PICTURES)]
    root = PROGRAM.parents[2]
    return json.loads(subprocess.run(command, cwd=root, env=None, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("mesh", PICTURES)
def test_many_devices_paint_what_one_paints(found: dict[str, Any], mesh: str) -> None:
    assert max(found[mesh]["differences"]) < 1e-4


@pytest.mark.parametrize("mesh", SHARES)
def test_each_device_holds_its_share_of_weights_and_loras(found: dict[str, Any], mesh: str) -> None:
    share = SHARES[mesh] * found[f"+{mesh.partition('+')[2]}"]["bytes"]
    small = found["+"]["bytes"] / 20
    assert share <= found[mesh]["bytes"] < share + small  # what stays whole is small, and in full in every kind


@pytest.mark.parametrize("mesh", PICTURES)
def test_each_device_holds_its_share_of_latents_and_pictures(found: dict[str, Any], mesh: str) -> None:
    latents, pictures = PICTURES[mesh]
    assert found[mesh]["latents"] == latents
    assert found[mesh]["pictures"] <= pictures


@pytest.mark.parametrize("mesh", PICTURES)
def test_a_plan_is_of_each_device(found: dict[str, Any], mesh: str) -> None:
    assert 0.8 < found[mesh]["planned"] / found[mesh]["bytes"] <= 1  # without the LoRA


@pytest.mark.parametrize("mesh", PICTURES)
def test_what_waits_in_the_machines_memory_waits_there_for_each_device(found: dict[str, Any], mesh: str) -> None:
    planned, there = found[mesh]["waiting"]
    assert there / 1.01 < planned <= there


def test_a_batch_that_is_too_large_is_refused_with_one_that_can_be_dealt_out(found: dict[str, Any]) -> None:
    assert found["data=2,sequence=2,tensor=2"]["too large"] == [
        "A batch of 2 pictures of 48x64 in float32 with weights in int8 would fit.",
        "No smaller picture would fit either: free memory, or use a smaller model.",
    ]


def test_pictures_that_do_not_come_out_even_are_refused(found: dict[str, Any]) -> None:
    assert found["sequence=2"]["refused"] == ""
    refusal = "3 pictures cannot be split 2 ways; expected a multiple of 2."
    assert found["data=2,sequence=2,tensor=2"]["refused"] == refusal


def test_a_mesh_without_devices_for_it_is_refused() -> None:
    with pytest.raises(RequestError, match=r"The mesh data=2,tensor=400 needs 800 devices; there are \d+\."):
        make_mesh(MeshSizes(data=2, tensor=400))


def test_a_mesh_with_other_axes_is_refused() -> None:
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("batch",))
    with pytest.raises(RequestError, match="expected data, sequence, tensor"):
        Places.of(mesh)


def test_one_device_is_a_place_too() -> None:
    places = Places.of(None)
    assert (places.count, places.sizes, places.pictures_at_once, str(places)) == (1, None, 1, "cpu")
    assert places == Places.of(jax.devices()[0])
    assert places.latents(3, 7) == places.pictures(3) == places.whole


@pytest.mark.parametrize(
    ("sides", "shape", "expected"),
    [
        (("in", ""), (2, 64, 3), (None, None, None)),
        (("", "out"), (2, 3, 192), (None, None, "tensor")),
        (("", "out"), (3, 6), (None, None)),  # 4 does not divide it
        (("out",), (2, 64), (None, "tensor")),
        ((), (2,), (None,)),
    ],
)
def test_what_a_lora_adds_lies_as_its_kernel_does(
    sides: Any, shape: tuple[int, ...], expected: tuple[str | None, ...]
) -> None:
    place = weight_sharding(mesh_of(tensor=4), "transformer", ("single_blocks", "linear1", "kernel"), (2, 64, 192))
    kernel: Any = jax.ShapeDtypeStruct((2, 64, 192), np.float32, sharding=place)
    assert tuple(beside(kernel, sides, shape).spec) == expected


def test_a_kernel_in_few_bits_lies_as_the_one_that_it_stands_for() -> None:
    path, mesh = ("single_blocks", "linear1", "kernel", "values"), mesh_of(tensor=4)
    place = weight_sharding(mesh, "transformer", path, (2, 192, 64))
    values = jax.ShapeDtypeStruct((2, 192, 64), np.int8, sharding=place)
    kernel = QuantisedKernel(values, jax.ShapeDtypeStruct((2, 192), np.float32), "int8")
    assert kernel.sharding == weight_sharding(mesh, "transformer", path[:-1], kernel.shape)


def mesh_of(**sizes: int) -> jax.sharding.AbstractMesh:
    """A mesh of devices that are not there."""
    axes = {"data": 1, "sequence": 1, "tensor": 1, **sizes}
    return jax.sharding.AbstractMesh(tuple(axes.values()), tuple(axes))


@pytest.mark.parametrize(
    ("component", "path", "shape", "expected"),
    [
        ("transformer", "double_blocks.attn.img_qkv.kernel", (19, 3072, 9216), (None, None, "tensor")),
        ("transformer", "double_blocks.attn.img_qkv.bias", (19, 9216), (None, "tensor")),
        ("transformer", "double_blocks.attn.txt_proj.kernel", (19, 3072, 3072), (None, "tensor", None)),
        ("transformer", "double_blocks.attn.txt_proj.bias", (19, 3072), (None, None)),
        ("transformer", "single_blocks.linear2.kernel", (38, 15360, 3072), (None, "tensor", None)),
        ("transformer", "double_blocks.attn.img_qkv.kernel.values", (19, 9216, 3072), (None, "tensor", None)),
        ("transformer", "double_blocks.attn.img_qkv.kernel.scale", (19, 9216), (None, "tensor")),
        ("transformer", "single_blocks.linear1.kernel.scale", (38, 21504, 48), (None, "tensor", None)),
        ("transformer", "single_blocks.linear2.kernel.values", (38, 3072, 7680), (None, None, "tensor")),
        ("transformer", "single_blocks.linear2.kernel.scale", (38, 3072, 240), (None, None, "tensor")),
        ("transformer", "single_blocks.linear2.kernel.scale", (38, 3072), (None, None)),
        ("transformer", "single_blocks.modulation.kernel", (38, 3072, 9216), (None, None, "tensor")),
        ("transformer", "single_blocks.query_norm.scale", (38, 128), (None, None)),
        ("transformer", "time_in.out_layer.kernel", (3072, 3072), ("tensor", None)),
        ("transformer", "final_layer.linear.kernel", (3072, 64), (None, None)),
        ("t5_text", "blocks.feed_forward.DenseReluDense.wi_0.kernel", (24, 4096, 10240), (None, None, "tensor")),
        ("t5_text", "blocks.feed_forward.DenseReluDense.wo.kernel", (24, 10240, 4096), (None, "tensor", None)),
        ("t5_text", "embed_tokens.embedding", (32128, 4096), ("tensor", None)),
        ("clip_text", "layers.self_attn.out_proj.kernel", (12, 768, 768), (None, "tensor", None)),
        ("clip_text", "layers.mlp.fc1.kernel", (12, 768, 3070), (None, None, None)),  # 4 does not divide it
        ("vae", "decoder.conv_in.kernel", (3, 3, 16, 512), (None,) * 4),
    ],
)
def test_the_table_says_where_a_weight_lies(
    component: Component, path: str, shape: tuple[int, ...], expected: tuple[str | None, ...]
) -> None:
    sharding = weight_sharding(mesh_of(tensor=4), component, tuple(path.split(".")), shape)
    assert tuple(sharding.spec) == expected


def test_pictures_and_rows_are_dealt_out_evenly_or_not_at_all() -> None:
    mesh = mesh_of(data=2, sequence=4)
    assert tuple(latents_sharding(mesh, 4, 8).spec) == ("data", "sequence")
    with pytest.raises(RequestError, match="3 pictures cannot be split 2 ways; expected a multiple of 2"):
        latents_sharding(mesh, 3, 8)
    with pytest.raises(RequestError, match="6 rows of tokens cannot be split 4 ways; expected a multiple of 4"):
        latents_sharding(mesh, 2, 6)


def test_axes_of_one_device_go_without_a_name() -> None:
    path, shape = ("double_blocks", "attn", "img_qkv", "kernel"), (19, 3072, 9216)
    assert tuple(weight_sharding(mesh_of(data=2), "transformer", path, shape).spec) == (None, None, None)
    assert tuple(latents_sharding(mesh_of(data=2), 4, 8).spec) == ("data", None)
    assert tuple(latents_sharding(mesh_of(sequence=4), 3, 8).spec) == (None, "sequence")
    pictures: Any = Places.of(MeshSizes()).pictures(3)
    assert tuple(pictures.spec) == (None,)
