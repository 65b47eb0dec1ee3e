"""diffusers' and transformers' own networks with the weights of a network here: the other side of a comparison.

Knows what their classes are called with, and the way back from leaves to their tensors. A network of theirs has no
memory of its own; what runs has its weights for as long as it runs. Torch is imported when a network is made.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from flux_engine.configs import (
    CLIPTextConfig,
    Component,
    NetworkConfig,
    T5Config,
    TransformerConfig,
    VAEConfig,
)
from flux_engine.weights.formats import FORMATS, Format, places
from flux_engine.weights.names import LeafPath

LIBRARIES = ("torch", "diffusers", "transformers")
Read = Callable[[LeafPath], np.ndarray]
Run = Callable[..., list[np.ndarray]]


class ReferenceFault(Exception):
    """Why the reference cannot be asked, in a line."""


class Reference:
    """The reference's network of these sizes.

    Raises:
        ReferenceFault: a library is not installed, or fails.
    """

    def __init__(self, config: NetworkConfig) -> None:
        self._torch, *others = map(_library, LIBRARIES)
        self._form = their_format(config.component)
        try:
            with self._torch.device("meta"):  # shapes in the place of weights
                self._network = _BUILD[config.component](*others, config).eval()
        except Exception as error:
            raise ReferenceFault(_line(error)) from error

    @contextmanager
    def filled(self, modules: Sequence[str], read: Read) -> Iterator[Run]:
        """Some of its modules with their weights, which `read` gives as the leaves that a network here has.

        Gives a function that calls another one with those modules and with arrays as tensors, and returns its results
        as arrays.

        Raises:
            ReferenceFault: a library fails.
        """
        found = []
        for name in modules:
            try:
                module = self._network.get_submodule(name)
                shapes = {_joined(name, key): tuple(tensor.shape) for key, tensor in module.state_dict().items()}
            except Exception as error:
                raise ReferenceFault(_line(error)) from error
            arrays = their_tensors(self._form, shapes, read)
            try:
                state = {key: self._torch.from_numpy(arrays[_joined(name, key)]) for key in module.state_dict()}
                module.load_state_dict(state, assign=True)
            except Exception as error:
                raise ReferenceFault(_line(error)) from error
            found.append(module)
        try:
            yield lambda call, *inputs: self._run(call, found, inputs)
        finally:
            for module in found:
                module.to("meta")

    def _run(self, call: Callable[..., Any], modules: Sequence[Any], inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        try:
            with self._torch.no_grad():
                results = call(*modules, *(self._torch.from_numpy(np.array(array)) for array in inputs))
            return [tensor.numpy() for tensor in (results if isinstance(results, tuple) else (results,))]
        except Exception as error:
            raise ReferenceFault(_line(error)) from error


def their_tensors(form: Format, shapes: Mapping[str, tuple[int, ...]], read: Read) -> dict[str, np.ndarray]:
    """Tensors of these names and shapes: the parts of leaves, in the order in which they lie side by side, turned.

    Args:
        form: whose names they are; a name that has no place there is left out.
        read: a leaf by its stored path.
    """
    found = [(name, place) for name, place in places(form, shapes) if place is not None]
    ends: dict[LeafPath, int] = {}
    tensors = {}
    for name, place in sorted(found, key=lambda item: item[1].part):
        shape = shapes[name]
        path = place.path(len(shape))
        leaf, start = read(path), ends.get(path, 0)
        if path[-1] == "embedding":
            tensors[name] = leaf
            continue
        ends[path] = end = start + shape[0]
        part = leaf[..., start:end]
        if path[-1] == "kernel":  # a convolution of one pixel may be a matrix there
            part = part.transpose(3, 2, 0, 1) if len(shape) == 4 else part.reshape(-1, shape[0]).T
        tensors[name] = np.ascontiguousarray(np.roll(part, shape[0] // 2, axis=0) if place.halves_swapped else part)
    return tensors


def their_format(component: Component) -> Format:
    """The reference's own names."""
    return next(form for form in FORMATS if form.component == component and form.title in LIBRARIES)


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if error.name == name:
            raise ReferenceFault(f"{name} is not installed; the extra 'parity' brings it") from error
        raise ReferenceFault(f"{name} cannot be imported: {_line(error)}") from error
    except Exception as error:  # a library that does not fit another one
        raise ReferenceFault(f"{name} cannot be imported: {_line(error)}") from error


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _joined(module: str, name: str) -> str:
    return f"{module}.{name}" if module else name


def _transformer(diffusers: Any, transformers: Any, config: TransformerConfig) -> Any:
    return diffusers.FluxTransformer2DModel(
        in_channels=config.in_channels,
        num_layers=config.num_double_layers,
        num_single_layers=config.num_single_layers,
        attention_head_dim=config.head_dim,
        num_attention_heads=config.num_heads,
        joint_attention_dim=config.joint_attention_dim,
        pooled_projection_dim=config.pooled_projection_dim,
        guidance_embeds=config.guidance_embeds,
        axes_dims_rope=config.axes_dims_rope,
    )


def _vae(diffusers: Any, transformers: Any, config: VAEConfig) -> Any:
    levels = len(config.block_out_channels)
    return diffusers.AutoencoderKL(
        in_channels=config.in_channels,
        out_channels=config.in_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_num_groups,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _clip(diffusers: Any, transformers: Any, config: CLIPTextConfig) -> Any:
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    others = ("max_position_embeddings", "layer_norm_eps", "eos_token_id")
    sizes = {name: getattr(config, name) for name in (*names, *others)}
    return transformers.CLIPTextModel(transformers.CLIPTextConfig(**sizes, bos_token_id=0, pad_token_id=1))


def _t5(diffusers: Any, transformers: Any, config: T5Config) -> Any:
    return transformers.T5EncoderModel(transformers.T5Config(**config.to_dict(), feed_forward_proj="gated-gelu"))


_BUILD: dict[Component, Callable[..., Any]] = {
    "transformer": _transformer,
    "vae": _vae,
    "clip_text": _clip,
    "t5_text": _t5,
}
