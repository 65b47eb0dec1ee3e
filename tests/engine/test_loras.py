"""LoRA files on a whole model: pictures, strengths, memory, prompts, and what happens when a file is no good."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy

from flux_engine import Engine, FluxModelLoader, GenerationRequest, compiled
from flux_engine.errors import CheckpointCorrupt, CheckpointNotFound, NumericalError, RequestError, WeightsMismatch
from flux_engine.request import Event, LoadingProgress, LoraUse, PicturesReady, StageStarted
from flux_engine.residency import Residency
from flux_engine.weights import placing
from flux_engine.weights.checkpoint import save_component, stored_shapes
from flux_engine.weights.lora_files import open_lora
from tests.engine.conftest import live_bytes
from tests.engine.runs import latents_of
from tests.hand_made_loras import changed_by_hand
from tests.tiny import draw, relative_error, tiny_network
from tests.tiny_checkpoint import CLIP, T5, TRANSFORMER

D = TRANSFORMER.hidden_dim
STYLE = {  # by Black Forest Labs' names, as ComfyUI writes them
    "diffusion_model.double_blocks.0.img_attn.qkv": (D, 3 * D, 4),
    "diffusion_model.single_blocks.0.linear2": (D + TRANSFORMER.mlp_dim, D, 2),
    "diffusion_model.single_blocks.1.linear2": (D + TRANSFORMER.mlp_dim, D, 3),
    "diffusion_model.final_layer.linear": (D, 64, 1),
}
WORDS = {
    "text_encoders.clip_l.transformer.text_model.encoder.layers.1.mlp.fc1": (D, CLIP.intermediate_size, 3),
    "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q": (D, T5.num_heads * T5.d_kv, 3),
}


BIAS = {"diffusion_model.single_blocks.0.linear2.lora_B.bias": draw("a LoRA's bias", (D,), -1, 1)}


def write(file: Path, modules: Mapping[str, tuple[int, int, int]], more: Mapping[str, np.ndarray] = {}) -> str:
    """A LoRA of those inputs, outputs and ranks; its path."""
    tensors = dict(more)
    for name, (inputs, outputs, rank) in modules.items():
        tensors[f"{name}.lora_A.weight"] = draw(f"{file.stem} {name} A", (rank, inputs), -0.5, 0.5)
        tensors[f"{name}.lora_B.weight"] = draw(f"{file.stem} {name} B", (outputs, rank), -0.5, 0.5)
    safetensors.numpy.save_file(tensors, file)
    return str(file)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loras")


@pytest.fixture(scope="module")
def style(folder: Path) -> str:
    return write(folder / "style.safetensors", STYLE, BIAS)


@pytest.fixture(scope="module")
def other(folder: Path) -> str:
    return write(folder / "other.safetensors", {"diffusion_model.img_in": (64, D, 2)})


@pytest.fixture(scope="module")
def words(folder: Path) -> str:
    return write(folder / "words.safetensors", WORDS)


@pytest.fixture
def loader(tiny_loader: FluxModelLoader) -> Iterator[FluxModelLoader]:
    """One that other tests use too: it has no LoRA before and after."""
    yield tiny_loader
    tiny_loader.set_loras(())


@pytest.fixture
def unreadable() -> Callable[[str], None]:
    """Spoils a file so that it looks as it did, and only who reads it is disappointed."""

    def spoil(name: str) -> None:
        before = os.stat(name)
        Path(name).write_bytes(bytes(before.st_size))
        os.utime(name, ns=(before.st_atime_ns, before.st_mtime_ns))

    return spoil


def use(file: str, strength: float = 1.0, sha256: str = "") -> LoraUse:
    return LoraUse(file=file, strength=strength, sha256=sha256)


def sha256(file: str) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def weights(loader: FluxModelLoader) -> list[jax.Array]:
    return jax.tree.leaves(loader.load("transformer")[1])


def by_hand(checkpoint: Path, to: Path, loras: Mapping[str, float]) -> FluxModelLoader:
    """A loader of the same model with the LoRAs in its weights."""
    shutil.copytree(checkpoint, to)
    configs: dict[Any, Any] = {"transformer": TRANSFORMER, "clip_text": CLIP, "t5_text": T5}
    shapes = {component: stored_shapes(component, config) for component, config in configs.items()}
    opened = [(open_lora(Path(file), shapes), strength) for file, strength in loras.items()]
    for component, config in configs.items():
        changes = [
            (
                (
                    [delta for delta in lora.kernels if delta.component == component],
                    [delta for delta in lora.vectors if delta.component == component],
                ),
                strength,
            )
            for lora, strength in opened
        ]
        save_component(to / component, changed_by_hand(tiny_network(config), changes))
    return FluxModelLoader(checkpoint_dir=to, dtype="float32")


@pytest.mark.parametrize("fuse", [False, True])
def test_loras_paint_what_a_model_with_changed_weights_paints(
    fuse: bool, loader: FluxModelLoader, checkpoint: Path, tmp_path: Path, style: str, words: str
) -> None:
    plain = latents_of(loader)
    loader.set_loras([use(style, 0.8), use(words, -1.2)], fuse=fuse)
    got = latents_of(loader)
    expected = latents_of(by_hand(checkpoint, tmp_path / "by hand", {style: 0.8, words: -1.2}))
    assert relative_error(got, expected) < 2e-5
    assert relative_error(got, plain) > 0.1
    loader.set_loras(())
    assert np.array_equal(latents_of(loader), plain)


def test_another_strength_reads_nothing_and_compiles_nothing(
    loader: FluxModelLoader, tmp_path: Path, style: str, other: str, unreadable: Callable[[str], None]
) -> None:
    copies = [shutil.copy(file, tmp_path) for file in (style, other)]
    loader.set_loras([use(file) for file in copies])
    first = latents_of(loader)
    kept = {id(array) for array in weights(loader) if array.size > 2 * D}
    traced = compiled.whole_velocity._cache_size()
    for file in copies:
        unreadable(file)

    assert loader.set_loras([use(copies[0], 0.25), use(copies[1], -3)]) == ()
    changed = latents_of(loader)
    assert {id(array) for array in weights(loader) if array.size > 2 * D} == kept
    assert compiled.whole_velocity._cache_size() == traced
    assert relative_error(changed, first) > 0.01
    loader.set_loras([use(file) for file in copies])
    assert np.array_equal(latents_of(loader), first)
    assert compiled.whole_velocity._cache_size() == traced


def test_a_lora_that_stays_is_not_read_again_when_another_comes_or_goes(
    loader: FluxModelLoader, tmp_path: Path, style: str, other: str, unreadable: Callable[[str], None]
) -> None:
    latents_of(loader)
    stays = shutil.copy(style, tmp_path)
    loader.set_loras([use(other), use(stays)])
    both = latents_of(loader)
    loader.set_loras([use(stays)])
    alone = latents_of(loader)
    unreadable(stays)
    assert list(loader.changing_loras([use(other), use(stays)])) == ["other"]
    assert np.array_equal(latents_of(loader), both)
    assert list(loader.changing_loras([use(stays)])) == []
    assert np.array_equal(latents_of(loader), alone)


def test_a_file_that_has_changed_is_read_again(loader: FluxModelLoader, tmp_path: Path) -> None:
    file = write(tmp_path / "a.safetensors", {"diffusion_model.img_in": (64, D, 2)})
    loader.set_loras([use(file)])
    first, hashed = latents_of(loader), loader.loras[0].sha256
    assert hashed == sha256(file)
    shutil.copy(write(tmp_path / "b.safetensors", {"diffusion_model.img_in": (64, D, 2)}), file)
    os.utime(file, (1, 1))
    assert list(loader.changing_loras([use(file)])) == ["a"]
    assert loader.loras[0].sha256 == sha256(file) != hashed
    assert relative_error(latents_of(loader), first) > 0.01


def test_prompts_are_encoded_anew_for_loras_of_the_text_encoders_only(
    loader: FluxModelLoader, style: str, words: str
) -> None:
    [plain] = loader.encode_prompts(["a hill"])
    loader.set_loras([use(style)])
    assert loader.knows_prompt("a hill")
    loader.set_loras([use(style), use(words, 0.5)])
    assert not loader.knows_prompt("a hill")
    [half] = loader.encode_prompts(["a hill"])
    assert not loader.is_loaded("clip_text")
    assert relative_error(half.text_embeddings, plain.text_embeddings) > 0.01
    assert relative_error(half.pooled_embeddings, plain.pooled_embeddings) > 0.01
    loader.set_loras([use(words, 0.5)], fuse=True)
    assert not loader.knows_prompt("a hill")
    [fused] = loader.encode_prompts(["a hill"])
    assert 0 < relative_error(fused.text_embeddings, half.text_embeddings) < 1e-5
    loader.set_loras([use(words, 0.6)])
    assert not loader.knows_prompt("a hill")
    loader.set_loras([use(words, 0.5)])
    assert loader.encode_prompts(["a hill"]) == [half]
    loader.set_loras(())
    assert loader.encode_prompts(["a hill"]) == [plain]


def test_fused_weights_take_no_room_and_are_read_again_for_another_choice(
    loader: FluxModelLoader, style: str, words: str
) -> None:
    plain = sum(array.nbytes for array in weights(loader))
    loader.set_loras([use(style), use(words)], fuse=True)
    assert not loader.is_loaded("transformer")
    assert sum(array.nbytes for array in weights(loader)) == plain
    loader.set_loras([use(style), use(words, 0.5)], fuse=True)
    assert loader.is_loaded("transformer")  # the other one changes text encoders only
    for loras, fuse in (([use(style, 0.5)], True), ([use(style)], False), ([use(style)], True), ([], False)):
        loader.load("transformer")
        loader.set_loras(loras, fuse=fuse)
        assert not loader.is_loaded("transformer")


def test_loras_that_go_give_their_memory_back(
    loader: FluxModelLoader, style: str, other: str, no_garbage_collection: None
) -> None:
    loader.release_transformer()  # and what an earlier picture's modulations take
    loader.load("transformer")
    before, bare = live_bytes(), loader.device_bytes
    loader.set_loras([use(style)])
    with_one = live_bytes()
    assert with_one - before > 4 * (3 * 4 * D)
    assert loader.device_bytes == bare  # of what a plan may use again
    loader.set_loras([use(style, 0.5), use(other)])
    assert live_bytes() > with_one
    loader.set_loras([use(style, 0.25)])
    assert live_bytes() == with_one
    loader.set_loras(())
    assert live_bytes() == before
    loader.set_loras([use(style), use(other)])
    size, bias = sum(array.nbytes for array in weights(loader)), 4 * 2 * D
    total = live_bytes()
    loader.release_transformer()
    assert total - live_bytes() == size + bias  # as it was read, and as it is used


def test_loras_come_with_a_network_that_is_read_later(loader: FluxModelLoader, style: str) -> None:
    loader.set_loras([use(style)])
    before = latents_of(loader)
    loader.release()
    assert np.array_equal(latents_of(loader), before)


def test_bfloat16_takes_loras(checkpoint: Path, style: str, words: str) -> None:
    low = FluxModelLoader(checkpoint_dir=checkpoint, dtype="bfloat16")
    plain = latents_of(low)
    low.set_loras([use(style, 0.5), use(words, 0.5)])
    assert {array.dtype.name for array in weights(low) if array.ndim > 1} == {"bfloat16"}
    beside = latents_of(low)
    low.set_loras([use(style, 0.5), use(words, 0.5)], fuse=True)
    assert relative_error(beside, latents_of(low)) < 0.1 < relative_error(beside, plain)


# Files that are no good


@pytest.mark.usefixtures("no_garbage_collection")
@pytest.mark.parametrize("fuse", [False, True])
def test_a_file_that_cannot_be_used_changes_nothing(
    fuse: bool, loader: FluxModelLoader, tmp_path: Path, style: str, other: str
) -> None:
    loader.set_loras([use(style, 0.5)])
    before, memory = latents_of(loader), live_bytes()
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(Path(style).read_bytes()[:-7])
    strange = write(
        tmp_path / "strange.safetensors", STYLE | {"diffusion_model.double_blocks.7.img_attn.qkv": (D, 96, 1)}
    )
    faults: list[tuple[Any, type[Exception], str]] = [
        (use(str(tmp_path / "gone.safetensors")), CheckpointNotFound, "gone.safetensors cannot be read: No such file"),
        (use(str(tmp_path)), CheckpointNotFound, "cannot be read: Is a directory"),
        (use("a\0b"), CheckpointNotFound, "cannot be read: "),
        (use(str(damaged)), CheckpointCorrupt, "damaged.safetensors"),
        (use(strange), WeightsMismatch, "double_blocks.7"),
        (use(other, sha256="0" * 64), WeightsMismatch, f"has the SHA-256 {sha256(other)}; expected 0000"),
    ]
    for bad, fault, message in faults:
        with pytest.raises(fault, match=message) as caught:
            loader.set_loras([use(style, 2.0), *([] if bad.file == other else [use(other)]), bad], fuse=fuse)
        assert caught.value.hint
        assert loader.loras == (use(style, 0.5, sha256(style)),)
    with pytest.raises(RequestError, match="names a LoRA twice"):
        loader.set_loras([use(style), use(style)])
    assert np.array_equal(latents_of(loader), before)
    assert live_bytes() == memory


def test_a_hash_that_is_asked_for_is_compared_with_an_open_file_too(loader: FluxModelLoader, style: str) -> None:
    loader.set_loras([use(style)])
    loader.set_loras([use(style, sha256=sha256(style))])
    with pytest.raises(WeightsMismatch, match="expected 1111"):
        loader.set_loras([use(style, sha256="1" * 64)])


@pytest.mark.parametrize("fuse", [False, True])
def test_a_file_that_fails_while_it_is_read_leaves_a_usable_loader(
    fuse: bool,
    loader: FluxModelLoader,
    tmp_path: Path,
    style: str,
    monkeypatch: pytest.MonkeyPatch,
    no_garbage_collection: None,
) -> None:
    loader.release()
    before = live_bytes()
    loader.set_loras([use(style)], fuse=fuse)

    def fail(*_: Any) -> None:
        raise CheckpointCorrupt("It went away.")

    for place in ("flux_engine.memory.place", "flux_engine.memory.fuse"):
        monkeypatch.setattr(place, fail)
    with pytest.raises(CheckpointCorrupt, match="It went away"):
        loader.load("transformer")
    assert not loader.is_loaded("transformer")
    assert live_bytes() == before
    monkeypatch.undo()
    assert np.isfinite(latents_of(loader)).all()


def test_closing_or_raising_while_files_are_read_changes_nothing(
    loader: FluxModelLoader, style: str, other: str
) -> None:
    class Enough(Exception):
        pass

    def stop(fraction: float) -> None:
        raise Enough

    loader.load("transformer")
    memory = live_bytes()
    names = loader.changing_loras([use(style), use(other)])
    assert [next(names), next(names)] == ["style", "other"]
    assert live_bytes() > memory  # the first is on the device
    names.close()
    assert live_bytes() == memory
    with pytest.raises(Enough):
        list(loader.changing_loras([use(style), use(other)], on_read=stop))
    assert loader.loras == ()
    assert live_bytes() == memory


# Requests


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


@pytest.fixture
def request_for(checkpoint: Path) -> Callable[..., GenerationRequest]:
    def make(*loras: LoraUse, **values: Any) -> GenerationRequest:
        size = {"height": 32, "width": 48, "num_steps": 2, "dtype": "float32"}
        return GenerationRequest(prompt="a hill", checkpoint_dir=str(checkpoint), loras=loras, **size | values)

    return make


def stages(events: list[Event]) -> list[str]:
    return [event.detail or event.stage for event in events if isinstance(event, StageStarted)]


def ready(events: list[Event]) -> PicturesReady:
    assert isinstance(events[-1], PicturesReady)
    return events[-1]


@pytest.mark.usefixtures("compiled_alike")
@pytest.mark.parametrize("fuse", [False, True])
@pytest.mark.parametrize("platform", ["cpu", "gpu"])  # where blocks' kernels are arrays of their own
def test_loras_change_weights_that_wait_elsewhere_as_they_change_others(
    platform: str, fuse: bool, loader: FluxModelLoader, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    loader.set_loras([use(style)], fuse=fuse)
    expected = latents_of(loader)
    loader.set_loras(())
    monkeypatch.setattr(placing, "_platform", lambda devices: platform)
    blocks = "host" if platform == "cpu" else "device"
    waiting = Residency(encoders="host", modulations="host", blocks=blocks)
    elsewhere = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32", residency=waiting)
    elsewhere.set_loras([use(style)], fuse=fuse)
    assert relative_error(latents_of(elsewhere), expected) < 1e-6
    if not fuse:
        elsewhere.settle(Residency())
        assert relative_error(latents_of(elsewhere), expected) < 1e-6


def test_a_request_with_loras_is_painted_and_remembers_their_hashes(
    engine: Engine, request_for: Callable[..., GenerationRequest], style: str, words: str
) -> None:
    plain = ready(list(engine.generate(request_for())))
    heard: list[LoadingProgress] = []
    events = list(engine.generate(request_for(use(style, 0.5), use(words)), heard.append))
    assert stages(events) == ["LoRA style", "LoRA words", "encoding", "denoising", "decoding"]
    assert {progress.network for progress in heard} == {"LoRA style", "LoRA words"}
    assert [progress.fraction for progress in heard if progress.network == "LoRA style"][-1] == 1.0
    assert ready(events).seconds["loading"] > 0
    assert ready(events).request.loras == (use(style, 0.5, sha256(style)), use(words, 1.0, sha256(words)))
    assert ready(events).images != plain.images

    again = list(engine.generate(ready(events).request))
    assert stages(again) == ["denoising", "decoding"]
    assert ready(again).images == ready(events).images
    assert list(ready(again).seconds) == ["denoising", "decoding"]
    without = list(engine.generate(request_for()))
    assert stages(without) == ["denoising", "decoding"]
    assert ready(without).images == plain.images


def test_of_a_picture_that_is_no_numbers_a_lora_is_suspected_first(
    engine: Engine, request_for: Callable[..., GenerationRequest], tmp_path: Path
) -> None:
    bias = {name: np.full_like(array, np.nan) for name, array in BIAS.items()}
    spoiled = write(tmp_path / "spoiled.safetensors", STYLE, bias)
    with pytest.raises(NumericalError, match="values that are not numbers") as caught:
        list(engine.generate(request_for(use(spoiled))))
    assert caught.value.hint.startswith("Try it without LoRAs: one of them may be damaged. Else try dtype float32;")
    assert ready(list(engine.generate(request_for()))).images


def test_a_fused_request_reads_the_model_again(
    engine: Engine, request_for: Callable[..., GenerationRequest], style: str
) -> None:
    list(engine.generate(request_for()))
    first = list(engine.generate(request_for(use(style), lora_fuse=True)))
    assert stages(first) == ["LoRA style", "transformer", "denoising", "decoding"]
    assert stages(list(engine.generate(request_for(use(style), lora_fuse=True)))) == ["denoising", "decoding"]
    beside = list(engine.generate(request_for(use(style))))
    assert stages(beside) == ["transformer", "denoising", "decoding"]
    pixels = [np.frombuffer(ready(events).images[0].data, np.uint8).astype(int) for events in (first, beside)]
    assert np.abs(pixels[0] - pixels[1]).max() <= 1


def test_what_is_left_out_leniently_is_a_warning_with_the_pictures(
    engine: Engine, request_for: Callable[..., GenerationRequest], tmp_path: Path
) -> None:
    file = write(
        tmp_path / "odd.safetensors", {"diffusion_model.img_in": (64, D, 2)}, {"strange": np.zeros(3, np.float32)}
    )
    with pytest.raises(WeightsMismatch, match="strange"):
        list(engine.generate(request_for(use(file))))
    for _ in range(2):
        [warning] = ready(list(engine.generate(request_for(use(file), lora_lenient=True)))).warnings
        assert "odd.safetensors" in warning and "strange" in warning


def test_a_lora_that_is_gone_fails_its_request_and_no_other(
    engine: Engine, request_for: Callable[..., GenerationRequest], tmp_path: Path
) -> None:
    with pytest.raises(CheckpointNotFound, match="gone"):
        list(engine.generate(request_for(use(str(tmp_path / "gone.safetensors")))))
    assert ready(list(engine.generate(request_for()))).request.loras == ()


def test_stopping_between_two_files_leaves_a_usable_engine(
    engine: Engine, request_for: Callable[..., GenerationRequest], style: str, other: str
) -> None:
    plain = ready(list(engine.generate(request_for())))
    events = engine.generate(request_for(use(style), use(other)))
    while next(events) != StageStarted("loading", "LoRA other"):
        pass
    events.close()  # type: ignore[attr-defined]
    again = list(engine.generate(request_for()))
    assert stages(again) == ["denoising", "decoding"]
    assert ready(again).images == plain.images


def test_weights_in_few_bits_have_loras_beside_them_and_never_in_them(checkpoint: Path, style: str) -> None:
    loader = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32", weights="int8")
    with pytest.raises(RequestError, match="fused with weights in int8, which would round them"):
        loader.set_loras([use(style)], fuse=True)
    loader.set_loras([use(style)])
    assert [lora.file for lora in loader.loras] == [style]
    loader.set_loras([], fuse=True)
