"""From what people have, a folder or a file of any known layout, to each network's weights.

    transformer/ vae/ clip_text/ t5_text/          each with state/ and config.json: this project's own layout
    transformer/ vae/ text_encoder/ text_encoder_2/    each with .safetensors and config.json: a diffusers folder
    flux1-dev.safetensors ae.safetensors clip_l.safetensors t5xxl.gguf     single files, told apart by what is in them

A network is looked for in this order; a file that was named itself comes before all. `tokenizer/` and `tokenizer_2/`
lie in the folder. What a file is, its tensors' names and shapes say, never its own name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

from flux_engine.configs import Component, NetworkConfig, TransformerConfig
from flux_engine.errors import CheckpointCorrupt, CheckpointError, CheckpointNotFound
from flux_engine.weights.foreign import ForeignWeights, networks_in
from flux_engine.weights.opening import opened
from flux_engine.weights.orbax_files import LAYOUT_HINT, OrbaxWeights, read_config
from flux_engine.weights.stored import Weights
from flux_engine.weights.strangers import no_network, refuse_pickle, refuse_pipeline, refuse_stranger, stranger_in
from flux_engine.weights.tensor_files import DAMAGED_HINT, Tensor, read_tensors

COMPONENTS: tuple[Component, ...] = get_args(Component)
DIFFUSERS_FOLDERS: dict[Component, str] = {
    "transformer": "transformer",
    "vae": "vae",
    "clip_text": "text_encoder",
    "t5_text": "text_encoder_2",
}
FILE_ENDINGS = (".safetensors", ".gguf", ".sft")
BESIDE_HINT = "Put the autoencoder's file, CLIP's and T5's beside it, with the folders tokenizer/ and tokenizer_2/."

# What diffusers and transformers call the sizes that `flux_engine.configs` calls otherwise.
WORDS: dict[Component, dict[str, str]] = {
    "transformer": {"num_layers": "num_double_layers", "num_attention_heads": "num_heads"},
    "vae": {},
    "clip_text": {},
    "t5_text": {},
}


@dataclass(frozen=True, eq=False)
class Part:
    """One network of a checkpoint: its sizes now, its weights when they are opened."""

    config: NetworkConfig
    open: Callable[[], Weights]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Where everything of a model is.

    Attributes:
        folder: holds `tokenizer/` and `tokenizer_2/`.
        name: of the model, for people.
        parts: all four networks.
    """

    folder: Path
    name: str
    parts: Mapping[Component, Part]

    @property
    def variant(self) -> str:
        """dev or schnell, by whether guidance is embedded; Krea-dev and Kontext-dev have the shapes of dev."""
        config = self.parts["transformer"].config
        assert isinstance(config, TransformerConfig)
        return "dev" if config.guidance_embeds else "schnell"


def open_checkpoint(path: Path) -> Checkpoint:
    """Find all four networks in a folder, or in a file and beside it. No weight is read.

    Raises:
        CheckpointNotFound: there is nothing at `path`, a network or a part of one is missing, or may not be read.
        CheckpointCorrupt: a file is damaged.
        ConfigError: a config.json describes no network.
        WeightsMismatch: a file holds tensors that no network has, or its shapes contradict its config.json.
        UnsupportedVariant: a relative of FLUX.1 that cannot be run yet.
    """
    try:
        return _opened(path)
    except CheckpointError:
        raise
    except OSError as error:  # a loop of links, a folder that is closed to this user
        place, reason = error.filename or path, error.strerror or str(error)
        raise CheckpointNotFound(f"{place} cannot be read: {reason}.", hint="Check its permissions.") from error


def _opened(path: Path) -> Checkpoint:
    try:
        path.stat()
    except FileNotFoundError:
        raise CheckpointNotFound(f"{path} does not exist.", hint=LAYOUT_HINT) from None
    folder = path if path.is_dir() else path.parent
    named = {} if path.is_dir() else _named(path)
    if path.is_dir():
        _check_pipeline(folder / "model_index.json")
    loose = _Loose(folder)
    parts = {}
    for component in COMPONENTS:
        part = named.get(component) or _own(folder, component) or _diffusers(folder, component) or loose.part(component)
        if part is None and not path.is_dir():
            raise CheckpointNotFound(f"{component} is neither in {path} nor beside it.", hint=BESIDE_HINT)
        parts[component] = part or _own_or_missing(folder, component)
    return Checkpoint(folder, path.resolve().name, parts)


def _named(file: Path) -> dict[Component, Part]:
    """The networks in a file that was named itself: at least one."""
    refuse_pickle(file)
    tensors = read_tensors(file)
    parts = _parts(tensors, file, {})
    if not parts:
        raise no_network(tensors, file)
    return parts


