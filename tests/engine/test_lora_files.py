"""LoRA files that do not fit, in part or at all, and damaged ones: every tensor is used or named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flux_engine.errors import CheckpointCorrupt, CheckpointNotFound, FluxError, WeightsMismatch
from flux_engine.weights.lora_files import open_lora, read_metadata
from tests.foreign_files import CLIP, TRANSFORMER, bfl_tensors, diffusers_tensors
from tests.lora_files import (
    RANK,
    Tensors,
    assert_close,
    in_diffusers,
    numbers,
    opened,
    pair,
    shapes,
    write_lora,
)

Q = "transformer.transformer_blocks.0.attn.to_q"


def test_all_faults_are_in_one_error(tmp_path: Path) -> None:
    tensors = {
        **pair(Q),
        **pair("transformer.transformer_blocks.7.attn.to_q"),
        **pair("transformer.transformer_blocks.1.attn.to_q", inputs=32),
        "transformer.transformer_blocks.1.attn.to_k.lora_A.weight": numbers("a", RANK, 64),
        "transformer.transformer_blocks.1.attn.to_v.alpha": np.float32(1),
        "anything": numbers("x", 1),
    }
    with pytest.raises(WeightsMismatch) as caught:
        opened(tmp_path, tensors)
    assert caught.value.faults == {
        "unused": ["anything", "transformer.transformer_blocks.7.attn.to_q (down, up)"],
        "misshapen": [
            "transformer.transformer_blocks.1.attn.to_q (it changes [64, 32] weights; the model has [64, 64])"
        ],
        "incomplete": [
            "transformer.transformer_blocks.1.attn.to_k (up missing)",
            "transformer.transformer_blocks.1.attn.to_v (it has only alpha)",
        ],
    }
    assert "style.safetensors does not fit this model: 2 unused: anything, " in str(caught.value)
    assert "2 incomplete" in str(caught.value) and "1 misshapen" in str(caught.value)
    assert "--lora-lenient" in caught.value.hint


def test_leniently_what_fits_is_used_and_the_rest_is_told(tmp_path: Path) -> None:
    tensors = {**pair(Q), **pair("transformer.transformer_blocks.7.attn.to_q"), "anything": numbers("x", 1)}
    lora = opened(tmp_path, tensors, lenient=True)
    a, b = tensors[f"{Q}.lora_A.weight"], tensors[f"{Q}.lora_B.weight"]
    assert_close(in_diffusers(lora), {"transformer_blocks.0.attn.to_q.weight": b @ a})
    assert lora.unknown == ("anything", "transformer.transformer_blocks.7.attn.to_q (down, up)")
    assert lora.warnings == (f"Left out of style.safetensors: 2 unused: {', '.join(lora.unknown)}.",)


def test_nothing_that_fits_is_an_error_leniently_too(tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatch, match="is no LoRA for this model: nothing in it fits; 1 unused: anything"):
        opened(tmp_path, {"anything": numbers("x", 1)}, lenient=True)


FAULTS: dict[str, tuple[Tensors, str, str]] = {
    "ranks that differ": (
        {f"{Q}.lora_A.weight": numbers("a", 4, 64), f"{Q}.lora_B.weight": numbers("b", 64, 3)},
        "misshapen",
        "[64, 3] and [4, 64] have no product",
    ),
    "rank 0": (
        {f"{Q}.lora_A.weight": numbers("a", 0, 64), f"{Q}.lora_B.weight": numbers("b", 64, 0)},
        "misshapen",
        "it has a tensor [64, 0]; expected a matrix",
    ),
    "a convolution": (
        {f"{Q}.lora_A.weight": numbers("a", 4, 64, 1, 1), f"{Q}.lora_B.weight": numbers("b", 64, 4, 1, 1)},
        "misshapen",
        "expected a matrix",
    ),
    "an alpha for each rank": ({**pair(Q), f"{Q}.alpha": numbers("a", 3)}, "misshapen", "alpha is [3]"),
    "whole numbers": (
        {**pair(Q), f"{Q}.lora_A.weight": np.zeros((3, 64), np.int8)},
        "not floating-point",
        "down is int8",
    ),
    "too few magnitudes": ({**pair(Q), f"{Q}.dora_scale": numbers("m", 32)}, "misshapen", "magnitudes are [32]"),
    "magnitudes alone": ({f"{Q}.dora_scale": numbers("m", 64)}, "incomplete", "magnitudes for 0 changes"),
    "a bias of another width": ({**pair(Q), f"{Q}.lora_B.bias": numbers("m", 32)}, "misshapen", "up_bias is [32]"),
    "a bias without its product": ({f"{Q}.lora_B.bias": numbers("m", 64)}, "incomplete", "up and down missing"),
    "a whole weight": ({f"{Q}.weight": numbers("w", 64, 64)}, "unused", "this module has not a scale"),
    "a bias for a layer that has none": (
        {"lora_te3_encoder_block_0_layer_0_SelfAttention_q.diff_b": numbers("b", 32)},
        "unused",
        "this module has not a bias",
    ),
    "an embedding": (pair("text_encoder.text_model.embeddings.token_embedding"), "unused", "has not a kernel"),
    "a norm as a product": (pair("transformer.transformer_blocks.0.attn.norm_q", 32, 32), "unused", "not a kernel"),
    "two names for one layer": (
        {**pair(Q), **pair("lora_transformer_transformer_blocks_0_attn_to_q")},
        "unused",
        f"lora_transformer_transformer_blocks_0_attn_to_q ({Q} changes the same)",
    ),
    "two names for one part": (
        {**pair(Q), f"{Q}.lora_A.default.weight": numbers("c", 3, 64)},
        "unused",
        f"{Q}.lora_A.weight",
    ),
    "Tucker's form": ({**pair(Q), f"{Q}.lora_mid.weight": numbers("m", 3, 3, 1, 1)}, "unused", "convolutions"),
    "GLoRA": ({f"{Q}.{x}.weight": numbers(x, 64, 64) for x in ("a1", "a2", "b1", "b2")}, "unused", "GLoRA"),
    "half of LoHa": ({f"{Q}.hada_w1_a": numbers("a", 64, 3)}, "incomplete", "hada_w1_b missing"),
    "half of LoKr": ({f"{Q}.lokr_w1": numbers("a", 8, 8)}, "incomplete", "lokr_w2_a and lokr_w2_b missing"),
    "LoKr of another size": (
        {f"{Q}.lokr_w1": numbers("a", 8, 8), f"{Q}.lokr_w2": numbers("b", 8, 4)},
        "misshapen",
        "it changes [64, 32] weights",
    ),
    "LoHa of two sizes": (
        {
            **{f"{Q}.hada_w{x}_a": numbers("a", rows, 3) for x, rows in ((1, 64), (2, 32))},
            **{f"{Q}.hada_w{x}_b": numbers("b", 3, 64) for x in (1, 2)},
        },
        "misshapen",
        "its factors are (64, 64) and (32, 64)",
    ),
    "a wide layer that is not img_in": (pair("transformer.proj_out", inputs=128), "misshapen", "[64, 128] weights"),
    "img_in that is too narrow": (pair("transformer.x_embedder", inputs=32), "misshapen", "[64, 32] weights"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_named_with_why(tmp_path: Path, fault: str) -> None:
    tensors, kind, why = FAULTS[fault]
    with pytest.raises(WeightsMismatch) as caught:
        opened(tmp_path, {**pair("transformer.transformer_blocks.1.attn.to_q"), **tensors})
    assert list(caught.value.faults) == [kind]
    assert any(why in name for name in caught.value.faults[kind]), caught.value.faults
    lora = opened(tmp_path, {**pair("transformer.transformer_blocks.1.attn.to_q"), **tensors}, lenient=True)
    assert lora.unknown == tuple(caught.value.faults[kind])


def test_a_lora_for_guidance_does_not_fit_a_model_without_it(tmp_path: Path) -> None:
    file = write_lora(tmp_path / "x.safetensors", {**pair("diffusion_model.guidance_in.out_layer"), **pair(Q)})
    transformer = {path: shape for path, shape in shapes()["transformer"].items() if path[0] != "guidance_in"}
    with pytest.raises(WeightsMismatch, match=r"1 unused: diffusion_model\.guidance_in\.out_layer"):
        open_lora(file, {"transformer": transformer})


def test_a_lora_for_an_encoder_that_is_not_asked_for_does_not_fit(tmp_path: Path) -> None:
    file = write_lora(tmp_path / "x.safetensors", pair("text_encoder.text_model.encoder.layers.0.mlp.fc1"))
    with pytest.raises(WeightsMismatch, match="is no LoRA for this model"):
        open_lora(file, {"transformer": shapes()["transformer"]})


def test_clips_projection_is_left_out_with_a_warning(tmp_path: Path) -> None:
    for module in ("text_encoder.text_projection", "lora_te1_text_projection"):
        lora = opened(tmp_path, {**pair(Q), **pair(module)})
        assert lora.components == {"transformer"} and not lora.unknown
        assert len(lora.warnings) == 1 and "text projection" in lora.warnings[0]
    with pytest.raises(WeightsMismatch, match="changes nothing in this model"):
        opened(tmp_path, pair("text_encoder.text_projection"))


OTHERS = {
    "Stable Diffusion 1.5 or XL": (
        "lora_unet_down_blocks_1_attentions_0_proj_in.lora_down.weight",
        "lora_unet_input_blocks_4_1_proj_in.alpha",
        "unet.mid_block.attentions.0.proj_in.lora.down.weight",
    ),
    "FLUX.2": ("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj.lora_A.weight",),
    "HunyuanVideo": (
        "transformer.double_blocks.0.img_attn_qkv.lora_A.weight",
        "lora_unet_double_blocks_0_img_mlp_fc1.lora_down.weight",
    ),
    "Stable Diffusion 3": ("diffusion_model.joint_blocks.0.x_block.attn.qkv.lora_down.weight",),
    "Qwen-Image": ("transformer_blocks.0.img_mod.1.lora_A.weight",),
    "Wan": ("diffusion_model.blocks.0.self_attn.q.lora_A.weight", "lora_unet_blocks_0_cross_attn_k.lora_down.weight"),
}


@pytest.mark.parametrize("model", OTHERS)
def test_a_lora_for_another_model_is_told_by_its_name(tmp_path: Path, model: str) -> None:
    for name in OTHERS[model]:
        with pytest.raises(WeightsMismatch) as caught:
            opened(tmp_path, {name: numbers("x", 4, 64)}, lenient=True)
        assert f"it seems to be for {model};" in str(caught.value), name
        assert "style.safetensors" in str(caught.value) and caught.value.hint


@pytest.mark.parametrize("lenient", [False, True])
def test_a_whole_model_is_told_to_be_one(tmp_path: Path, lenient: bool) -> None:
    for tensors in (bfl_tensors(TRANSFORMER), diffusers_tensors(TRANSFORMER), diffusers_tensors(CLIP)):
        with pytest.raises(WeightsMismatch, match="is a whole model, no LoRA") as caught:
            opened(tmp_path, tensors, lenient=lenient)
        assert "checkpoint" in caught.value.hint


# Damaged files


def test_there_is_no_such_file(tmp_path: Path) -> None:
    for read in (lambda file: open_lora(file, shapes()), read_metadata):
        with pytest.raises(CheckpointNotFound, match=r"none\.safetensors cannot be read: No such file"):
            read(tmp_path / "none.safetensors")
        with pytest.raises(CheckpointNotFound, match="Is a directory"):
            read(tmp_path)


def test_a_damaged_file_is_told_to_be_one(tmp_path: Path) -> None:
    whole = write_lora(tmp_path / "x.safetensors", pair(Q), {"a": "b"}).read_bytes()
    file = tmp_path / "damaged.safetensors"
    for data in (
        b"",
        whole[:5],
        whole[:40],
        whole[:-1],
        b"\xff" * 40,
        bytes([whole[0] + 8]) + whole[1:],
        b"PK\3\4" * 9,
    ):
        file.write_bytes(data)
        with pytest.raises(CheckpointCorrupt, match=r"damaged\.safetensors") as caught:
            open_lora(file, shapes())
        assert caught.value.hint


def test_a_file_that_becomes_shorter_is_told_when_it_is_read(tmp_path: Path) -> None:
    lora = opened(tmp_path, pair(Q))
    lora.file.write_bytes(lora.file.read_bytes()[:-1])
    with pytest.raises(CheckpointCorrupt, match="ends too early"):
        lora.kernels[0].read()


def test_settings_that_are_none_are_an_error(tmp_path: Path) -> None:
    for text in ("[]", "{", '{"transformer.lora_alpha": "8"}', '{"transformer.alpha_pattern": {"x": null}}'):
        with pytest.raises(CheckpointCorrupt, match="lora_adapter_metadata"):
            opened(tmp_path, pair(Q), {"lora_adapter_metadata": text})


def test_names_bring_no_controls_to_a_terminal(tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatch) as caught:
        opened(tmp_path, {**pair(Q), "\x1b[2J\x07bad": numbers("x", 1)})
    assert "\x1b" not in str(caught.value) and "[2J bad" in str(caught.value)
    assert caught.value.faults == {"unused": ["[2J bad"]}


KEYS = [*pair(Q), *pair("lora_unet_img_in"), f"{Q}.alpha", f"{Q}.lokr_w1", f"{Q}.diff", "img_in.lora_B.bias", "x", ""]


@settings(max_examples=400)
@given(data=st.data())
def test_any_file_gives_a_lora_or_a_typed_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    tensors = {
        name: np.zeros(data.draw(st.lists(st.sampled_from([0, 1, 3, 64]), max_size=3)), np.float32)
        for name in data.draw(st.lists(st.sampled_from(KEYS) | st.text(max_size=12), max_size=6, unique=True))
    }
    metadata = data.draw(st.dictionaries(st.sampled_from(["lora_adapter_metadata", "a"]), st.text(max_size=20)))
    file = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    content = bytearray(write_lora(file, tensors, metadata).read_bytes())
    for position, byte in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=3)
    ):
        content[position] = byte
    file.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) - 1, len(content) // 2]))])
    try:
        lora = open_lora(file, shapes(), lenient=data.draw(st.booleans()))
    except FluxError as error:
        assert str(error) and error.hint
        return
    for kernel in lora.kernels:
        assert kernel.read().dense().ndim == 2
    for vector in lora.vectors:
        assert vector.read().shape == (vector.stop - vector.start,)
