"""What LoRA files change, computed here in the convention of the program that wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flux_engine.weights.lora_files import open_lora
from tests.foreign_files import save_file
from tests.lora_files import (
    RANK,
    assert_close,
    bfl_matrices,
    dotted,
    in_bfl,
    in_diffusers,
    kronecker,
    low_rank,
    numbers,
    opened,
    shapes,
)

IMG_QKV = "double_blocks.1.img_attn.qkv"
LINEAR1 = "single_blocks.2.linear1"

# Factors


SETTINGS = {
    "alpha for all": ({"lora_alpha": 6, "r": RANK}, 6 / RANK, 6 / RANK),
    "another alpha for one": ({"lora_alpha": 6, "alpha_pattern": {"attn.to_q": 1}}, 1 / RANK, 6 / RANK),
    "anchored, as an expression": (
        {"lora_alpha": 6, "alpha_pattern": {r"^transformer_blocks\.0\.attn\.to_q$": 9}},
        9 / RANK,
        6 / RANK,
    ),
    "an end of a name is no whole name": ({"lora_alpha": 6, "alpha_pattern": {"o_q": 1}}, 6 / RANK, 6 / RANK),
    "rank stabilised": ({"lora_alpha": 6, "use_rslora": True}, 6 / RANK**0.5, 6 / RANK**0.5),
    "no alpha": ({"r": RANK}, 1, 1),
}


@pytest.mark.parametrize("prefix", ["transformer.", ""])
@pytest.mark.parametrize("form", SETTINGS)
def test_pefts_settings_give_the_factors(tmp_path: Path, form: str, prefix: str) -> None:
    given_settings, of_q, of_k = SETTINGS[form]
    layers = {f"transformer_blocks.0.attn.{x}": (64, 64) for x in ("to_q", "to_k")}
    tensors, expected = low_rank(layers, dotted(prefix), "lora_A", "lora_B")
    metadata = {"lora_adapter_metadata": json.dumps({f"{prefix}{key}": value for key, value in given_settings.items()})}
    expected["transformer_blocks.0.attn.to_q.weight"] *= of_q
    expected["transformer_blocks.0.attn.to_k.weight"] *= of_k
    assert_close(in_diffusers(opened(tmp_path, tensors, metadata)), expected)


def test_settings_of_one_network_are_not_anothers(tmp_path: Path) -> None:
    layers = {"encoder.layers.0.mlp.fc1": (64, 64)}
    tensors, expected = low_rank(layers, dotted("text_encoder.text_model."), "lora_A", "lora_B")
    of_both = {"transformer.lora_alpha": 50, "text_encoder.lora_alpha": 6}
    lora = opened(tmp_path, tensors, {"lora_adapter_metadata": json.dumps(of_both)})
    assert_close(in_diffusers(lora, "clip_text"), {name: 2 * array for name, array in expected.items()})


def test_pefts_settings_of_lokr_hold_for_whole_factors(tmp_path: Path) -> None:
    w1, w2 = numbers("w1", 4, 8), numbers("w2", 16, 8)
    tensors = {"transformer.proj_out.lokr_w1": w1, "transformer.proj_out.lokr_w2": w2}
    of_transformer = {"transformer.alpha": 6, "transformer.r": 4, "transformer.lora_alpha": 50}
    lora = opened(tmp_path, tensors, {"lora_adapter_metadata": json.dumps(of_transformer)})
    assert_close(in_diffusers(lora), {"proj_out.weight": 1.5 * kronecker(w1, w2)})


def test_an_alpha_among_the_tensors_comes_before_the_settings(tmp_path: Path) -> None:
    tensors, expected = low_rank({"proj_out": (64, 64)}, dotted("transformer."), "lora_A", "lora_B", alpha=2.0)
    lora = opened(tmp_path, tensors, {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 50})})
    assert_close(in_diffusers(lora), expected)


def test_whole_numbers_and_lists_of_one_are_alphas_too(tmp_path: Path) -> None:
    tensors, expected = low_rank({"proj_out": (64, 64)}, dotted("transformer."), "lora_A", "lora_B", alpha=2.0)
    for alpha in (np.int64(2), np.array([2.0], np.float16)):
        lora = opened(tmp_path, {**tensors, "transformer.proj_out.alpha": alpha})
        assert_close(in_diffusers(lora), expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float8_e4m3fn"])
def test_numbers_are_multiplied_in_float32(tmp_path: Path, dtype: str) -> None:
    tensors, _ = low_rank({"proj_out": (64, 64)}, dotted("transformer."), "lora_A", "lora_B", alpha=1.0)
    small = {name: array.astype(np.dtype(dtype)) for name, array in tensors.items()}
    save_file(small, tmp_path / "small.safetensors")
    a, b = (small[f"transformer.proj_out.lora_{x}.weight"].astype(np.float32) for x in "AB")
    assert_close(in_diffusers(open_lora(tmp_path / "small.safetensors", shapes())), {"proj_out.weight": b @ a / RANK})


# XLabs and Black Forest Labs


def test_xlabs_leaves_the_mlp_of_single_blocks_alone(tmp_path: Path) -> None:
    layers = {
        "double_blocks.1.processor.qkv_lora1": ("double_blocks.1.img_attn.qkv", 192, 64),
        "double_blocks.1.processor.proj_lora1": ("double_blocks.1.img_attn.proj", 64, 64),
        "double_blocks.1.processor.qkv_lora2": ("double_blocks.1.txt_attn.qkv", 192, 64),
        "double_blocks.1.processor.proj_lora2": ("double_blocks.1.txt_attn.proj", 64, 64),
        "single_blocks.2.processor.qkv_lora": ("single_blocks.2.linear1", 192, 64),
        "single_blocks.2.processor.proj_lora": ("single_blocks.2.linear2", 64, 320),
    }
    tensors, expected = {}, {}
    for theirs, (ours, outputs, inputs) in layers.items():
        a, b = numbers(f"{ours} down", RANK, inputs), numbers(f"{ours} up", outputs, RANK)
        tensors |= {f"{theirs}.down.weight": a, f"{theirs}.up.weight": b}
        expected[f"{ours}.weight"] = b @ a
    expected["single_blocks.2.linear1.weight"] = np.concatenate(
        [expected["single_blocks.2.linear1.weight"], np.zeros((256, 64), np.float32)]
    )
    assert_close(in_bfl(opened(tmp_path, tensors)), expected)
    assert_close(in_bfl(opened(tmp_path, {f"diffusion_model.{k}": v for k, v in tensors.items()})), expected)


def test_a_control_lora_has_biases_and_norms_and_loses_what_reads_the_control_picture(tmp_path: Path) -> None:
    layers = {**bfl_matrices(), "img_in": (64, 128)}
    tensors, expected = low_rank(layers, dotted(""), "lora_A", "lora_B")
    expected["img_in.weight"] = expected["img_in.weight"][:, :64]
    for name, (outputs, _) in layers.items():
        tensors[f"{name}.lora_B.bias"] = expected[f"{name}.bias"] = numbers(f"{name} bias", outputs)
    for name in ("double_blocks.0.img_attn.norm.query_norm.scale", "single_blocks.1.norm.key_norm.scale"):
        tensors[name] = expected[name] = numbers(name, 32)
    lora = opened(tmp_path, tensors)
    assert_close(in_bfl(lora), expected)
    assert {delta.leaf for delta in lora.vectors if delta.replaces} == {
        ("double_blocks", "0", "attn", "img_query_norm", "scale"),
        ("single_blocks", "1", "key_norm", "scale"),
    }
    assert len(lora.warnings) == 1 and "control picture" in lora.warnings[0]


def test_a_control_lora_as_comfyui_and_as_diffusers_write_it(tmp_path: Path) -> None:
    a, b, bias, scale = numbers("a", RANK, 128), numbers("b", 64, RANK), numbers("bias", 64), numbers("s", 32)
    comfy = {
        "diffusion_model.img_in.lora_A.weight": a,
        "diffusion_model.img_in.lora_B.weight": b,
        "diffusion_model.img_in.diff_b": bias,
        "diffusion_model.img_in.reshape_weight": np.array([64, 128]),
        "diffusion_model.double_blocks.0.txt_attn.norm.key_norm.scale.set_weight": scale,
    }
    diffusers = {
        "transformer.x_embedder.lora_A.weight": a,
        "transformer.x_embedder.lora_B.weight": b,
        "transformer.x_embedder.lora_B.bias": bias,
        "transformer.transformer_blocks.0.attn.norm_added_k.weight": scale,
    }
    for tensors in (comfy, diffusers):
        lora = opened(tmp_path, tensors)
        expected = {
            "x_embedder.weight": b @ a[:, :64],
            "x_embedder.bias": bias,
            "transformer_blocks.0.attn.norm_added_k.weight": scale,
        }
        assert_close(in_diffusers(lora), expected)
        assert {delta.leaf[-1]: delta.replaces for delta in lora.vectors} == {"bias": False, "scale": True}
        assert lora.warnings


def test_the_final_modulation_of_diffusers_has_scale_before_shift(tmp_path: Path) -> None:
    a, b, bias = numbers("a", RANK, 64), numbers("b", 128, RANK), numbers("bias", 128)
    module = "transformer.norm_out.linear"
    tensors = {
        f"{module}.lora_A.weight": a,
        f"{module}.lora_B.weight": b,
        f"{module}.lora_B.bias": bias,
        f"{module}.lora_magnitude_vector": np.abs(bias),
    }
    lora = opened(tmp_path, tensors)
    expected = b @ a
    shift_first = np.concatenate([expected[64:], expected[:64]])
    assert_close(
        in_bfl(lora),
        {
            "final_layer.adaLN_modulation.1.weight": shift_first,
            "final_layer.adaLN_modulation.1.bias": np.concatenate([bias[64:], bias[:64]]),
        },
    )
    (kernel,) = lora.kernels
    assert kernel.magnitude is not None
    assert np.array_equal(kernel.magnitude(), np.abs(np.concatenate([bias[64:], bias[:64]]))[None])


def test_a_bias_has_its_products_factor(tmp_path: Path) -> None:
    tensors, expected = low_rank({"proj_out": (64, 64)}, dotted("transformer."), "lora_A", "lora_B", alpha=6.0)
    tensors["transformer.proj_out.lora_B.bias"] = bias = numbers("bias", 64)
    assert_close(in_diffusers(opened(tmp_path, tensors)), {**expected, "proj_out.bias": 2 * bias})


def test_a_bias_of_one_of_three_goes_to_its_stretch(tmp_path: Path) -> None:
    tensors = {"lycoris_transformer_blocks_1_attn_to_v.diff_b": (bias := numbers("bias", 64))}
    assert_close(in_diffusers(opened(tmp_path, tensors)), {"transformer_blocks.1.attn.to_v.bias": bias})


# LyCORIS


LOKR = {
    "both factors whole": ({"w1": (4, 8), "w2": (48, 8)}, 1.0),
    "the second a product": ({"w1": (4, 8), "w2_a": (48, 2), "w2_b": (2, 8)}, 5 / 2),
    "the first a product": ({"w1_a": (4, 3), "w1_b": (3, 8), "w2": (48, 8)}, 5 / 3),
    "both products": ({"w1_a": (4, 3), "w1_b": (3, 8), "w2_a": (48, 2), "w2_b": (2, 8)}, 5 / 2),
}


@pytest.mark.parametrize("form", LOKR)
def test_lokr_is_a_kronecker_product_with_a_factor_where_it_has_a_rank(tmp_path: Path, form: str) -> None:
    factors, scale = LOKR[form]
    arrays = {name: numbers(name, *shape) for name, shape in factors.items()}
    module = "lora_unet_double_blocks_1_img_attn_qkv"
    tensors = {f"{module}.lokr_{name}": array for name, array in arrays.items()} | {f"{module}.alpha": np.float32(5)}
    w1 = arrays["w1"] if "w1" in arrays else arrays["w1_a"] @ arrays["w1_b"]
    w2 = arrays["w2"] if "w2" in arrays else arrays["w2_a"] @ arrays["w2_b"]
    assert_close(in_bfl(opened(tmp_path, tensors)), {f"{IMG_QKV}.weight": scale * kronecker(w1, w2)})
    without = {name: array for name, array in tensors.items() if not name.endswith("alpha")}
    assert_close(in_bfl(opened(tmp_path, without)), {f"{IMG_QKV}.weight": kronecker(w1, w2)})


@pytest.mark.parametrize("rows", [4, 1])
def test_lokr_for_diffusers_layers(tmp_path: Path, rows: int) -> None:
    # An odd number of rows on the left cannot be turned into (shift, scale) by its rows alone.
    sizes = {"single_transformer_blocks_2_attn_to_k": (4, 16), "norm_out_linear": (rows, 128 // rows)}
    tensors, expected = {}, {}
    for module, (first, second) in sizes.items():
        w1, w2 = numbers(f"{module} 1", first, 8), numbers(f"{module} 2", second, 8)
        tensors |= {f"lycoris_{module}.lokr_w1": w1, f"lycoris_{module}.lokr_w2": w2}
        expected[module] = kronecker(w1, w2)
    names = ("single_transformer_blocks.2.attn.to_k.weight", "norm_out.linear.weight")
    assert_close(in_diffusers(opened(tmp_path, tensors)), dict(zip(names, expected.values(), strict=True)))


@pytest.mark.parametrize("ranks", [(2, 3), (6, 6), (40, 2)])
def test_loha_is_the_product_of_two_products_number_by_number(tmp_path: Path, ranks: tuple[int, int]) -> None:
    module = "lora_unet_single_blocks_2_linear1"
    a1, b1 = numbers("a1", 448, ranks[0]), numbers("b1", ranks[0], 64)
    a2, b2 = numbers("a2", 448, ranks[1]), numbers("b2", ranks[1], 64)
    tensors = {
        f"{module}.hada_w1_a": a1,
        f"{module}.hada_w1_b": b1,
        f"{module}.hada_w2_a": a2,
        f"{module}.hada_w2_b": b2,
        f"{module}.alpha": np.float32(4),
    }
    lora = opened(tmp_path, tensors)
    assert_close(in_bfl(lora), {f"{LINEAR1}.weight": 4 / ranks[0] * (a1 @ b1) * (a2 @ b2)})
    # One product of rank r1 r2 where that is well below the matrix's own, the whole difference where it is not.
    assert type(lora.kernels[0].read()).__name__ == ("LowRank" if ranks == (2, 3) else "Dense")


def test_whole_differences_are_added(tmp_path: Path) -> None:
    weight, bias, norm, scale = numbers("w", 448, 64), numbers("b", 448), numbers("n", 32), numbers("s", 64)
    tensors = {
        "lora_unet_single_blocks_2_linear1.diff": weight,
        "lora_unet_single_blocks_2_linear1.diff_b": bias,
        "diffusion_model.single_blocks.2.norm.query_norm.scale.diff": norm,
        "lora_unet_single_blocks_2_norm_key_norm.w_norm": -norm,
        "lora_te1_text_model_encoder_layers_0_layer_norm1.w_norm": scale,
        "lora_te1_text_model_encoder_layers_0_layer_norm1.b_norm": -scale,
    }
    lora = opened(tmp_path, tensors)
    expected = {
        f"{LINEAR1}.weight": weight,
        f"{LINEAR1}.bias": bias,
        "single_blocks.2.norm.query_norm.scale": norm,
        "single_blocks.2.norm.key_norm.scale": -norm,
    }
    assert_close(in_bfl(lora), expected)
    clip = {"encoder.layers.0.layer_norm1.weight": scale, "encoder.layers.0.layer_norm1.bias": -scale}
    assert_close(in_diffusers(lora, "clip_text"), clip)
    assert not any(delta.replaces for delta in lora.vectors)


MAGNITUDES = {
    "PEFT": ("lora_magnitude_vector", (64,), (1, 64)),
    "PEFT, with the adapter's name": ("lora_magnitude_vector.default.weight", (64,), (1, 64)),
    "LyCORIS, by output": ("dora_scale", (64, 1), (1, 64)),
    "LyCORIS, by input": ("dora_scale", (1, 64), (64, 1)),
}


@pytest.mark.parametrize("form", MAGNITUDES)
def test_doras_magnitudes_are_turned_with_the_weights(tmp_path: Path, form: str) -> None:
    part, theirs, ours = MAGNITUDES[form]
    tensors, expected = low_rank(
        {"transformer_blocks.0.attn.to_q": (64, 64)}, dotted("transformer."), "lora_A", "lora_B"
    )
    tensors[f"transformer.transformer_blocks.0.attn.to_q.{part}"] = magnitude = numbers("m", *theirs)
    lora = opened(tmp_path, tensors)
    assert_close(in_diffusers(lora), expected)
    (kernel,) = lora.kernels
    assert kernel.magnitude is not None
    assert (kernel.magnitude() == magnitude.reshape(ours)).all() and kernel.magnitude().dtype == np.float32
