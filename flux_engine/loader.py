"""From a checkpoint folder to latents and pictures: the one file that knows all the others.

    loader = FluxModelLoader(checkpoint_dir=Path("flux"))
    conditioned = loader.prepare_conditioned_network("a lighthouse in fog", height=1024, width=1024)
    latents = run_diffuse_generation(conditioned_network=conditioned, height=1024, width=1024, num_steps=30, seed=42)
    images = loader.decode_latents(latents)

Networks are read when they are first needed, and lie where the residency says: by default the text encoders leave as
soon as a prompt is encoded. Weights are arguments of every compiled function, so releasing a network frees its memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TypeVar, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from flux_engine import compiled
from flux_engine.configs import CLIPTextConfig, Component, T5Config, TransformerConfig, VAEConfig
from flux_engine.encoding import EncodedPrompt, PromptEncoder
from flux_engine.errors import RequestError, WeightsMismatch
from flux_engine.generation import FluxConditionedNetwork
from flux_engine.memory import Networks
from flux_engine.precision import resolve_dtype
from flux_engine.preview import fit_to_colour_fields, load_factors
from flux_engine.prompt_cache import PromptCache
from flux_engine.prompt_velocity import KeptModulations, PromptVelocity
from flux_engine.request import (
    DType,
    LoraUse,
    WeightKind,
    check_checkpoint_dir,
    check_choice,
    check_guidance,
    check_prompts,
    check_step_cache,
)
from flux_engine.residency import Residency
from flux_engine.sampling.denoiser import classifier_free
from flux_engine.sampling.latents import PATCH, pack, token_grid, unpack
from flux_engine.sharding import Places
from flux_engine.tokenizers import load_tokenizers
from flux_engine.weights.placing import on_host, put
from flux_engine.weights.sources import open_checkpoint
from flux_engine.where import MeshSizes

C = TypeVar("C", TransformerConfig, VAEConfig, CLIPTextConfig, T5Config)

DEMO_CHECKPOINT = Path(__file__).parent / "demo"


class FluxModelLoader:
    """Loads FLUX's networks from a checkpoint folder, encodes prompts, makes conditioned networks, decodes latents.

    Args:
        checkpoint_dir: a folder or file in any layout that `flux_engine.weights.sources` knows; None is the demo model.
        device: where to compute; by default JAX's first device.
        mesh: devices to share the work, in place of one: sizes for JAX's first devices, or a mesh of one's own.
        dtype: what to compute in and keep weights in; "auto" is the faster one of this device.
        verbose: say on stderr what is loaded and released.
        prompt_cache: where encoded prompts are kept from one run to the next; by default nowhere.
        residency: what waits in the host's memory; see `settle`.
        weights: "full", or in how many bits the kernels of the transformer and of T5 are kept in memory.

    Raises:
        RequestError: there is no such dtype or kind of weights, there are not as many devices, or `checkpoint_dir` is
            no path.
        CheckpointNotFound, CheckpointCorrupt, ConfigError, TokenizerError: the folder is no usable checkpoint.
        WeightsMismatch: its parts come from different models. What only the weights can tell is found when a network
            is first needed.
    """

    def __init__(
        self,
        *,
        checkpoint_dir: Path | str | None = None,
        device: jax.Device | None = None,
        mesh: MeshSizes | jax.sharding.Mesh | None = None,
        dtype: DType = "auto",
        verbose: bool = False,
        prompt_cache: PromptCache | None = None,
        residency: Residency | None = None,
        weights: WeightKind = "full",
    ) -> None:
        check_checkpoint_dir(str(checkpoint_dir) if isinstance(checkpoint_dir, Path) else checkpoint_dir)
        check_choice("dtype", dtype, get_args(DType))
        check_choice("weights", weights, get_args(WeightKind))
        self.checkpoint_dir = DEMO_CHECKPOINT if checkpoint_dir is None else Path(os.path.expanduser(checkpoint_dir))
        self._checkpoint = open_checkpoint(self.checkpoint_dir)
        self.model_name = "demo" if checkpoint_dir is None else self._checkpoint.name
        self.places = Places.of(mesh or device)
        self.device = self.places.device
        self.dtype = resolve_dtype(dtype, self.device)
        self.configs = {component: part.config for component, part in self._checkpoint.parts.items()}
        self.transformer_config = self._config(TransformerConfig)
        self.vae_config = self._config(VAEConfig)
        guided = self.transformer_config.guidance_embeds
        self.clip_tokenizer, self.t5_tokenizer = load_tokenizers(self._checkpoint.folder, guidance_embeds=guided)
        self._check_that_parts_fit()
        self._networks = Networks(
            self._checkpoint,
            places=self.places,
            dtype=self.dtype,
            verbose=verbose,
            residency=residency,
            weights=weights,
        )
        self._prompts = PromptEncoder(
            self._checkpoint,
            self._networks,
            self.clip_tokenizer,
            self.t5_tokenizer,
            places=self.places,
            dtype=self.dtype,
            weights=weights,
            kept=prompt_cache,
        )
        self._modulations = KeptModulations()
        self._latent_rgb: np.ndarray | None = None

    # Prompts

    def prepare_conditioned_network(
        self,
        prompt: str,
        negative_prompt: str | None = None,
        guidance_scale: float = 4.0,
        height: int = 1024,
        width: int = 1024,
        true_cfg_scale: float = 1.0,
        step_cache: float = 0.0,
    ) -> FluxConditionedNetwork:
        """Encode the prompt and bind it to the transformer.

        Args:
            prompt: an empty one is allowed here, as in diffusers: the model's picture of nothing in particular.
            negative_prompt: used with `true_cfg_scale` above 1, at the cost of a second pass a step; else it has no
                effect, and a warning says so.
            guidance_scale: the embedded guidance; models without a guidance embedding ignore it.
            height, width: pixels, multiples of 16.
            step_cache: the error budget within which velocities reuse work of earlier ones, 0 for none, else about 0.1;
                see `flux_engine.models.step_cache`. A run then depends on where it began: one that is taken up in the
                middle computes its first velocity in full.

        Raises:
            RequestError: a size is no multiple of 16, a scale guides nowhere, a budget is below 0, or a prompt is no
                text.
            CheckpointError: weights cannot be read.
        """
        check_prompts(prompt, negative_prompt)
        check_guidance(guidance_scale, true_cfg_scale)
        check_step_cache(step_cache)
        rows, columns = token_grid(height, width, self.vae_config.downsampling)
        negated = negative_prompt is not None and true_cfg_scale > 1
        texts = [prompt] if negative_prompt is None or not negated else [prompt, negative_prompt]
        encoded = self.encode_prompts(texts)
        notes = [text.warning for text in encoded if text.warning]
        if negative_prompt and not negated:
            notes.append("The negative prompt has no effect unless true CFG is above 1.")
        if negative_prompt is None and true_cfg_scale > 1:
            notes.append("True CFG has no effect without a negative prompt.")
        self.load("transformer")
        self._modulations.keep_only(encoded)
        fields = [
            PromptVelocity(
                self._networks,
                self.transformer_config,
                text,
                guidance_scale,
                rows,
                columns,
                self.places,
                step_cache,
                self._modulations,
            )
            for text in encoded
        ]

        def prepare(sigmas: Sequence[np.float32]) -> None:
            for field in fields:
                field.prepare(sigmas)

        return FluxConditionedNetwork(
            network_fn=classifier_free(fields[0], fields[1], true_cfg_scale) if negated else fields[0],
            prepare=prepare,
            reused=lambda: sum(field.reused() for field in fields),
            place=lambda latents: put(latents, self.places.latents(*latents.shape[:2])),
            in_channels=self.transformer_config.in_channels,
            rows=rows,
            columns=columns,
            token_px=PATCH * self.vae_config.downsampling,
            dtype=self.dtype,
            shifts_with_size=self.transformer_config.guidance_embeds,
            warnings=tuple(notes),
        )

    def check_shares(self, height: int, width: int, batch_size: int) -> None:
        """Refuse pictures that the devices of a mesh cannot share.

        Raises:
            RequestError: the pictures, or their rows of tokens, do not come out even.
        """
        self.places.latents(batch_size, token_grid(height, width, self.vae_config.downsampling)[0])

    def encode_prompts(self, prompts: Sequence[str]) -> list[EncodedPrompt]:
        """Both encoders' reading of each prompt; the last few are kept, so a new seed costs nothing.

        The text encoders are released before this returns, unless the residency keeps them.
        """
        if not all(map(self.knows_prompt, prompts)):
            self._modulations.keep_only([])  # the encoders need the room
        return self._prompts.encode(prompts)

    def knows_prompt(self, prompt: str) -> bool:
        """Whether `prompt` is encoded already, with the LoRAs of now."""
        return self._prompts.knows(prompt)

    # LoRAs

    @property
    def loras(self) -> tuple[LoraUse, ...]:
        """The LoRAs in use, each with its file's hash."""
        return self._networks.loras

    @property
    def lora_warnings(self) -> tuple[str, ...]:
        """What a person should know about their files."""
        return self._networks.lora_warnings

    def set_loras(self, loras: Sequence[LoraUse], *, fuse: bool = False, lenient: bool = False) -> tuple[str, ...]:
        """Have these LoRAs from now on, and no others; returns what a person should know about their files.

        Networks that are on the device get them now, the others when they are read; a conditioned network follows.

        Args:
            loras: where only strengths differ from those in use, nothing is read and nothing compiled.
            fuse: add them to the weights themselves, which then are read again for every change.
            lenient: warn of what a file has and the model has not, instead of refusing it.

        Raises:
            RequestError: a file is named twice, or is to be fused with weights that are not full.
            CheckpointNotFound: a file is not there.
            CheckpointCorrupt: a file is damaged.
            WeightsMismatch: a file is for another model, or not the one with the hash that was asked for. Nothing has
                changed after any of these.
        """
        for _ in self.changing_loras(loras, fuse=fuse, lenient=lenient):
            pass
        return self.lora_warnings

    def changing_loras(
        self,
        loras: Sequence[LoraUse],
        *,
        fuse: bool = False,
        lenient: bool = False,
        on_read: Callable[[float], None] = lambda fraction: None,
    ) -> Generator[str, None, None]:
        """The same for callers that watch or stop: yields a file's name before it is read; closed, it changes nothing.

        Args:
            on_read: told the fraction of a file that is on the device, above 0 to 1; what it raises ends the reading.
        """
        return self._networks.changing_loras(loras, fused=fuse, lenient=lenient, on_read=on_read)

    # Pictures

    def encode_images(self, images: jax.Array) -> jax.Array:
        """Packed latents float32 [B, rows, columns, in_channels] of images float [B, H, W, 3] in [0, 1].

        Raises:
            RequestError: the shape is another one, or a size lies between tokens.
        """
        _check_shape("images", images, "B H W C", self.vae_config.in_channels)
        _, height, width, _ = np.shape(images)
        token_grid(height, width, self.vae_config.downsampling)
        graphdef, state = self.load("vae")
        images = put(jnp.asarray(images, jnp.float32), self.places.whole)
        return pack(compiled.encode_images(graphdef, state, images))

    def decode_latents(self, latents: jax.Array) -> jax.Array:
        """Images float32 [B, H, W, 3] in [0, 1] of packed latents [B, rows, columns, in_channels].

        Raises:
            RequestError: the shape is another one.
        """
        _check_shape("latents", latents, "B rows columns C", self.transformer_config.in_channels)
        latents = put(jnp.asarray(latents), self.places.pictures(len(latents)))
        graphdef, state = self.load("vae")
        return compiled.decode_latents(graphdef, state, unpack(latents))

    def latent_rgb_factors(self) -> np.ndarray:
        """The linear map [C + 1, 3] from latents to colours for previews; see `flux_engine.preview`."""
        factors = self.known_latent_rgb_factors()
        if factors is None:
            encode, whole = compiled.encode_images, self.places.whole
            factors = self._latent_rgb = fit_to_colour_fields(
                lambda images: on_host(encode(*self.load("vae"), put((images + 1) / 2, whole)))
            )
        return factors

    def known_latent_rgb_factors(self) -> np.ndarray | None:
        """The same where the checkpoint has them, or they were fitted before; None where they need the autoencoder."""
        if self._latent_rgb is None:
            self._latent_rgb = load_factors(self._checkpoint.folder / "vae", self.vae_config.latent_channels)
        return self._latent_rgb

    # Memory

    def load(
        self, component: Component, on_read: Callable[[float], None] = lambda fraction: None
    ) -> tuple[nnx.GraphDef, nnx.State]:
        """A network's structure and weights, read from the checkpoint if they are not on the device.

        Args:
            on_read: told the fraction of the weights that is read, above 0 to 1; what it raises ends the reading.
        """
        return self._networks.load(component, on_read)

    def is_loaded(self, component: Component) -> bool:
        return self._networks.is_loaded(component)

    def settle(self, residency: Residency) -> None:
        """Have weights lie as `residency` says from now on; those that are read already move. No picture changes."""
        self._networks.settle(residency)

    @property
    def device_bytes(self) -> int:
        """What the networks' weights take of the device's memory now, without LoRAs beside them."""
        return self._networks.device_bytes

    @property
    def host_bytes(self) -> int:
        """What they take of the machine's memory, where they wait."""
        return self._networks.host_bytes

    def release_idle_encoders(self) -> None:
        """Free both text encoders if the residency has them read for every prompt."""
        self._networks.release_encoders()

    def release(self) -> None:
        """Free every network; what is needed again is read again."""
        self.release_text_encoders()
        self.release_transformer()
        self.release_vae()

    def release_text_encoders(self) -> None:
        """Free both text encoders; the next unknown prompt reads them again."""
        self._networks.release("clip_text")
        self._networks.release("t5_text")

    def release_transformer(self) -> None:
        """Free the transformer; the next step of any conditioned network reads it again."""
        self._networks.release("transformer")
        self._modulations.keep_only([])

    def release_vae(self) -> None:
        """Free the autoencoder; the next picture reads it again."""
        self._networks.release("vae")

    # Inside

    def _config(self, kind: type[C]) -> C:
        config = self.configs[kind.component]
        assert isinstance(config, kind)
        return config

    def _check_that_parts_fit(self) -> None:
        """Refuse parts of different models: JAX would stop in the middle, or read a table beyond its end."""
        clip, t5 = self._config(CLIPTextConfig), self._config(T5Config)
        reads = self.transformer_config
        for whole, part, given, taken in (
            ("channels a token", "vae", 4 * self.vae_config.latent_channels, reads.in_channels),
            ("numbers a prompt", "clip_text", clip.hidden_size, reads.pooled_projection_dim),
            ("numbers a word", "t5_text", t5.d_model, reads.joint_attention_dim),
        ):
            if given != taken:
                raise self._mismatch(f"{part} gives {given} {whole}; transformer expects {taken}")
        for part, whole, used, known in (
            ("tokenizer", "ids", self.clip_tokenizer.vocab_size, clip.vocab_size),
            ("tokenizer", "ids a prompt", self.clip_tokenizer.max_length, clip.max_position_embeddings),
            ("tokenizer_2", "ids", self.t5_tokenizer.vocab_size, t5.vocab_size),
        ):
            if used > known:
                raise self._mismatch(f"{part} makes {used} {whole}; its encoder knows {known}")

    def _mismatch(self, message: str) -> WeightsMismatch:
        return WeightsMismatch(f"{self.checkpoint_dir}: {message}.", hint="All parts must come from the same model.")


def _check_shape(name: str, array: jax.Array, axes: str, channels: int) -> None:
    shape = np.shape(array)
    if len(shape) != 4 or shape[-1] != channels:
        raise RequestError(f"The {name} have shape {shape}; expected [{axes.replace(' ', ', ')}] with C = {channels}.")
