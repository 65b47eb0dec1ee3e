"""Wherever weights lie while they are not used, every picture is the same to the last bit."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from flux_engine import Engine, FluxModelLoader, GenerationRequest, memory, planning, run_diffuse_generation
from flux_engine.models import by_blocks
from flux_engine.models.apart import Apart, is_apart
from flux_engine.models.layers import Linear, scan_blocks, stack_blocks
from flux_engine.models.quantised import quantise
from flux_engine.planning import Memory
from flux_engine.programs import Picture
from flux_engine.request import PicturesReady
from flux_engine.residency import Residency
from flux_engine.sharding import Places
from flux_engine.weights import placing
from flux_engine.weights.checkpoint import named_leaves
from flux_engine.weights.names import LeafPath
from flux_engine.weights.placing import DEVICE, HOST, on_device
from tests.engine.conftest import live_bytes

pytestmark = pytest.mark.usefixtures("compiled_alike")
STREAMED = Residency(encoders="host", modulations="host", blocks="host")
NETWORKS = ("clip_text", "t5_text", "transformer", "vae")


def painted(loader: FluxModelLoader, **options: Any) -> np.ndarray:
    network = loader.prepare_conditioned_network("a hill", height=32, width=48, **options)
    latents = run_diffuse_generation(conditioned_network=network, height=32, width=48, num_steps=3, seed=4)
    return np.asarray(loader.decode_latents(latents))


def on_host(loader: FluxModelLoader) -> dict[str, set[str]]:
    """The modules of each network that is there that wait in the host's memory."""
    waiting = {}
    for name in filter(loader.is_loaded, NETWORKS):
        leaves = named_leaves(loader.load(name)[1])  # type: ignore[arg-type]
        waiting[name] = {path[1] for path, leaf in leaves.items() if leaf.sharding.memory_kind == HOST}
    return waiting


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_picture_is_the_same_wherever_its_weights_wait(checkpoint: Path, dtype: Any) -> None:
    there = FluxModelLoader(checkpoint_dir=checkpoint, dtype=dtype)
    expected = painted(there)
    assert not any(on_host(there).values())

    streamed = FluxModelLoader(checkpoint_dir=checkpoint, dtype=dtype, residency=STREAMED)
    assert np.array_equal(painted(streamed), expected)
    blocks = {"img_mod", "txt_mod", "attn", "img_mlp", "txt_mlp", "modulation", "linear1", "linear2"}
    assert on_host(streamed)["transformer"] == blocks
    assert on_host(streamed)["t5_text"] and on_host(streamed)["clip_text"] and not on_host(streamed)["vae"]


@pytest.mark.usefixtures("no_garbage_collection")
def test_weights_move_while_a_session_goes_on_and_leave_nothing_behind(checkpoint: Path) -> None:
    loader = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32", residency=Residency(encoders="device"))
    expected = painted(loader)
    total, device = live_bytes(), loader.device_bytes

    loader.settle(Residency(encoders="host", modulations="host"))
    assert on_host(loader)["transformer"] == {"img_mod", "txt_mod", "modulation"}
    assert loader.device_bytes < 0.9 * device
    assert loader.host_bytes == device - loader.device_bytes
    assert np.array_equal(painted(loader), expected)
    loader.settle(Residency(encoders="device"))
    assert (loader.device_bytes, loader.host_bytes) == (device, 0)
    assert np.array_equal(painted(loader), expected)
    assert live_bytes() == total

    loader.settle(Residency(encoders="alone"))
    assert not loader.is_loaded("t5_text") and loader.is_loaded("transformer")
    loader.encode_prompts(["something else"])
    assert not any(map(loader.is_loaded, NETWORKS))
    assert np.array_equal(painted(loader), expected)


