"""What people give as a checkpoint of FLUX.1 that is none, and what to do with it instead.

By the names of a file's tensors, what a GGUF file says of itself, a file's first bytes, and what diffusers calls the
pipeline of a folder. Nothing here is needed to read a checkpoint: it is asked so that a refusal can say why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flux_engine.errors import CheckpointError, UnsupportedVariant
from flux_engine.weights.opening import opened

TAKE_FLUX = "Take FLUX.1-dev, FLUX.1-schnell or FLUX.1-Krea-dev."
TAKE_OTHER_TYPE = "Take the bf16, fp8 or GGUF file of this model."
PICKLES = (".ckpt", ".pt", ".pth", ".bin")
OWN_ARCHITECTURES = ("flux", "t5", "t5encoder")


@dataclass(frozen=True)
class Stranger:
    """A kind of file that is no checkpoint of FLUX.1.

    Attributes:
        what: completes "it ...".
        hint: the next move.
        is_relative: whether it has a transformer of FLUX's kind, so that it may be meant where one is missing.
    """

    what: str
    hint: str = TAKE_FLUX
    is_relative: bool = False


# A tensor that no file of FLUX.1 has -> what it is the mark of.
_MARKS: tuple[tuple[str, Stranger], ...] = (
    (
        r"\.quant_state\.bitsandbytes__(nf4|fp4)$|\.weight\.absmax$",
        Stranger("is quantised by bitsandbytes (NF4), which cannot be read here", TAKE_OTHER_TYPE, True),
    ),
    (r"\.wscales$", Stranger("is quantised for Nunchaku, which cannot be read here", TAKE_OTHER_TYPE, True)),
    (
        r"distilled_guidance_layer\.",
        Stranger("is Chroma, a relative of FLUX.1 that cannot be run here", TAKE_FLUX, True),
    ),
    (r"double_stream_modulation_img\.", Stranger("is FLUX.2, which cannot be run here", TAKE_FLUX, True)),
    (r"(^|\.)redux_(up|down)\.", Stranger("is FLUX.1 Redux, an adapter that cannot be used here")),
    (r"^(input_hint_block|controlnet_(blocks|x_embedder)|controlnet_single_blocks)\.", Stranger("is a ControlNet")),
    (r"^conditioner\.embedders\.1\.", Stranger("is a checkpoint of Stable Diffusion XL")),
    (r"(^|\.)joint_blocks\.0\.", Stranger("is a checkpoint of Stable Diffusion 3")),
    (r"^cond_stage_model\.|^model\.diffusion_model\.input_blocks\.", Stranger("is a checkpoint of Stable Diffusion")),
)
_LORA = Stranger("is a LoRA", "Name it with --lora, and a checkpoint with --checkpoint-dir.")
_LORA_NAME = re.compile(r"lora|hada_|lokr_|\.diff(_b)?$")

# diffusers' pipelines around the very transformer that is run here.
PIPELINES = frozenset({"FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline", "FluxControlNetPipeline"})
RELATIVES = {
    "FluxKontextPipeline": "FLUX.1 Kontext, which needs a picture",
    "FluxKontextInpaintPipeline": "FLUX.1 Kontext, which needs a picture",
    "FluxFillPipeline": "FLUX.1 Fill, which needs a picture",
    "FluxControlPipeline": "FLUX.1 Canny or Depth, which need a control picture",
    "FluxPriorReduxPipeline": "FLUX.1 Redux, which needs a picture",
}


def stranger_in(names: Iterable[str]) -> Stranger | None:
    """What a file with tensors of these names is, as far as one of them is the mark of something known."""
    names = list(names)
    return next((it for mark, it in _MARKS if any(map(re.compile(mark).search, names))), None)


def refuse_stranger(names: Iterable[str], origin: Path) -> None:
    """Raise for a file that is known to be no checkpoint of FLUX.1.

    Raises:
        UnsupportedVariant: `origin` is a relative of FLUX.1, or FLUX.1 in a type of weights that cannot be read.
        CheckpointError: it is another model.
    """
    if stranger := stranger_in(names):
        kind = UnsupportedVariant if stranger.is_relative else CheckpointError
        raise kind(f"{origin} {stranger.what}.", hint=stranger.hint)


def no_network(names: Iterable[str], file: Path) -> CheckpointError:
    """The fault of a file in which no network was found."""
    names = list(names)
    if any(map(_LORA_NAME.search, names)):
        return CheckpointError(f"{file} {_LORA.what}: it holds no network of FLUX.", hint=_LORA.hint)
    architecture = _architecture(file)
    if architecture is not None and architecture not in OWN_ARCHITECTURES:
        return CheckpointError(
            f"{file} holds no network of FLUX: its general.architecture is {architecture!r}.",
            hint="Take a GGUF file of FLUX.1-dev or FLUX.1-schnell, whose architecture is 'flux'.",
        )
    some = f", but {', '.join(names[:3])}" if names else ""
    return CheckpointError(f"{file} holds no network of FLUX{some}.", hint="Is it another model?")


def _architecture(file: Path) -> str | None:
    """What a GGUF file that has been read says of itself; None for what is none, or does not say it."""
    with opened(file) as its:
        if its.read(4) != b"GGUF":
            return None
    import gguf

    field = gguf.GGUFReader(file).get_field("general.architecture")
    return None if field is None else str(field.contents())


def refuse_pickle(file: Path) -> None:
    """Raise for a file as torch.save writes it, by its name or its first bytes.

    Raises:
        CheckpointError: it is one.
    """
    try:
        with opened(file) as its:
            magic = its.read(2)
    except OSError:
        return  # whoever reads it says so
    # A zip archive; a pickle of protocol 2 to 5, which torch wrote before.
    if file.suffix in PICKLES or magic == b"PK" or (magic[:1] == b"\x80" and magic[1:] in (b"\2", b"\3", b"\4", b"\5")):
        raise CheckpointError(
            f"{file} is a pickle, which can run any program when it is read, so it is not read.",
            hint="Take the .safetensors or .gguf file of this model.",
        )


def refuse_pipeline(name: object, origin: Path) -> None:
    """Raise unless diffusers calls a folder's pipeline by the name of one that can be run here, or by none.

    Raises:
        UnsupportedVariant: it is a relative of FLUX.1.
        CheckpointError: it is another model.
    """
    if name is None or str(name) in PIPELINES:
        return
    relative = RELATIVES.get(str(name))
    if relative is None:
        raise CheckpointError(f"{origin} names {name!r}, which is no pipeline of FLUX.1.", hint=TAKE_FLUX)
    raise UnsupportedVariant(f"{origin} names {name}: this is {relative}.", hint=TAKE_FLUX)
