"""LoRA files of every program: each layer is found by the name that it has there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lora_files import (
    RANK,
    assert_close,
    bfl_matrices,
    diffusers_matrices,
    dotted,
    in_bfl,
    in_diffusers,
    low_rank,
    numbers,
    opened,
    underscored,
)

DIFFUSERS_NAMES = {
    "diffusers, ai-toolkit": (dotted("transformer."), "lora_A", "lora_B", None),
    "with alpha beside it": (dotted("transformer."), "lora_A", "lora_B", 7.0),
    "of the transformer alone": (dotted(""), "lora_A", "lora_B", None),
    "SimpleTuner": (dotted("transformer.base_model.model."), "lora_A", "lora_B", None),
    "PEFT": (dotted("base_model.model."), "lora_A", "lora_B", None),
    "PEFT, with the adapter's name": (dotted("transformer."), "lora_A.default", "lora_B.default", None),
    "OneTrainer": (underscored("lora_transformer_"), "lora_down", "lora_up", 1.0),
    "LyCORIS": (underscored("lycoris_"), "lora_down", "lora_up", 2.0),
}
BFL_NAMES = {
    "kohya": (underscored("lora_unet_"), "lora_down", "lora_up", 2.0),
    "kohya without alpha": (underscored("lora_unet_"), "lora_down", "lora_up", None),
    "ComfyUI": (dotted("diffusion_model."), "lora_down", "lora_up", 16.0),
    "ComfyUI, PEFT's parts": (dotted("diffusion_model."), "lora_A", "lora_B", None),
    "fal": (dotted("base_model.model."), "lora_A", "lora_B", None),
    "Black Forest Labs": (dotted(""), "lora_A", "lora_B", None),
}


@pytest.mark.parametrize("form", DIFFUSERS_NAMES)
def test_every_layer_is_found_by_its_name_in_diffusers(tmp_path: Path, form: str) -> None:
    tensors, expected = low_rank(diffusers_matrices(), *DIFFUSERS_NAMES[form])
    lora = opened(tmp_path, tensors)
    assert_close(in_diffusers(lora), expected)
    assert lora.components == {"transformer"} and not lora.warnings and not lora.unknown


@pytest.mark.parametrize("form", BFL_NAMES)
def test_every_layer_is_found_by_the_name_that_black_forest_labs_gave_it(tmp_path: Path, form: str) -> None:
    tensors, expected = low_rank(bfl_matrices(), *BFL_NAMES[form])
    assert_close(in_bfl(opened(tmp_path, tensors)), expected)


CLIP_NAMES = {
    "diffusers": (dotted("text_encoder.text_model."), "lora_A", "lora_B", None),
    "transformers 5": (dotted("text_encoder."), "lora_A", "lora_B", None),
    "SimpleTuner": (dotted("text_encoder.base_model.model.text_model."), "lora_A", "lora_B", None),
    "diffusers of 2023": (
        dotted("text_encoder.text_model."),
        "lora_linear_layer.down",
        "lora_linear_layer.up",
        None,
    ),
    "diffusers of 2023, text projection's form": (dotted("text_encoder.text_model."), "lora.down", "lora.up", None),
    "kohya": (underscored("lora_te1_text_model_"), "lora_down", "lora_up", 2.0),
    "one text encoder": (underscored("lora_te_text_model_"), "lora_down", "lora_up", 2.0),
    "ComfyUI": (dotted("text_encoders.clip_l.transformer.text_model."), "lora_down", "lora_up", 4.0),
}
T5_NAMES = {
    "diffusers": (dotted("text_encoder_2."), "lora_A", "lora_B", None),
    "kohya": (underscored("lora_te3_"), "lora_down", "lora_up", 2.0),
    "OneTrainer": (underscored("lora_te2_"), "lora_down", "lora_up", 2.0),
    "ComfyUI": (dotted("text_encoders.t5xxl.transformer."), "lora_A", "lora_B", None),
}


@pytest.mark.parametrize("form", CLIP_NAMES)
def test_every_layer_of_clip_is_found(tmp_path: Path, form: str) -> None:
    tensors, expected = low_rank(diffusers_matrices("clip_text"), *CLIP_NAMES[form])
    lora = opened(tmp_path, tensors)
    assert_close(in_diffusers(lora, "clip_text"), expected)
    assert lora.components == {"clip_text"}


@pytest.mark.parametrize("form", T5_NAMES)
def test_every_layer_of_t5_is_found(tmp_path: Path, form: str) -> None:
    tensors, expected = low_rank(diffusers_matrices("t5_text"), *T5_NAMES[form])
    lora = opened(tmp_path, tensors)
    assert_close(in_diffusers(lora, "t5_text"), expected)
    assert lora.components == {"t5_text"}


def test_clips_attention_is_found_under_the_names_of_2023(tmp_path: Path) -> None:
    tensors, expected = {}, {}
    for x in ("q", "k", "v", "out"):
        a, b = numbers(f"{x} down", RANK, 64), numbers(f"{x} up", 64, RANK)
        module = f"text_encoder.text_model.encoder.layers.1.self_attn.to_{x}_lora"
        tensors |= {f"{module}.down.weight": a, f"{module}.up.weight": b}
        expected[f"encoder.layers.1.self_attn.{x}_proj.weight"] = b @ a
    assert_close(in_diffusers(opened(tmp_path, tensors), "clip_text"), expected)


def test_one_file_changes_several_networks_in_several_programs_names(tmp_path: Path) -> None:
    a, b = numbers("a", RANK, 64), numbers("b", 64, RANK)
    tensors = {
        "transformer.proj_out.lora_A.weight": a,
        "transformer.proj_out.lora_B.weight": b,
        "lora_unet_img_in.lora_down.weight": a,
        "lora_unet_img_in.lora_up.weight": b,
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight": a,
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight": b,
        "lora_te3_encoder_block_1_layer_0_SelfAttention_o.lora_down.weight": a[:, :32],
        "lora_te3_encoder_block_1_layer_0_SelfAttention_o.lora_up.weight": b[:32],
    }
    lora = opened(tmp_path, tensors)
    assert lora.components == {"transformer", "clip_text", "t5_text"}
    assert_close(in_diffusers(lora), {"proj_out.weight": b @ a, "x_embedder.weight": b @ a})
    assert_close(in_diffusers(lora, "t5_text"), {"encoder.block.1.layer.0.SelfAttention.o.weight": b[:32] @ a[:, :32]})
