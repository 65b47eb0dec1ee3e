"""From a checkpoint to pictures: guidance does what it says, memory goes when it should, faults have names."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flux_engine import FluxModelLoader, compiled, denoising_states, encoding, run_diffuse_generation
from flux_engine.errors import (
    CheckpointNotFound,
    ConfigError,
    FluxError,
    RequestError,
    TokenizerError,
    WeightsMismatch,
)
from flux_engine.prompt_velocity import SIGMAS_AT_ONCE
from flux_engine.sampling.latents import unpack
from flux_engine.sampling.noise import gaussian
from flux_engine.weights.checkpoint import save_component
from tests.engine.conftest import live_bytes
from tests.engine.runs import CHANNELS, COLUMNS, HEIGHT, ROWS, TOKENS, WIDTH, latents_of, paint, prepare
from tests.tiny import jitted, tiny_network
from tests.tiny_checkpoint import CLIP, T5, TRANSFORMER, VAE

COMPILED = (
    compiled.encode_text,
    compiled.modulations,
    compiled.whole_velocity,
    compiled.encode_images,
    compiled.decode_latents,
)


def weights_of(tiny_loader: FluxModelLoader, component: Any) -> list[jax.Array]:
    return jax.tree.leaves(tiny_loader.load(component)[1])


def nbytes(arrays: Any) -> int:
    return sum(array.nbytes for array in arrays)


def changed(checkpoint: Path, to: Path, **networks: Any) -> Path:
    """A copy of a checkpoint with other networks."""
    shutil.copytree(checkpoint, to)
    for component, config in networks.items():
        save_component(to / component, tiny_network(config))
    return to


@pytest.fixture(scope="module")
def schnell(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> FluxModelLoader:
    """A model without guidance embedding, whose tokenizer would take as many tokens as dev's."""
    folder = tmp_path_factory.mktemp("schnell") / "tiny"
    changed(checkpoint, folder, transformer=dataclasses.replace(TRANSFORMER, guidance_embeds=False))
    config = folder / "tokenizer_2" / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"model_max_length": 64', '"model_max_length": 512'))
    return FluxModelLoader(checkpoint_dir=folder, dtype="float32")


# Conditioning


def test_prompt_guidance_and_seed_each_decide_the_picture(tiny_loader: FluxModelLoader) -> None:
    network = prepare(tiny_loader, guidance_scale=4.0)
    base = np.asarray(paint(network))
    assert base.shape == (1, ROWS, COLUMNS, CHANNELS) and base.dtype == np.float32 and np.isfinite(base).all()
    assert np.array_equal(base, paint(network))
    assert not np.allclose(base, paint(network, seed=1), atol=0.1)
    assert not np.allclose(base, latents_of(tiny_loader, "fog over the sea"), atol=1e-3)
    assert not np.allclose(base, latents_of(tiny_loader, guidance_scale=1.0), atol=1e-3)


