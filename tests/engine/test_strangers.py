"""Files and folders that are no checkpoint of FLUX.1: each is named, with what it is and what to do instead."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flux_engine.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointNotFound,
    ConfigError,
    FluxError,
    UnsupportedVariant,
)
from flux_engine.weights.checkpoint import load_network
from flux_engine.weights.placing import on_device
from flux_engine.weights.sources import open_checkpoint
from tests.foreign_files import (
    TRANSFORMER,
    add_tokenizers,
    bfl_tensors,
    save_file,
    write_diffusers_folder,
    write_gguf,
    write_single_files,
)

SOME = np.zeros((2, 2), np.float32)
F32 = gguf.GGMLQuantizationType.F32
LORAS = {
    "kohya": "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight",
    "diffusers": "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight",
    "XLabs": "double_blocks.0.processor.qkv_lora1.down.weight",
    "ComfyUI": "diffusion_model.double_blocks.0.img_attn.qkv.lora_down.weight",
    "LoHa": "lycoris_double_blocks_0_img_attn_qkv.hada_w1_a",
    "LoKr": "lycoris_double_blocks_0_img_attn_qkv.lokr_w1",
    "plain difference": "diffusion_model.single_blocks.0.linear1.diff_b",
    "for SDXL": "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
}
OTHERS = {
    "Stable Diffusion XL": {
        "conditioner.embedders.1.model.ln_final.weight": SOME,
        "model.diffusion_model.input_blocks.0.0.weight": SOME,
        "first_stage_model.decoder.up.0.block.0.conv1.weight": SOME,
    },
    "Stable Diffusion 3": {
        "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": SOME,
        "text_encoders.clip_l.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight": SOME,
    },
    "Stable Diffusion": {
        "cond_stage_model.transformer.text_model.final_layer_norm.weight": SOME,
        "first_stage_model.decoder.up.0.block.0.conv1.weight": SOME,
    },
    "a ControlNet": {"controlnet_x_embedder.weight": SOME, "transformer_blocks.0.attn.to_q.weight": SOME},
    "FLUX.1 Redux": {"redux_up.weight": SOME, "redux_down.weight": SOME},
}
RELATIVES = {
    "NF4": {"double_blocks.0.img_attn.qkv.weight.quant_state.bitsandbytes__nf4": SOME},
    "Nunchaku": {"transformer_blocks.0.qkv_proj.wscales": SOME},
    "Chroma": {"distilled_guidance_layer.in_proj.weight": SOME},
    r"FLUX\.2": {"double_stream_modulation_img.lin.weight": SOME},
}


@pytest.mark.parametrize("program", LORAS)
def test_a_lora_given_as_a_checkpoint_is_sent_where_it_belongs(tmp_path: Path, program: str) -> None:
    file = tmp_path / "file.safetensors"
    save_file({LORAS[program]: SOME}, file)
    with pytest.raises(CheckpointError, match=r"file\.safetensors is a LoRA") as caught:
        open_checkpoint(file)
    assert "--lora" in caught.value.hint


@pytest.mark.parametrize("model", OTHERS)
def test_another_model_is_called_by_its_name(tmp_path: Path, model: str) -> None:
    file = tmp_path / "file.safetensors"
    save_file(OTHERS[model], file)
    with pytest.raises(CheckpointError, match=rf"file\.safetensors is .*{model}") as caught:
        open_checkpoint(file)
    assert caught.value.hint


@pytest.mark.parametrize("relative", RELATIVES)
def test_a_relative_is_called_by_its_name_though_it_has_fluxs_modules(tmp_path: Path, relative: str) -> None:
    file = write_single_files(tmp_path)
    save_file(bfl_tensors(TRANSFORMER) | RELATIVES[relative], file)
    for place in (file, tmp_path):
        with pytest.raises(UnsupportedVariant, match=rf"model\.safetensors is .*{relative}") as caught:
            open_checkpoint(place)
        assert caught.value.hint


@pytest.mark.parametrize("model", OTHERS)
def test_another_model_beside_a_checkpoints_files_does_no_harm(tmp_path: Path, model: str) -> None:
    write_single_files(tmp_path)
    save_file(OTHERS[model], tmp_path / "a.safetensors")
    save_file({LORAS["kohya"]: SOME}, tmp_path / "lora.safetensors")
    assert open_checkpoint(tmp_path).parts["transformer"].config == TRANSFORMER
    (tmp_path / "t5.safetensors").unlink()
    with pytest.raises(CheckpointNotFound, match="t5_text"):  # and not that the other one is another one
        open_checkpoint(tmp_path)


def test_the_architecture_of_a_gguf_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    write_gguf(file, {"blk.0.attn_q.weight": SOME, "token_embd.weight": SOME}, F32, arch="llama")
    with pytest.raises(CheckpointError, match=r"model\.gguf holds no network of FLUX.*'llama'") as caught:
        open_checkpoint(file)
    assert "'flux'" in caught.value.hint


@pytest.mark.parametrize("name", ["model.ckpt", "model.pt", "model.bin", "model.safetensors"])
@pytest.mark.parametrize("start", [b"PK\3\4", b"\x80\2}q"])
def test_a_pickle_is_never_read(tmp_path: Path, name: str, start: bytes) -> None:
    (tmp_path / name).write_bytes(start + bytes(100))
    with pytest.raises(CheckpointError, match=rf"{name} is a pickle, which can run any program") as caught:
        open_checkpoint(tmp_path / name)
    assert ".safetensors" in caught.value.hint


def test_a_folder_that_has_only_a_pickle_of_a_network_is_told(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path)
    (tmp_path / "text_encoder_2" / "model.safetensors").rename(tmp_path / "text_encoder_2" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"text_encoder_2/pytorch_model\.bin is a pickle"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("pipeline", "what"),
    [
        ("FluxKontextPipeline", "Kontext"),
        ("FluxFillPipeline", "Fill"),
        ("FluxControlPipeline", "Canny or Depth"),
        ("FluxPriorReduxPipeline", "Redux"),
    ],
)
def test_a_folder_of_a_relative_is_told_by_its_pipeline(tmp_path: Path, pipeline: str, what: str) -> None:
    write_diffusers_folder(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    with pytest.raises(UnsupportedVariant, match=rf"model_index\.json names {pipeline}: this is FLUX\.1 {what}"):
        open_checkpoint(tmp_path)


def test_a_folder_of_another_model_is_told_by_its_pipeline(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"}))
    with pytest.raises(CheckpointError, match="'StableDiffusionXLPipeline', which is no pipeline of FLUX"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("name", [[], {}, 1, True])
def test_a_pipeline_that_has_no_name_is_told(tmp_path: Path, name: object) -> None:
    write_diffusers_folder(tmp_path)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": name}))
    with pytest.raises(CheckpointError, match="which is no pipeline of FLUX"):
        open_checkpoint(tmp_path)


def test_a_size_that_is_no_number_is_told(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path)
    (tmp_path / "text_encoder" / "config.json").write_text('{"eos_token_id": NaN}')
    with pytest.raises(ConfigError, match="eos_token_id is nan; expected int"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("content", ['{"_class_name": "FluxPipeline"}', '{"_class_name": "FluxImg2ImgPipeline"}', "{}"])
def test_a_pipeline_around_the_same_networks_is_none_of_ours(tmp_path: Path, content: str) -> None:
    write_diffusers_folder(tmp_path)
    (tmp_path / "model_index.json").write_text(content)
    assert open_checkpoint(tmp_path).variant == "dev"


def test_a_damaged_index_of_a_folder_is_told(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path)
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(CheckpointCorrupt, match=r"model_index\.json is not JSON"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(("in_channels", "name"), [(384, "Fill"), (128, "Canny or Depth")])
@pytest.mark.parametrize("form", ["diffusers", "prefixed", "gguf"])
def test_fill_and_control_models_are_refused_in_every_format(
    tmp_path: Path, form: str, in_channels: int, name: str
) -> None:
    wide = np.zeros((64, in_channels), np.float32)
    tensors = bfl_tensors(TRANSFORMER) | {"img_in.weight": wide}
    place = tmp_path
    if form == "diffusers":
        write_diffusers_folder(tmp_path)
        file = tmp_path / "transformer" / "diffusion_pytorch_model.safetensors"
        _widen(file, "x_embedder.weight", wide)
    elif form == "gguf":
        place = tmp_path / "fill.gguf"
        write_gguf(place, tensors, F32)
    else:
        place = tmp_path / "fill.safetensors"
        save_file({f"model.diffusion_model.{key}": array for key, array in tensors.items()}, place)
    with pytest.raises(UnsupportedVariant, match=name) as caught:
        open_checkpoint(place)
    assert "FLUX.1-dev" in caught.value.hint


def _widen(file: Path, name: str, array: np.ndarray) -> None:
    from flux_engine.weights.tensor_files import read_tensors

    save_file({key: tensor.read() for key, tensor in read_tensors(file).items()} | {name: array}, file)


# What goes while it is read


def test_a_file_that_vanishes_before_its_weights_are_read_is_told(tmp_path: Path) -> None:
    file = write_single_files(tmp_path)
    weights = open_checkpoint(file).parts["transformer"].open()
    file.unlink()
    with pytest.raises(
        CheckpointCorrupt, match=r"model\.safetensors cannot be read any more: .*No such file"
    ) as caught:
        load_network(weights, placement=on_device(jax.devices("cpu")[0]), dtype=jnp.float32)
    assert caught.value.hint


def test_a_folder_that_vanishes_before_its_weights_are_read_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_diffusers_folder(folder)
    weights = open_checkpoint(folder).parts["t5_text"].open()
    shutil.rmtree(folder)
    with pytest.raises(CheckpointCorrupt, match="cannot be read any more"):
        load_network(weights, placement=on_device(jax.devices("cpu")[0]), dtype=jnp.float32)


def test_a_file_that_vanishes_between_its_name_and_its_header_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_diffusers_folder(tmp_path)
    file = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    listed = Path.glob

    def list_and_remove(folder: Path, pattern: str) -> list[Path]:
        found = list(listed(folder, pattern))
        if file in found:
            file.unlink()
        return found

    monkeypatch.setattr(Path, "glob", list_and_remove)
    with pytest.raises(CheckpointNotFound, match=r"diffusion_pytorch_model\.safetensors cannot be read: No such file"):
        open_checkpoint(tmp_path)


def test_one_damaged_network_of_four_is_told_before_any_is_read(tmp_path: Path) -> None:
    write_diffusers_folder(tmp_path)
    file = tmp_path / "text_encoder" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointCorrupt, match=r"text_encoder/model\.safetensors is no whole safetensors file"):
        open_checkpoint(tmp_path)


def test_a_folder_of_loras_is_no_checkpoint(tmp_path: Path) -> None:
    add_tokenizers(tmp_path)
    save_file({LORAS["kohya"]: SOME}, tmp_path / "lora.safetensors")
    with pytest.raises(CheckpointNotFound, match="transformer"):
        open_checkpoint(tmp_path)


SETTINGS = (
    "model_index.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors.index.json",
    "vae/config.json",
    "text_encoder/config.json",
    "text_encoder_2/config.json",
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner))


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(SETTINGS), place=st.integers(0, 8), value=VALUES)
def test_no_setting_of_a_folder_ends_in_anything_but_a_fault_that_is_told(
    tmp_path_factory: pytest.TempPathFactory, name: str, place: int, value: object
) -> None:
    folder = tmp_path_factory.getbasetemp() / "with-settings"
    if not folder.exists():
        write_diffusers_folder(folder, shards=2)
        (folder / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline", "transformer": []}))
    file = folder / name
    whole = file.read_text()
    content = json.loads(whole)
    key = list(content)[place % len(content)]
    try:
        file.write_text(json.dumps(content | {key: value}))
        open_checkpoint(folder)
    except FluxError as error:
        assert error.hint
    finally:
        file.write_text(whole)
