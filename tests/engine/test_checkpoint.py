"""What is saved is loaded, strictly and without a second copy; what is damaged is one clear error."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx

from flux_engine.configs import CLIPTextConfig, NetworkConfig, T5Config, TransformerConfig, VAEConfig
from flux_engine.errors import CheckpointCorrupt, CheckpointNotFound, ConfigError, WeightsMismatch
from flux_engine.weights import filling, reading
from flux_engine.weights.checkpoint import NETWORKS, load_component, save_component
from flux_engine.weights.names import is_foreign, stored_path
from flux_engine.weights.orbax_files import OrbaxWeights
from flux_engine.weights.placing import on_device

CONFIGS: dict[str, NetworkConfig] = {
    "transformer": TransformerConfig(
        in_channels=4,
        hidden_dim=32,
        num_heads=2,
        num_double_layers=2,
        num_single_layers=3,
        joint_attention_dim=12,
        pooled_projection_dim=8,
        axes_dims_rope=(4, 6, 6),
    ),
    "vae": VAEConfig(latent_channels=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4),
    "clip_text": CLIPTextConfig(
        vocab_size=20,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=8,
    ),
    # A table of more than 1 kB: what is smaller lies within Orbax's index.
    "t5_text": T5Config(vocab_size=200, d_model=8, d_ff=16, num_layers=2, num_heads=2, d_kv=4),
}


def network(component: str, seed: int = 0) -> Any:
    """A tiny network no two of whose weights are alike."""
    abstract = nnx.eval_shape(lambda: NETWORKS[component](CONFIGS[component], rngs=nnx.Rngs(0)))
    graph, state = nnx.split(abstract)
    leaves, structure = jax.tree.flatten(state)
    numbers = np.random.default_rng(seed)
    leaves = [jnp.asarray(numbers.normal(size=leaf.shape), jnp.float32) for leaf in leaves]
    return nnx.merge(graph, jax.tree.unflatten(structure, leaves))


def weights(made: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(made))]


def load(folder: Path, component: str, **options: Any) -> Any:
    return load_component(
        folder, component, **{"placement": on_device(jax.devices()[0]), "dtype": jnp.float32} | options
    )


@pytest.fixture(scope="module")
def t5_saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "t5_text"
    save_component(folder, network("t5_text"))
    return folder


@pytest.fixture
def t5_dir(t5_saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(t5_saved, tmp_path / "t5_text"))


def rewrite(folder: Path, edit: Any, **options: Any) -> None:
    """Store the tree again after `edit` has changed it."""
    tree = ocp.PyTreeCheckpointer().restore(folder / "state")
    edit(tree)
    shutil.rmtree(folder / "state")
    ocp.PyTreeCheckpointer(**options).save(folder / "state", tree)


@pytest.mark.parametrize("in_place", [True, False])  # as on a CPU, and as on a device with a memory of its own
@pytest.mark.parametrize("component", CONFIGS)
def test_a_network_comes_back_as_it_was_saved(
    component: str, in_place: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "is_in_memory", lambda place: in_place)
    saved = network(component)
    save_component(tmp_path / component, saved)

    loaded = load(tmp_path / component, component)

    assert loaded.config == saved.config
    assert nnx.graphdef(loaded) == nnx.graphdef(saved)
    for ours, theirs in zip(weights(loaded), weights(saved), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_stacked_blocks_are_stored_one_by_one_as_named_in_the_public_layout(tmp_path: Path) -> None:
    saved = network("transformer")
    save_component(tmp_path / "transformer", saved)

    tree = ocp.PyTreeCheckpointer().restore(tmp_path / "transformer" / "state")

    assert set(tree["double_blocks"]) == {"0", "1"}
    assert set(tree["single_blocks"]) == {"0", "1", "2"}
    np.testing.assert_array_equal(
        tree["double_blocks"]["1"]["attn"]["img_qkv"]["kernel"]["value"],
        saved.double_blocks.attn.img_qkv.kernel[...][1],
    )
    assert tree["final_layer"]["adaLN_modulation"]["bias"]["value"].shape == (64,)


def test_t5_position_bias_is_stored_in_the_first_block(t5_saved: Path) -> None:
    tree = ocp.PyTreeCheckpointer().restore(t5_saved / "state")
    assert tree["blocks"]["0"]["self_attn"]["relative_attention_bias"]["embedding"]["value"].shape == (32, 2)
    assert "relative_attention_bias" not in tree["blocks"]["1"]["self_attn"]


@pytest.mark.parametrize(
    ("component", "path", "block", "stored"),
    [
        ("transformer", "double_blocks.attn.img_qkv.kernel", 7, "double_blocks.7.attn.img_qkv.kernel"),
        ("transformer", "single_blocks.linear1.bias", 37, "single_blocks.37.linear1.bias"),
        ("transformer", "img_in.kernel", None, "img_in.kernel"),
        ("clip_text", "layers.ln1.scale", 0, "layers.0.ln1.scale"),
        ("vae", "encoder.down_blocks.0.resnets.1.conv1.bias", None, "encoder.down_blocks.0.resnets.1.conv1.bias"),
        ("t5_text", "blocks.self_attn.q.kernel", 0, "blocks.0.self_attn.q.kernel"),
        (
            "t5_text",
            "relative_attention_bias.embedding",
            None,
            "blocks.0.self_attn.relative_attention_bias.embedding",
        ),
    ],
)
def test_names_map_to_the_stored_ones(component: str, path: str, block: int | None, stored: str) -> None:
    own, there = tuple(path.split(".")), tuple(stored.split("."))
    assert stored_path(component, own, block) == there


def test_only_scales_of_norms_that_flux_has_not_are_foreign() -> None:
    foreign = ("double_blocks.0.img_norm1.scale", "single_blocks.12.norm.scale", "final_layer.norm.scale")
    ours = ("double_blocks.0.attn.img_key_norm.scale", "single_blocks.0.key_norm.scale", "single_blocks.x.norm.scale")
    assert all(is_foreign("transformer", tuple(name.split("."))) for name in foreign)
    assert not any(is_foreign("transformer", tuple(name.split("."))) for name in ours)
    assert not is_foreign("vae", tuple(foreign[0].split(".")))


@pytest.mark.parametrize("stored", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_weights_take_the_type_asked_for_or_keep_their_own(tmp_path: Path, stored: Any) -> None:
    original = network("t5_text")
    save_component(tmp_path / "t5_text", original, dtype=stored)
    config = json.loads((tmp_path / "t5_text" / "config.json").read_text())
    assert config["param_dtype"] == config["dtype"] == jnp.dtype(stored).name

    for asked, got in [(None, stored), (jnp.float32, jnp.float32), (jnp.bfloat16, jnp.bfloat16)]:
        loaded = weights(load(tmp_path / "t5_text", "t5_text", param_dtype=asked))
        for leaf, before in zip(loaded, weights(original), strict=True):
            assert leaf.dtype == got
            np.testing.assert_array_equal(leaf, before.astype(stored).astype(got))


def test_the_dtype_of_computing_is_the_one_asked_for(t5_saved: Path) -> None:
    loaded = load(t5_saved, "t5_text", dtype=jnp.bfloat16)
    assert loaded(jnp.ones((1, 3), jnp.int32)).dtype == jnp.bfloat16
    assert loaded.embed_tokens.embedding[...].dtype == jnp.float32


def test_weights_land_on_the_device_asked_for(t5_saved: Path) -> None:
    device = jax.devices()[-1]
    for leaf in jax.tree.leaves(nnx.state(load(t5_saved, "t5_text", placement=on_device(device)))):
        assert leaf.devices() == {device}


def test_leaves_are_read_one_by_one_and_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_component(tmp_path / "transformer", network("transformer"))
    monkeypatch.setattr(reading, "THREADS", 1)  # else it is no order in which they come here
    places: list[tuple[str, ...]] = []
    read_into = OrbaxWeights.read_into

    def noted(self: Any, path: Any, target: Any) -> None:
        stack, block, *_ = path
        places.append((stack, block) if stack.endswith("_blocks") else ())
        read_into(self, path, target)

    monkeypatch.setattr(OrbaxWeights, "read_into", noted)
    load(tmp_path / "transformer", "transformer")

    runs = [(place, len(list(same))) for place, same in itertools.groupby(places)]
    doubles, singles = (("double_blocks", str(i)) for i in range(2)), (("single_blocks", str(i)) for i in range(3))
    assert runs == [((), runs[0][1]), *((place, 24) for place in doubles), *((place, 8) for place in singles)]


@pytest.mark.parametrize(
    "options", [{"use_ocdbt": False}, {"use_zarr3": True}, {"use_ocdbt": False, "use_zarr3": True}]
)
def test_other_orbax_layouts_load_too(t5_dir: Path, options: dict[str, bool]) -> None:
    before = weights(load(t5_dir, "t5_text"))
    rewrite(t5_dir, lambda tree: None, **options)
    for ours, theirs in zip(weights(load(t5_dir, "t5_text")), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_paths_may_have_integer_keys_lists_and_no_value_at_their_end(t5_dir: Path) -> None:
    before = weights(load(t5_dir, "t5_text"))

    def edit(tree: dict[str, Any]) -> None:
        tree["final_layer_norm"]["scale"] = tree["final_layer_norm"]["scale"]["value"]
        tree["blocks"] = [tree["blocks"]["0"], tree["blocks"]["1"]]

    rewrite(t5_dir, edit)
    for ours, theirs in zip(weights(load(t5_dir, "t5_text")), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)

    rewrite(t5_dir, lambda tree: tree.update(blocks=dict(enumerate(tree["blocks"]))))
    for ours, theirs in zip(weights(load(t5_dir, "t5_text")), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_missing_misshapen_and_unused_leaves_are_listed_together(t5_dir: Path) -> None:
    def edit(tree: dict[str, Any]) -> None:
        del tree["blocks"]["1"]["self_attn"]["q"]
        tree["final_layer_norm"]["scale"]["value"] = np.zeros(9, np.float32)
        tree["stranger"] = {"kernel": {"value": np.zeros(2, np.float32)}}

    rewrite(t5_dir, edit)
    with pytest.raises(WeightsMismatch) as caught:
        load(t5_dir, "t5_text")

    message = str(caught.value)
    assert message.startswith(f"t5_text: the leaves in {t5_dir / 'state'}")
    assert "1 missing: blocks.1.self_attn.q.kernel" in message
    assert "1 misshapen: final_layer_norm.scale (stored [9], expected [8])" in message
    assert "1 unused: stranger.kernel" in message
    assert caught.value.hint
    assert caught.value.faults["missing"] == ["blocks.1.self_attn.q.kernel"]


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.bool_, np.complex64])
def test_weights_that_are_no_floating_point_numbers_are_a_mismatch(t5_dir: Path, kind: Any) -> None:
    def edit(tree: dict[str, Any]) -> None:
        tree["final_layer_norm"]["scale"]["value"] = np.zeros(8, kind)

    rewrite(t5_dir, edit)
    with pytest.raises(WeightsMismatch, match=r"1 not floating-point: final_layer_norm\.scale \(u?[a-z]+"):
        load(t5_dir, "t5_text")


def test_a_config_that_contradicts_the_weights_is_a_mismatch(t5_dir: Path) -> None:
    file = t5_dir / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_layers": 5, "d_ff": 24}))
    with pytest.raises(WeightsMismatch, match=r"27 missing: .* and 24 more; 6 misshapen: ") as caught:
        load(t5_dir, "t5_text")
    assert [len(caught.value.faults[kind]) for kind in ("missing", "misshapen", "unused")] == [27, 6, 0]


def test_another_component_is_a_mismatch(t5_dir: Path) -> None:
    with pytest.raises(WeightsMismatch, match="clip_text: "):
        load(t5_dir, "clip_text")


@pytest.mark.parametrize("part", ["", "state", "config.json"])
def test_a_missing_part_is_named(t5_dir: Path, part: str) -> None:
    gone = t5_dir / part
    if gone.is_dir():
        shutil.rmtree(gone)
    else:
        gone.unlink()
    with pytest.raises(CheckpointNotFound) as caught:
        load(t5_dir, "t5_text")
    assert f"{gone} is missing" in str(caught.value)
    assert "state/ and config.json" in caught.value.hint


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize("content", [b"", b'{"d_model": 8', b"[1, 2]", b"\xff\xfe", DEEP], ids=len)
def test_a_config_that_is_no_json_object_is_corrupt(t5_dir: Path, content: bytes) -> None:
    (t5_dir / "config.json").write_bytes(content)
    with pytest.raises(CheckpointCorrupt, match=r"config\.json"):
        load(t5_dir, "t5_text")


def test_a_config_of_no_network_is_a_config_error(t5_dir: Path) -> None:
    (t5_dir / "config.json").write_text('{"d_model": "wide"}')
    with pytest.raises(ConfigError, match="d_model"):
        load(t5_dir, "t5_text")


@pytest.mark.parametrize("content", [DEEP, b"{}", b'{"tree_metadata": {"a": {"key_metadata": []}}}'], ids=len)
def test_a_description_that_is_none_is_corrupt(t5_dir: Path, content: bytes) -> None:
    (t5_dir / "state" / "_METADATA").write_bytes(content)
    with pytest.raises(CheckpointCorrupt, match="is no Orbax tree"):
        load(t5_dir, "t5_text")


def test_a_tree_of_one_bare_array_is_corrupt(t5_dir: Path) -> None:
    shutil.rmtree(t5_dir / "state")
    ocp.PyTreeCheckpointer().save(t5_dir / "state", np.zeros(3, np.float32))
    with pytest.raises(CheckpointCorrupt, match="is no Orbax tree"):
        load(t5_dir, "t5_text")


def test_an_empty_state_is_corrupt(t5_dir: Path) -> None:
    shutil.rmtree(t5_dir / "state")
    (t5_dir / "state").mkdir()
    with pytest.raises(CheckpointCorrupt, match="state"):
        load(t5_dir, "t5_text")


@pytest.mark.parametrize("damage", ["remove", "halve", "empty"])
@pytest.mark.parametrize("victim", ["_METADATA", "manifest.ocdbt", "d/*", "ocdbt.process_0/d/*"])
def test_a_damaged_state_is_corrupt_and_says_so_quietly(
    t5_dir: Path, victim: str, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = max((t5_dir / "state").glob(victim), key=lambda path: path.stat().st_size)
    content = file.read_bytes()
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2 if damage == "halve" else 0])

    with pytest.raises(CheckpointCorrupt) as caught:
        load(t5_dir, "t5_text")

    assert str(t5_dir / "state") in str(caught.value)
    assert caught.value.__cause__ is not None
    assert capfd.readouterr() == ("", "")


def test_saving_and_loading_print_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    save_component(tmp_path / "t5_text", network("t5_text"))
    load(tmp_path / "t5_text", "t5_text")
    assert capfd.readouterr() == ("", "")


def test_saving_again_replaces_the_folder_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    for seed in (1, 2):
        save_component(tmp_path / "deep" / "t5_text", network("t5_text", seed))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["t5_text"]
    assert {path.name for path in (tmp_path / "deep" / "t5_text").iterdir()} == {"state", "config.json"}
    for ours, theirs in zip(
        weights(load(tmp_path / "deep" / "t5_text", "t5_text")), weights(network("t5_text", 2)), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_a_save_that_fails_leaves_what_was_there(t5_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, *args: Any, **kwargs: Any) -> None:
        raise OSError("No space left on device")

    before = weights(load(t5_dir, "t5_text"))
    monkeypatch.setattr(ocp.PyTreeCheckpointer, "save", fail)
    with pytest.raises(OSError, match="No space"):
        save_component(t5_dir, network("t5_text", 5))

    assert [path.name for path in t5_dir.parent.iterdir()] == ["t5_text"]
    for ours, theirs in zip(weights(load(t5_dir, "t5_text")), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_hole_is_zeros_in_old_files_and_damage_in_new_ones(t5_dir: Path) -> None:
    rewrite(t5_dir, lambda tree: None, use_ocdbt=False)
    (chunk,) = (t5_dir / "state" / "final_layer_norm.scale.value").glob("[0-9]*")
    chunk.unlink()
    with pytest.raises(CheckpointCorrupt, match=r"a damaged array, final_layer_norm\.scale"):
        load(t5_dir, "t5_text")

    metadata = t5_dir / "state" / "_METADATA"
    layout = json.loads(metadata.read_text())
    del layout["store_array_data_equal_to_fill_value"]
    metadata.write_text(json.dumps(layout))
    assert not load(t5_dir, "t5_text").final_layer_norm.scale[...].any()