def test_a_network_knows_its_grid_and_type(tiny_loader: FluxModelLoader) -> None:
    network = prepare(tiny_loader)
    assert (network.rows, network.columns, network.in_channels) == (ROWS, COLUMNS, CHANNELS)
    assert network.dtype == jnp.float32
    assert network.warnings == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"height": 40}, "height is 40 pixels; expected a positive multiple of 16"),
        ({"width": 0}, "width is 0 pixels; expected a positive multiple of 16"),
        ({"height": 32.0}, "height is 32.0; expected a whole number of pixels"),
        ({"width": "48"}, "width is '48'; expected a whole number of pixels"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan; expected a number of at least 0"),
        ({"true_cfg_scale": 0.5}, "true_cfg_scale is 0.5; expected a number of at least 1"),
        ({"prompt": None}, "The prompt is None; expected text"),
        ({"negative_prompt": 3}, "The negative prompt is 3; expected text"),
    ],
)
def test_what_cannot_be_prepared_is_refused(tiny_loader: FluxModelLoader, options: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        prepare(tiny_loader, **options)


def test_true_guidance_is_the_hand_combined_velocity(tiny_loader: FluxModelLoader) -> None:
    x, sigma = gaussian("jax", 3, 1, ROWS, COLUMNS), np.float32(0.7)
    v_positive = prepare(tiny_loader, "a hill").network_fn(x, sigma)
    v_negative = prepare(tiny_loader, "fog over the sea").network_fn(x, sigma)

    guided = prepare(tiny_loader, "a hill", negative_prompt="fog over the sea", true_cfg_scale=2.5)

    assert guided.warnings == ()
    expected = v_negative + 2.5 * (v_positive - v_negative)
    np.testing.assert_allclose(guided.network_fn(x, sigma), expected, rtol=0, atol=1e-6)
    assert float(jnp.abs(v_positive - v_negative).max()) > 1e-2


def test_an_empty_negative_prompt_guides_too(tiny_loader: FluxModelLoader) -> None:
    guided = latents_of(tiny_loader, negative_prompt="", true_cfg_scale=3.0)
    assert not np.allclose(guided, latents_of(tiny_loader), atol=1e-3)


def test_true_guidance_without_a_negative_prompt_warns_and_changes_nothing(tiny_loader: FluxModelLoader) -> None:
    with pytest.warns(UserWarning, match="True CFG has no effect without a negative prompt"):
        latents = latents_of(tiny_loader, true_cfg_scale=3.0)
    assert np.array_equal(latents, latents_of(tiny_loader))


def test_a_negative_prompt_without_true_guidance_warns_and_changes_nothing(tiny_loader: FluxModelLoader) -> None:
    network = prepare(tiny_loader, negative_prompt="fog over the sea")
    assert len(network.warnings) == 1 and "negative prompt has no effect" in network.warnings[0]
    with pytest.warns(UserWarning, match="negative prompt has no effect"):
        latents = paint(network)
    assert np.array_equal(latents, latents_of(tiny_loader))


def test_a_prompt_that_is_too_long_is_cut_and_both_encoders_say_by_how_much(tiny_loader: FluxModelLoader) -> None:
    prompt = "the old lighthouse " * 40
    clip_cut = tiny_loader.clip_tokenizer.count(prompt) - 77
    t5_cut = tiny_loader.t5_tokenizer.count(prompt) - 64
    assert min(clip_cut, t5_cut) > 0

    network = prepare(tiny_loader, prompt)

    [warning] = network.warnings
    assert f"CLIP reads 77 tokens; the prompt's last {clip_cut} were cut" in warning
    assert f"T5 reads 64 tokens; the prompt's last {t5_cut} were cut" in warning
    with pytest.warns(UserWarning, match=f"{t5_cut} were cut"):
        cut = paint(network)
    with pytest.warns(UserWarning, match="were cut"):
        assert np.array_equal(cut, latents_of(tiny_loader, prompt + "in fog"))


def test_schnell_ignores_guidance_and_takes_equal_steps(schnell: FluxModelLoader) -> None:
    low, high = (prepare(schnell, guidance_scale=scale) for scale in (1.0, 7.0))
    assert not low.shifts_with_size
    assert np.array_equal(paint(low, num_steps=4), paint(high, num_steps=4))
    states = denoising_states(conditioned_network=low, height=HEIGHT, width=WIDTH, num_steps=4, seed=0)
    assert [state.sigma for state in states] == [0.75, 0.5, 0.25, 0.0]


def test_schnell_reads_256_tokens_whatever_its_tokenizer_says(schnell: FluxModelLoader) -> None:
    [short, long] = schnell.encode_prompts(["a hill", "the old lighthouse " * 150])
    assert short.text_embeddings.shape == (1, 256, T5.d_model)
    assert short.warning == ""
    assert "T5 reads 256 tokens" in long.warning


# Pictures


def test_pictures_have_the_size_that_was_asked_for(tiny_loader: FluxModelLoader) -> None:
    images = np.asarray(tiny_loader.decode_latents(paint(prepare(tiny_loader))))
    assert images.shape == (1, HEIGHT, WIDTH, 3) and images.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 1 and images.std() > 0.05


def test_an_empty_prompt_is_a_prompt(tiny_loader: FluxModelLoader) -> None:
    assert not np.allclose(latents_of(tiny_loader, ""), latents_of(tiny_loader), atol=1e-3)


def test_another_size_compiles_the_transformer_once_for_all_steps(tiny_loader: FluxModelLoader) -> None:
    before = compiled.whole_velocity._cache_size()
    network = tiny_loader.prepare_conditioned_network("a hill", height=64, width=16)
    for noise in ("jax", "torch"):
        latents = run_diffuse_generation(
            conditioned_network=network, height=64, width=16, num_steps=3, seed=0, noise=noise
        )
        assert latents.shape == (1, 4, 1, CHANNELS)
    assert compiled.whole_velocity._cache_size() == before + 1


def test_images_become_the_latents_that_the_autoencoder_makes(tiny_loader: FluxModelLoader) -> None:
    images = np.random.default_rng(0).random((1, HEIGHT, WIDTH, 3)).astype(np.float32)
    latents = tiny_loader.encode_images(images)
    assert latents.shape == (1, ROWS, COLUMNS, CHANNELS) and latents.dtype == jnp.float32
    expected = jitted(VAE, "encode")(images * 2 - 1)
    np.testing.assert_allclose(unpack(latents), expected, rtol=0, atol=1e-4)
    with pytest.raises(RequestError, match="height is 40 pixels"):
        tiny_loader.encode_images(np.zeros((1, 40, 48, 3)))


def test_latents_may_be_lists(tiny_loader: FluxModelLoader) -> None:
    latents = np.random.default_rng(0).standard_normal((1, ROWS, COLUMNS, CHANNELS)).astype(np.float32)
    assert np.array_equal(tiny_loader.decode_latents(latents.tolist()), tiny_loader.decode_latents(latents))


def test_arrays_of_another_shape_are_refused(tiny_loader: FluxModelLoader) -> None:
    for shape in ((HEIGHT, WIDTH, 3), (1, HEIGHT, WIDTH, 4)):
        with pytest.raises(RequestError, match=r"images have shape .*; expected \[B, H, W, C\] with C = 3"):
            tiny_loader.encode_images(np.zeros(shape))
    with pytest.raises(RequestError, match=r"latents have shape \(1, 6, 64\); expected \[B, rows, columns, C\]"):
        tiny_loader.decode_latents(np.zeros((1, TOKENS, CHANNELS)))


def test_an_autoencoder_with_fewer_levels_has_smaller_tokens(checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(checkpoint, tmp_path / "tiny", vae=dataclasses.replace(VAE, block_out_channels=(8, 16, 24)))
    fine = FluxModelLoader(checkpoint_dir=folder, dtype="float32")
    network = fine.prepare_conditioned_network("a hill", height=24, width=40)
    latents = run_diffuse_generation(conditioned_network=network, height=24, width=40, num_steps=1, seed=0)
    assert latents.shape == (1, 3, 5, CHANNELS)
    assert fine.decode_latents(latents).shape == (1, 24, 40, 3)


def test_float32_products_are_float32_on_every_device(tiny_loader: FluxModelLoader) -> None:
    """On a GPU they would be TF32 otherwise."""
    latents, sigmas = np.zeros((1, ROWS, COLUMNS, CHANNELS), np.float32), np.ones(2, np.float32)
    text, pooled = np.ones((1, 64, T5.d_model), np.float32), np.ones((1, CLIP.hidden_size), np.float32)
    table = np.zeros((64 + TOKENS, TRANSFORMER.head_dim // 2), np.float32)
    graphdef, state = tiny_loader.load("transformer")

    def velocity(state: Any, latents: Any, text: Any, pooled: Any) -> jax.Array:
        by = compiled.modulations(graphdef, state, pooled, sigmas, np.float32(1))
        return compiled.velocity(graphdef, state, latents, by, 0, text, (table, table))

    traced = jax.make_jaxpr(velocity)(state, latents, text, pooled)
    products = str(traced).count("dot_general[")
    assert str(traced).count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == products > 20


def test_factors_for_previews_come_from_the_checkpoint_or_are_fitted(checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(checkpoint, tmp_path / "tiny")
    fitted = FluxModelLoader(checkpoint_dir=folder, dtype="float32").latent_rgb_factors()
    assert fitted.shape == (17, 3) and np.isfinite(fitted).all()
    stored = np.arange(51).reshape(17, 3)
    (folder / "vae" / "latent_rgb.json").write_text(str(stored.tolist()))
    assert np.array_equal(FluxModelLoader(checkpoint_dir=folder, dtype="float32").latent_rgb_factors(), stored)


def test_bfloat16_paints_nearly_the_same_picture(checkpoint: Path, tiny_loader: FluxModelLoader) -> None:
    low = FluxModelLoader(checkpoint_dir=checkpoint, dtype="bfloat16")
    network = prepare(low)
    assert network.dtype == jnp.bfloat16
    latents = paint(network)
    assert latents.dtype == jnp.float32
    pictures = [
        np.asarray(low.decode_latents(latents)),
        np.asarray(tiny_loader.decode_latents(paint(prepare(tiny_loader)))),
    ]
    assert {weight.dtype.name for weight in weights_of(low, "transformer")} == {"bfloat16"}
    assert pictures[0].dtype == np.float32 and np.isfinite(pictures[0]).all()
    psnr = -10 * np.log10(np.mean((pictures[0] - pictures[1]) ** 2))
    assert psnr > 25


# Memory


def test_text_encoders_leave_the_device_when_a_prompt_is_encoded(checkpoint: Path, no_garbage_collection: None) -> None:
    before = live_bytes()
    fresh = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32")
    encoders = weights_of(fresh, "clip_text") + weights_of(fresh, "t5_text")
    assert live_bytes() - before == nbytes(encoders) > 100_000

    network = prepare(fresh)

    assert all(weight.is_deleted() for weight in encoders)
    assert not fresh.is_loaded("clip_text") and not fresh.is_loaded("t5_text")
    embeddings = 4 * (64 * T5.d_model + CLIP.hidden_size)
    rope = 4 * 2 * (64 + TOKENS) * TRANSFORMER.head_dim // 2
    assert live_bytes() - before == nbytes(weights_of(fresh, "transformer")) + embeddings + rope
    assert network.warnings == ()


@pytest.mark.parametrize("component", ["transformer", "vae", "text_encoders"])
def test_a_release_frees_at_once_and_what_is_needed_is_read_again(
    tiny_loader: FluxModelLoader, component: str, no_garbage_collection: None
) -> None:
    network = prepare(tiny_loader)
    images = tiny_loader.decode_latents(paint(network))
    parts: dict[str, tuple[Any, ...]] = {"text_encoders": ("clip_text", "t5_text")}
    weights = [weight for part in parts.get(component, (component,)) for weight in weights_of(tiny_loader, part)]
    size, before = nbytes(weights), live_bytes()

    release = getattr(tiny_loader, f"release_{component}")
    release()

    assert size > 100_000
    assert before - live_bytes() == size
    release()  # nothing there: nothing happens
    assert before - live_bytes() == size
    # An old network goes on, and so does a new prompt.
    assert np.array_equal(tiny_loader.decode_latents(paint(network)), images)
    assert np.isfinite(latents_of(tiny_loader, f"after the {component}")).all()


def test_release_frees_all_four(checkpoint: Path, no_garbage_collection: None) -> None:
    before = live_bytes()
    fresh = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32")
    for component in ("transformer", "vae", "clip_text", "t5_text"):
        fresh.load(component)
    assert live_bytes() > before
    fresh.release()
    assert live_bytes() == before


def test_text_encoders_leave_even_if_encoding_fails(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, no_garbage_collection: None
) -> None:
    fresh = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32")
    before = live_bytes()

    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(compiled, "encode_text", fail)
    with pytest.raises(MemoryError):
        fresh.encode_prompts(["a hill"])
    assert live_bytes() == before


def test_the_last_prompts_are_kept_and_no_more(tiny_loader: FluxModelLoader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "PROMPTS_KEPT", 2)
    tiny_loader.encode_prompts(["one", "two"])
    [one] = tiny_loader.encode_prompts(["one"])
    tiny_loader.encode_prompts(["three"])
    assert [tiny_loader.knows_prompt(prompt) for prompt in ("one", "two", "three")] == [True, False, True]
    assert tiny_loader.encode_prompts(["one"]) == [one]
    assert len(tiny_loader.encode_prompts(["1", "2", "3", "1"])) == 4


def test_a_second_prompt_seed_and_length_compile_nothing(tiny_loader: FluxModelLoader) -> None:
    def all_of_it(prompt: str, seed: int, **options: Any) -> None:
        latents = paint(prepare(tiny_loader, prompt, **options), seed=seed, num_steps=2 + seed)
        tiny_loader.encode_images(tiny_loader.decode_latents(latents))

    all_of_it("a hill in spring", 0)
    before = [function._cache_size() for function in COMPILED]
    tiny_loader.release()
    all_of_it("a lake in autumn", 1, guidance_scale=2, negative_prompt="fog", true_cfg_scale=2.0)
    assert [function._cache_size() for function in COMPILED] == before


def test_compiled_functions_take_weights_as_arguments(tiny_loader: FluxModelLoader) -> None:
    """Weights of zeros give what zeros give, from the same compiled function."""
    network = prepare(tiny_loader)
    latents = paint(network)
    images = tiny_loader.decode_latents(latents)
    tiny_loader.encode_images(images)
    before = [function._cache_size() for function in COMPILED]

    def emptied(component: Any) -> tuple[Any, Any]:
        graphdef, state = tiny_loader.load(component)
        return graphdef, on_device(jax.tree.map(jnp.zeros_like, state))

    def on_device(arrays: Any) -> Any:
        return jax.device_put(arrays, tiny_loader.device)

    table = np.zeros((64 + TOKENS, TRANSFORMER.head_dim // 2), np.float32)
    text, pooled = np.ones((1, 64, T5.d_model), np.float32), np.ones((1, CLIP.hidden_size), np.float32)
    text, pooled, rope = on_device((text, pooled, (table, table)))
    ids = np.zeros((1, 77), np.int32)
    assert not compiled.encode_text(*emptied("clip_text"), on_device(ids)).any()
    assert not compiled.encode_text(*emptied("t5_text"), on_device(ids[:, :64])).any()
    sigmas = np.ones(SIGMAS_AT_ONCE, np.float32)
    by = compiled.modulations(*emptied("transformer"), pooled, sigmas, np.float32(1))
    assert not compiled.velocity(*emptied("transformer"), latents, by, np.int32(0), text, rope).any()
    assert (compiled.decode_latents(*emptied("vae"), unpack(latents)) == 0.5).all()
    no_mean = -VAE.shift_factor * VAE.scaling_factor
    np.testing.assert_allclose(compiled.encode_images(*emptied("vae"), images), no_mean, rtol=1e-6)
    assert [function._cache_size() for function in COMPILED] == before


# Checkpoints that are none


@pytest.mark.parametrize("dtype", ["float33", "int8", None])
def test_a_type_that_is_none_to_compute_in(checkpoint: Path, dtype: Any) -> None:
    with pytest.raises(RequestError, match=f"dtype is {dtype!r}; expected one of auto, float32, bfloat16"):
        FluxModelLoader(checkpoint_dir=checkpoint, dtype=dtype)


@pytest.mark.parametrize("place", ["a\0b", Path("a\0b"), "\ud800", 7])
def test_what_is_no_path(place: Any) -> None:
    with pytest.raises(RequestError, match=r"checkpoint_dir is .*; expected a path in UTF-8"):
        FluxModelLoader(checkpoint_dir=place)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFound, match="nowhere does not exist") as caught:
        FluxModelLoader(checkpoint_dir=tmp_path / "nowhere")
    assert "transformer/ vae/ clip_text/ t5_text/" in caught.value.hint


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("transformer", CheckpointNotFound),
        ("vae", CheckpointNotFound),
        ("clip_text", CheckpointNotFound),
        ("t5_text/config.json", CheckpointNotFound),
        ("transformer/config.json", CheckpointNotFound),
        ("tokenizer", TokenizerError),
        ("tokenizer_2/spiece.model", TokenizerError),
    ],
)
def test_a_missing_part_is_named_at_once(checkpoint: Path, tmp_path: Path, part: str, fault: type[FluxError]) -> None:
    folder = changed(checkpoint, tmp_path / "tiny")
    shutil.rmtree(folder / part) if (folder / part).is_dir() else (folder / part).unlink()
    with pytest.raises(fault, match=part):
        FluxModelLoader(checkpoint_dir=folder, dtype="float32")


@pytest.mark.parametrize("part", ["clip_text/state", "t5_text/state", "transformer/state"])
def test_a_missing_network_is_named_when_it_is_needed(checkpoint: Path, tmp_path: Path, part: str) -> None:
    folder = changed(checkpoint, tmp_path / "tiny")
    shutil.rmtree(folder / part)
    incomplete = FluxModelLoader(checkpoint_dir=folder, dtype="float32")
    with pytest.raises(CheckpointNotFound, match=part):
        prepare(incomplete)
    assert not incomplete.is_loaded("clip_text")


def test_a_config_that_is_no_network(checkpoint: Path, tmp_path: Path) -> None:
    folder = changed(checkpoint, tmp_path / "tiny")
    (folder / "transformer" / "config.json").write_text('{"num_heads": 7}')
    with pytest.raises(ConfigError, match="transformer"):
        FluxModelLoader(checkpoint_dir=folder, dtype="float32")


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("vae", {"latent_channels": 4}, "vae gives 16 channels a token; transformer expects 64"),
        ("clip_text", {"hidden_size": 24}, "clip_text gives 24 numbers a prompt; transformer expects 32"),
        ("t5_text", {"d_model": 16}, "t5_text gives 16 numbers a word; transformer expects 32"),
        ("clip_text", {"vocab_size": 100}, r"tokenizer makes 640 ids; its encoder knows 100"),
        ("clip_text", {"max_position_embeddings": 60}, "tokenizer makes 77 ids a prompt; its encoder knows 60"),
        ("t5_text", {"vocab_size": 60}, r"tokenizer_2 makes 80 ids; its encoder knows 60"),
    ],
)
def test_parts_of_different_models(
    checkpoint: Path, tmp_path: Path, part: str, values: dict[str, int], message: str
) -> None:
    folder = changed(checkpoint, tmp_path / "tiny")
    config = folder / part / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | values))
    with pytest.raises(WeightsMismatch, match=message) as caught:
        FluxModelLoader(checkpoint_dir=folder, dtype="float32")
    assert "same model" in caught.value.hint


# Talk


def test_what_is_loaded_and_released_is_said_on_stderr_if_wanted(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verbose in (False, True):
        talking = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32", verbose=verbose)
        talking.load("vae")
        talking.release_vae()
        out, err = capsys.readouterr()
        assert out == ""
        assert ("loading vae as float32" in err and "released vae" in err) == verbose
        assert bool(err) == verbose


def test_a_model_is_called_as_its_folder(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FluxModelLoader(checkpoint_dir=str(checkpoint), dtype="float32").model_name == "tiny"
    monkeypatch.chdir(checkpoint)
    assert FluxModelLoader(checkpoint_dir=".", dtype="float32").model_name == "tiny"
