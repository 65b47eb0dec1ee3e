"""Networks on several devices give what one gives, and each device holds its share."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from flux_engine.configs import Component
from flux_engine.errors import RequestError
from flux_engine.sharding import MeshSizes, latents_sharding, make_mesh, parse_mesh, weight_sharding

PROGRAM = Path(__file__).with_name("eight_devices.py")
WEIGHTS = {"data=2": 1, "sequence=4": 1, "tensor=2": 1 / 2, "tensor=4": 1 / 4, "data=2,tensor=4": 1 / 4}
LATENTS = {"data=2": 1 / 2, "sequence=4": 1 / 4, "tensor=2": 1, "tensor=4": 1, "data=2,tensor=4": 1 / 2}


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, float]]:
    command = [sys.executable, str(PROGRAM), *WEIGHTS, "data=2,sequence=2,tensor=2"]
    root = PROGRAM.parents[2]
    return json.loads(subprocess.run(command, cwd=root, env=None, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("mesh", [*WEIGHTS, "data=2,sequence=2,tensor=2"])
def test_many_devices_give_what_one_gives(found: dict[str, dict[str, float]], mesh: str) -> None:
    assert found[mesh]["difference"] < 1e-5
    assert found[mesh]["devices"] == parse_mesh(mesh).devices


@pytest.mark.parametrize("mesh", WEIGHTS)
def test_each_device_holds_its_share(found: dict[str, dict[str, float]], mesh: str) -> None:
    assert WEIGHTS[mesh] <= found[mesh]["weights"] < WEIGHTS[mesh] + 0.02  # what stays whole is small
    assert found[mesh]["latents"] == LATENTS[mesh]


def test_a_mesh_is_read_from_text() -> None:
    assert parse_mesh("data=2, tensor=4") == MeshSizes(data=2, tensor=4)
    assert parse_mesh("sequence=8").devices == 8


@pytest.mark.parametrize("text", ["", "data", "data=", "data=2,data=2", "heads=2", "data=-1", "tensor=2.5", "data=²"])
def test_what_is_no_mesh_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="expected axes out of data, sequence, tensor"):
        parse_mesh(text)


def test_a_mesh_without_devices_for_it_is_refused() -> None:
    with pytest.raises(RequestError, match="expected a whole number, at least 1"):
        parse_mesh("data=0")
    with pytest.raises(RequestError, match=r"The mesh data=2, tensor=400 needs 800 devices; there are \d+\."):
        make_mesh(MeshSizes(data=2, tensor=400))


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
