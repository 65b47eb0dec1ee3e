"""A request in, events out: what a screen or a command line drives. Knows the loader, and no screen."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import cast

import jax
import numpy as np
import platformdirs

from flux_engine import planning
from flux_engine.compile_cache import keep_compiled, keeps_compiled
from flux_engine.configs import Component
from flux_engine.errors import NumericalError
from flux_engine.generation import FluxConditionedNetwork, denoising_states
from flux_engine.host_memory import allow_most_of_the_device, give_back
from flux_engine.loader import FluxModelLoader
from flux_engine.precision import resolve_dtype
from flux_engine.preview import latent_rgb
from flux_engine.programs import Picture
from flux_engine.prompt_cache import PromptCache
from flux_engine.request import (
    DType,
    EngineStatus,
    Event,
    GenerationRequest,
    LoadingProgress,
    PicturesReady,
    RGBImage,
    Stage,
    StageStarted,
    StepDone,
    Watch,
)
from flux_engine.sampling.denoiser import DenoiserState
from flux_engine.sampling.latents import unpack
from flux_engine.sharding import Places
from flux_engine.warming import compiling
from flux_engine.weights.placing import on_host
from flux_engine.where import MeshSizes

Shown = tuple[DenoiserState, jax.Array]
"""A state, and what a preview of it is made of: the clean latents [1, h, w, C] of its first picture."""

WORDS: dict[Component, str] = {
    "clip_text": "CLIP text encoder",
    "t5_text": "T5 text encoder",
    "transformer": "transformer",
    "vae": "autoencoder",
}


class Engine:
    """Paints requests one after another; keeps the last model loaded, and on the disk what was compiled and encoded.

    Args:
        mesh: devices to share the work; by default one does it. Those of several processes keep nothing on the disk:
            what one of them finds there and another does not, they would not compute together.
        verbose: say on stderr what is loaded and released.

    Raises:
        RequestError: there are not as many devices.
    """

    def __init__(self, *, mesh: MeshSizes | None = None, verbose: bool = False) -> None:
        allow_most_of_the_device()
        self._is_alone = jax.process_count() == 1
        if self._is_alone:
            keep_compiled()
        self._places = Places.of(mesh)
        self._mesh, self._verbose = mesh, verbose
        self._loader: FluxModelLoader | None = None
        self._loaded: tuple[str | None, str, str] | None = None

    def generate(self, request: GenerationRequest, watch: Watch = lambda progress: None) -> Iterator[Event]:
        """Events of a request, in the order of `flux_engine.request`; each step's event comes when it is computed.

        Closing the generator stops before the next step.

        Args:
            watch: told how far the reading of weights is, while the generator cannot yield; what it raises ends the
                reading and comes out of the generator.

        Raises:
            FluxError: the checkpoint or the request cannot be used.
        """
        clock = _Clock()
        loader = yield from self._load_model(request, clock)
        loader.check_shares(request.height, request.width, request.batch_size)
        yield from self._make_room(loader, request, clock)
        yield from self._set_loras(loader, request, clock, watch)
        yield from self._encode(loader, request, clock, watch)
        yield from self._load(loader, "transformer", clock, watch)
        yield from self._load(loader, "vae", clock, watch)
        network = loader.prepare_conditioned_network(
            request.prompt,
            request.negative_prompt,
            request.guidance_scale,
            request.height,
            request.width,
            request.true_cfg_scale,
            request.step_cache,
        )
        give_back()
        yield StageStarted("denoising")
        latents = yield from self._denoise(loader, network, request, clock)
        images = yield from self._decode(loader, latents, clock)
        if not np.isfinite(images).all():
            first = "Try it without LoRAs: one of them may be damaged. Else try" if request.loras else "Try"
            raise NumericalError(
                "The picture has values that are not numbers.",
                hint=f"{first} dtype float32; if that does not help, the checkpoint is damaged.",
            )
        yield PicturesReady(
            # "auto" may be another type elsewhere, and a LoRA's file another one later: the picture would be, too
            request=replace(request, dtype=cast(DType, loader.dtype.name), loras=loader.loras),
            images=tuple(_rgb(np.round(image * 255).astype(np.uint8)) for image in images),
            seconds=clock.seconds,
            model_name=loader.model_name,
            warnings=(*loader.lora_warnings, *network.warnings),
        )

    def _load_model(self, request: GenerationRequest, clock: _Clock) -> Generator[Event, None, FluxModelLoader]:
        """The loader of the request's model; another model's memory is freed first."""
        wanted = self._model(request)
        if self._loader is not None and self._loaded == wanted:
            return self._loader
        yield StageStarted("loading", "model")
        with clock("loading"):
            self.forget()
            self._loader = FluxModelLoader(
                checkpoint_dir=request.checkpoint_dir,
                mesh=self._mesh,
                dtype=request.dtype,
                weights=request.weights,
                verbose=self._verbose,
                prompt_cache=_prompt_cache() if self._is_alone else None,
            )
            self._loaded = wanted
        return self._loader

    def _model(self, request: GenerationRequest) -> tuple[str | None, str, str]:
        """Which it is, in which type; a picture's own record says what "auto" was, and must not read it again."""
        return request.checkpoint_dir, self.dtype_of(request), request.weights

    def dtype_of(self, request: GenerationRequest) -> DType:
        """What a request's "auto" is here."""
        return cast(DType, resolve_dtype(request.dtype, self._places.device).name)

    def forget(self) -> None:
        """Free the model; the next request reads its own anew."""
        if self._loader is not None:
            self._loader.release()
        self._loader = None

    def _make_room(self, loader: FluxModelLoader, request: GenerationRequest, clock: _Clock) -> Iterator[Event]:
        """Have weights lie so that the picture fits into the memory.

        Raises:
            NotEnoughMemory: it does not.
        """
        picture = _picture(loader, request)
        free = planning.least_of_all(planning.free_memory(self._places, loader.device_bytes, loader.host_bytes))
        if planning.is_roomy(loader.configs, picture, self._places, free):
            loader.settle(planning.RESIDENCIES[0])
            return
        yield StageStarted("loading", "memory plan")
        with clock("loading"):
            plan = planning.plan(loader.configs, picture, places=self._places, free=free)
            planning.check(plan, loader.configs, self._places)
            loader.settle(plan.residency)

    def warm(self, request: GenerationRequest) -> Generator[str, None, None]:
        """Compile what such a request runs, so that its picture compiles nothing; reads no weights, and frees none.

        Yields the name of each program before it is compiled; closing the iterator stops there. It does nothing while
        another model is loaded, where compiled programs are not kept, and for LoRAs beside the weights, whose programs
        only their files tell.

        Raises:
            FluxError: the checkpoint cannot be used.
        """
        is_busy = self._loader is not None and self._loaded != self._model(request) and self._loader.device_bytes > 0
        if is_busy or not keeps_compiled() or (request.loras and not request.lora_fuse):
            return
        for _ in self._load_model(request, _Clock()):
            yield "model"
        assert self._loader is not None
        yield from compiling(self._loader, _picture(self._loader, request), request)

    def status(self) -> EngineStatus:
        """Where it computes, and how much of the device's memory is used."""
        memory = self._places.device.memory_stats() or {}
        return EngineStatus(
            device=str(self._places),
            model_name=self._loader.model_name if self._loader else "",
            bytes_in_use=memory.get("bytes_in_use"),
            bytes_limit=memory.get("bytes_limit"),
        )

    def _set_loras(
        self, loader: FluxModelLoader, request: GenerationRequest, clock: _Clock, watch: Watch
    ) -> Iterator[Event]:
        """Have the loader use the request's LoRAs; those that it has already are not announced."""
        detail = ""
        names = loader.changing_loras(
            request.loras,
            fuse=request.lora_fuse,
            lenient=request.lora_lenient,
            on_read=lambda fraction: watch(LoadingProgress(detail, fraction)),
        )
        with closing(names):
            name = next(names, None)
            while name is not None:
                detail = f"LoRA {name}"
                yield StageStarted("loading", detail)
                with clock("loading"):
                    name = next(names, None)

    def _encode(
        self, loader: FluxModelLoader, request: GenerationRequest, clock: _Clock, watch: Watch
    ) -> Iterator[Event]:
        """Have the loader know the prompts; nothing happens if it does already."""
        prompts = _prompts(request)
        if all(loader.knows_prompt(prompt) for prompt in prompts):
            return
        try:
            yield from self._load(loader, "clip_text", clock, watch)
            yield from self._load(loader, "t5_text", clock, watch)
            yield StageStarted("encoding")
            with clock("encoding"):
                loader.encode_prompts(prompts)
        finally:
            loader.release_idle_encoders()  # also when the watcher stops here, or one of them cannot be read

    def _load(self, loader: FluxModelLoader, component: Component, clock: _Clock, watch: Watch) -> Iterator[Event]:
        if loader.is_loaded(component):
            return
        yield StageStarted("loading", WORDS[component])
        with clock("loading"):
            loader.load(component, lambda fraction: watch(LoadingProgress(WORDS[component], fraction)))

    def _denoise(
        self, loader: FluxModelLoader, network: FluxConditionedNetwork, request: GenerationRequest, clock: _Clock
    ) -> Generator[Event, None, jax.Array]:
        """Step events; returns the finished latents."""
        factors = loader.latent_rgb_factors()
        states = denoising_states(
            conditioned_network=network,
            height=request.height,
            width=request.width,
            num_steps=request.num_steps,
            seed=request.seed,
            batch_size=request.batch_size,
            sigma_shift=request.sigma_shift,
            integrator=request.integrator,
            noise=request.noise,
            timer=request.timer,
        )
        # a device does what it is told in its order: of what is shown nothing is left to compute after the next step
        shown: Iterator[Shown] = ((state, unpack(state.clean[:1])) for state in states)
        if loader.device.platform != "cpu" and not request.step_cache:  # to ask what was reused waits for the next step
            shown = _one_ahead(shown)
        started = time.perf_counter()
        for state, clean in shown:
            jax.block_until_ready(state.latents)
            clock.add("denoising", time.perf_counter() - started)
            preview = _rgb(latent_rgb(on_host(clean)[0], factors))
            yield StepDone(state.step, state.num_steps, state.sigma, preview, network.reused())
            started = time.perf_counter()  # what the watcher does between steps is not ours
        return state.latents

    def _decode(self, loader: FluxModelLoader, latents: jax.Array, clock: _Clock) -> Generator[Event, None, np.ndarray]:
        """Images [B, H, W, 3], one a device at once: in between the watcher can stop, and memory is for one."""
        images, at_once = [], loader.places.pictures_at_once
        for place in range(0, len(latents), at_once):
            those = f"{place + 1}" if at_once == 1 else f"{place + 1}-{place + at_once}"
            yield StageStarted("decoding", f"{those} of {len(latents)}" if len(latents) > 1 else "")
            with clock("decoding"):
                some = jax.lax.dynamic_slice_in_dim(latents, place, at_once)
                images.append(on_host(loader.decode_latents(some)))
        return np.concatenate(images)


def _prompt_cache() -> PromptCache:
    return PromptCache(platformdirs.user_cache_path("flux-tui", appauthor=False) / "prompts")


def _one_ahead(states: Iterator[Shown]) -> Iterator[Shown]:
    """Each state when the device has been told the next step: it would wait while this one's preview is made."""
    before = next(states, None)
    while before is not None:
        following = next(states, None)
        yield before
        before = following


def _picture(loader: FluxModelLoader, request: GenerationRequest) -> Picture:
    return Picture(
        dtype=loader.dtype,
        width=request.width,
        height=request.height,
        batch_size=request.batch_size,
        text_tokens=loader.t5_tokenizer.max_length,
        step_cache=request.step_cache > 0,
        weights=request.weights,
    )


def _prompts(request: GenerationRequest) -> list[str]:
    if request.negative_prompt is None or request.true_cfg_scale <= 1:
        return [request.prompt]
    return [request.prompt, request.negative_prompt]


def _rgb(pixels: np.ndarray) -> RGBImage:
    height, width, _ = pixels.shape
    return RGBImage(width, height, pixels.tobytes())


class _Clock:
    """Seconds spent in each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: Stage) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.add(stage, time.perf_counter() - started)

    def add(self, stage: Stage, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