def _check_pipeline(index: Path) -> None:
    """Kontext has the very shapes of dev: only this file of a diffusers folder tells it."""
    if index.is_file():
        refuse_pipeline(_object(index).get("_class_name"), index)


def _own(folder: Path, component: Component) -> Part | None:
    directory = folder / component
    return _own_or_missing(folder, component) if (directory / "state").is_dir() else None


def _own_or_missing(folder: Path, component: Component) -> Part:
    directory = folder / component
    return Part(read_config(directory, component), lambda: OrbaxWeights(directory, component))


def _diffusers(folder: Path, component: Component) -> Part | None:
    directory = folder / DIFFUSERS_FOLDERS[component]
    files = list(_shards(directory))
    if not files:
        for file in sorted(directory.glob("*.bin")):
            refuse_pickle(file)
        return None
    tensors: dict[str, Tensor] = {}
    for file in files:
        new = read_tensors(file)
        if twice := tensors.keys() & new.keys():
            raise CheckpointCorrupt(
                f"{file} has {min(twice)}, which {tensors[min(twice)].file.name} has as well.", hint=DAMAGED_HINT
            )
        tensors |= new
    return _parts(tensors, directory, _sizes(directory / "config.json", component)).get(component)


def _shards(directory: Path) -> Iterator[Path]:
    """The files of a network in a folder of its own: those that an index names, or the only one."""
    indices = sorted(directory.glob("*.safetensors.index.json"))
    if indices:
        names = _object(indices[0]).get("weight_map")
        if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
            raise CheckpointCorrupt(f"{indices[0]} names no files.", hint=DAMAGED_HINT)
        for name in sorted(set(names.values())):
            file = directory / Path(name).name  # never a file elsewhere
            if not file.exists():
                raise CheckpointNotFound(f"{file} is missing; {indices[0].name} names it.", hint=DAMAGED_HINT)
            yield file
        return
    files = sorted(directory.glob("*.safetensors"))
    if len(files) > 1:
        names = ", ".join(file.name for file in files[:3])
        raise CheckpointError(
            f"{directory} has {len(files)} files of weights and no index: {names}.",
            hint="Keep the one to be used, or download the folder's .index.json.",
        )
    yield from files


class _Loose:
    """Files of networks that lie in a folder side by side; they are opened when one is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._found: dict[Component, tuple[int, Part]] | None = None
        self._fault: CheckpointError | None = None

    def part(self, component: Component) -> Part | None:
        """The network from the largest file that has it: of the same weights, the most exact ones."""
        if self._found is None:
            self._found = {}
            self._open_all()
        if component in self._found:
            return self._found[component][1]
        if self._fault is not None:  # perhaps it was in there
            raise self._fault
        return None

    def _open_all(self) -> None:
        assert self._found is not None
        for file in sorted(it for it in self._folder.iterdir() if it.suffix in FILE_ENDINGS and it.is_file()):
            try:
                size, tensors = file.stat().st_size, read_tensors(file)
                stranger = stranger_in(tensors)
                if stranger is not None and not stranger.is_relative:
                    continue
                parts = _parts(tensors, file, {})
            except (CheckpointError, OSError) as error:
                self._fault = self._fault or (error if isinstance(error, CheckpointError) else None)
                continue
            for component, part in parts.items():
                if component not in self._found or self._found[component][0] < size:
                    self._found[component] = size, part


def _parts(tensors: Mapping[str, Tensor], origin: Path, sizes: Mapping[str, Any]) -> dict[Component, Part]:
    refuse_stranger(tensors, origin)
    found = networks_in(tensors, str(origin))
    weights = {component: ForeignWeights(form, mine, sizes, str(origin)) for component, (form, mine) in found.items()}
    return {component: Part(its.config, partial(lambda same: same, its)) for component, its in weights.items()}


def _sizes(file: Path, component: Component) -> dict[str, Any]:
    """What a config.json of diffusers or transformers says, in the words used here."""
    if not file.is_file():
        return {}
    raw = _object(file)
    raw = raw.get("text_config", raw) if component == "clip_text" else raw
    if not isinstance(raw, dict):
        raise CheckpointCorrupt(f"{file}: its text_config is not an object of settings.", hint=DAMAGED_HINT)
    words = WORDS[component]
    return {words.get(name, name): tuple(v) if isinstance(v, list) else v for name, v in raw.items() if v is not None}


def _object(file: Path) -> dict[str, Any]:
    try:
        with opened(file) as its:
            raw = json.loads(its.read().decode())
    except (ValueError, RecursionError) as error:
        raise CheckpointCorrupt(f"{file} is not JSON ({error}).", hint=DAMAGED_HINT) from error
    if not isinstance(raw, dict):
        raise CheckpointCorrupt(f"{file} is not an object of settings.", hint=DAMAGED_HINT)
    return raw