@pytest.mark.usefixtures("no_garbage_collection")
def test_a_network_that_cannot_move_is_read_again(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32")
    expected = painted(loader)
    before, moved = live_bytes() - loader.device_bytes, iter(range(3))

    def full(*arguments: Any) -> Any:
        if next(moved, None) is None:
            raise RuntimeError("RESOURCE_EXHAUSTED")
        return placing.laid(*arguments)

    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr(memory, "laid", full)
        loader.settle(STREAMED)
    assert not loader.is_loaded("transformer")
    assert live_bytes() == before + loader.device_bytes + loader.host_bytes
    assert np.array_equal(painted(loader), expected)


def test_the_next_picture_finds_the_memory_that_its_weights_wait_in(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32")
    text_tokens = loader.t5_tokenizer.max_length
    picture = Picture(dtype=loader.dtype, width=48, height=32, text_tokens=text_tokens)
    endless = Memory(device=None, host=None)
    wanted = planning.with_residency(loader.configs, picture, planning.RESIDENCIES[1], loader.places, endless)
    device = int(max(stage.peak_bytes for stage in wanted.stages) * planning.SLACK) + 1
    engine, found = Engine(), []
    loaders: list[FluxModelLoader] = []
    settle = FluxModelLoader.settle

    def settled(loader: FluxModelLoader, residency: Residency) -> None:
        loaders[:] = [loader]
        found.append(residency)
        settle(loader, residency)

    def free(places: Places, held: int, waiting: int) -> Memory:
        """A card that has no room for text encoders, in a machine that has room for them once."""
        used = sum(loader.host_bytes for loader in loaders)
        return Memory(device=device, host=sum(wanted.waiting.values()) - used + waiting)

    monkeypatch.setattr(planning, "free_memory", free)
    monkeypatch.setattr(FluxModelLoader, "settle", settled)
    for prompt in ("a hill", "a lake"):
        request = GenerationRequest(
            prompt=prompt, width=48, height=32, num_steps=1, dtype="float32", checkpoint_dir=str(checkpoint)
        )
        assert isinstance([*engine.generate(request)][-1], PicturesReady)
    assert found == [wanted.residency] * 2 and loaders[0].host_bytes > 0


def test_blocks_that_are_arrays_of_their_own_paint_the_same_picture(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = painted(FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32"))
    monkeypatch.setattr(placing, "_platform", lambda devices: "gpu")
    loader = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32")
    assert np.abs(painted(loader) - expected).max() < 1e-5

    def leaves_of() -> dict[LeafPath, Any]:
        return named_leaves(loader.load("transformer")[1])

    leaves = leaves_of()
    assert {path[-1] for path, leaf in leaves.items() if is_apart(leaf)} == {"kernel"}
    assert not is_apart(leaves["double_blocks", "img_mod", "kernel"])
    apart = painted(loader)
    for residency, kind in ((STREAMED, HOST), (Residency(), DEVICE)):
        loader.settle(residency)
        assert {path for path, leaf in leaves_of().items() if is_apart(leaf) and leaf.sharding.memory_kind == kind} == {
            path for path, leaf in leaves.items() if is_apart(leaf)
        }
        assert np.array_equal(painted(loader), apart)
    streamed = FluxModelLoader(checkpoint_dir=checkpoint, dtype="float32", residency=STREAMED)
    assert np.array_equal(painted(streamed), apart)


@pytest.mark.parametrize(("idle", "coming"), [((), 2), (("bias",), 1)])
def test_a_blocks_weights_come_while_the_block_before_is_computed(idle: tuple[str, ...], coming: int) -> None:
    graphdef, there = nnx.split(stack_blocks(lambda rngs: Linear(4, 4, rngs=rngs), 5, nnx.Rngs(0)))
    waiting = jax.device_put(there, on_device(jax.devices()[0])((), ()).with_memory_kind(HOST))
    x = jax.random.normal(jax.random.key(0), (3, 4))

    def folded(state: nnx.State, x: jax.Array) -> jax.Array:
        step = (lambda block, x: x @ block.kernel[...]) if idle else (lambda block, x: block(x))
        result: jax.Array = scan_blocks(nnx.merge(graphdef, state), step, x, idle=idle)
        return result

    assert np.array_equal(jax.jit(folded)(waiting, x), jax.jit(folded)(there, x))
    (loop,) = (eqn for eqn in jax.make_jaxpr(folded)(waiting, x).eqns if eqn.primitive.name == "scan")
    body = loop.params["jaxpr"].jaxpr
    fetched = [eqn.outvars[0] for eqn in body.eqns if eqn.primitive.name == "device_put"]
    assert len(fetched) == coming
    assert {id(each) for each in fetched} <= {id(each) for each in body.outvars}  # and nothing else asks for them:
    assert not {id(each) for each in fetched} & {id(each) for eqn in body.eqns for each in eqn.invars}


def test_the_next_blocks_weights_are_sent_for_when_the_block_before_is_done_and_before_this_one_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = [Linear(4, 4, rngs=nnx.Rngs(seed)) for seed in range(4)]
    graphdef, state = nnx.split(stack_blocks(lambda rngs: Linear(4, 4, rngs=rngs), 4, nnx.Rngs(0)))
    host = on_device(jax.devices()[0])((), ()).with_memory_kind(HOST)
    state["kernel"].set_value(Apart(jax.device_put([block.kernel[...] for block in made], host)))
    happened: list[str] = []

    def noted(name: str, function: Any) -> Any:
        return lambda *arguments: (happened.append(name), function(*arguments))[1]

    monkeypatch.setattr(by_blocks, "to_device", noted("send", by_blocks.to_device))
    monkeypatch.setattr(by_blocks, "_run", noted("tell", by_blocks._run))
    monkeypatch.setattr(jax, "block_until_ready", noted("wait", jax.block_until_ready))
    x = jax.random.normal(jax.random.key(0), (3, 4))
    result = scan_blocks(nnx.merge(graphdef, state), lambda block, x: block(x), x)
    assert happened == ["send"] + ["wait", "send", "tell"] * 3 + ["wait", "tell"]
    expected = x
    for block in made:
        expected = block(expected)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_options_of_a_gpu_are_for_full_weights_there_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_blocks, "OPTIONS", {"no_such_option": True})
    graphdef, state = nnx.split(stack_blocks(lambda rngs: Linear(4, 4, rngs=rngs), 2, nnx.Rngs(0)))
    kernels = state["kernel"].get_value()
    few = jax.vmap(partial(quantise, kind="int8"))(kernels)

    def folded(kernel: Any) -> Any:
        by_blocks._of_a_block.cache_clear()
        state["kernel"].set_value(kernel)
        return scan_blocks(nnx.merge(graphdef, state), lambda block, x: block(x), jax.numpy.ones((3, 4)))

    folded(Apart(kernels))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    folded(replace(few, values=Apart(few.values)))
    with pytest.raises(jax.errors.JaxRuntimeError, match="no_such_option"):
        folded(Apart(kernels))


def test_a_stack_apart_looks_like_an_array() -> None:
    blocks = [jax.numpy.full((2, 3), place, jax.numpy.bfloat16) for place in range(4)]
    stack = Apart(blocks)
    assert (stack.shape, stack.dtype, len(stack)) == ((4, 2, 3), jax.numpy.bfloat16, 4)
    assert stack[2] is blocks[2] and stack[...] is stack
    assert np.array_equal(np.asarray(stack), np.stack(blocks))
    assert jax.tree.leaves(stack) == blocks
