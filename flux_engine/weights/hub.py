"""A checkpoint from the Hugging Face Hub, through its own library and cache. Knows no network and no request.

The library resumes what was interrupted, and shows its own bars on a terminal.
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flux_engine.errors import CheckpointError, CheckpointNotFound, RequestError

OWN = ("*/config.json", "*/state/*", "tokenizer/*", "tokenizer_2/*")
DIFFUSERS = (
    *("model_index.json", "*/config.json", "*/*.safetensors", "*/*.safetensors.index.json"),
    *("tokenizer/*", "tokenizer_2/*"),
)
FILES = ("*.safetensors", "*.gguf", *DIFFUSERS)
SPARE_BYTES = 100_000_000


def download(repo: str) -> str:
    """The local folder of a checkpoint on the Hugging Face Hub; its files go into the Hub's ordinary cache.

    Of what the repository holds, one layout is fetched: this project's own, else diffusers', else single files.

    Raises:
        RequestError: `repo` is no name of a repository.
        CheckpointError: the repository is gated, missing or out of reach, holds no weights, or the disk has no room.
    """
    from huggingface_hub import errors, snapshot_download  # takes a while to import

    try:
        with _quiet(not sys.stderr.isatty()):
            return snapshot_download(repo, allow_patterns=_wanted(repo))
    except CheckpointError:
        raise
    except errors.HFValidationError:
        raise RequestError(f"{repo!r} is no repository name; expected OWNER/NAME.") from None
    except errors.GatedRepoError:
        hint = "Accept its terms on huggingface.co, then run 'hf auth login'."
        raise CheckpointError(f"{repo} is gated.", hint=hint) from None
    except errors.RepositoryNotFoundError:
        hint = "Check the name; a private one needs 'hf auth login'."
        raise CheckpointNotFound(f"{repo} is not on the Hub.", hint=hint) from None
    except Exception as error:  # the library's HTTP client, and with it the faults, change between its releases
        reason = (str(error).splitlines() or ["no answer"])[0]
        hint = "What has come is kept: run it again when the network is there, or name a folder with --checkpoint-dir."
        if getattr(error, "errno", None) == 28:  # no space left
            hint = "Make room, or set HF_HOME to a folder on another disk."
        raise CheckpointError(f"{repo} could not be downloaded: {reason}", hint=hint) from None


def _wanted(repo: str) -> list[str]:
    """The files to fetch; patterns where the Hub cannot be asked, so that what is in the cache is found.

    Raises:
        CheckpointError: there is no checkpoint, or no room for it. What the Hub's library raises passes.
    """
    from huggingface_hub import constants, errors, snapshot_download

    try:
        with _quiet(True):
            found = snapshot_download(repo, allow_patterns=[*OWN, *FILES], dry_run=True)
    except (errors.GatedRepoError, errors.RepositoryNotFoundError, errors.HFValidationError):
        raise
    except Exception:  # no network; as above
        return [*OWN, *FILES]
    names = chosen(file.filename for file in found)
    if not any(name.endswith((".safetensors", ".gguf")) or "/state/" in name for name in names):
        raise CheckpointNotFound(
            f"{repo} holds no weights.", hint="Name a repository of FLUX.1 in a layout known here."
        )
    needed = sum(file.file_size or 0 for file in found if file.filename in names and file.will_download)
    cache = Path(constants.HF_HUB_CACHE)
    free = shutil.disk_usage(next(place for place in (cache, *cache.parents) if place.exists())).free
    if needed and free < needed + SPARE_BYTES:
        raise CheckpointError(
            f"{repo} takes {needed / 1e9:.1f} GB, and {cache} has {free / 1e9:.1f} GB free.",
            hint="Make room, or set HF_HOME to a folder on another disk.",
        )
    return names


def chosen(names: Iterable[str]) -> list[str]:
    """Of the files in a repository, those of one layout."""
    names = sorted(names)
    folders = [name for name in names if "/" in name]
    if any("/state/" in name for name in folders):
        return [name for name in folders if not name.endswith((".safetensors", ".index.json"))]
    if any(name.startswith("transformer/") and name.endswith(".safetensors") for name in folders):
        return [*folders, *(name for name in names if name == "model_index.json")]
    return names


@contextmanager
def _quiet(is_quiet: bool) -> Iterator[None]:
    """Without the library's bars and warnings, where nobody would see them move."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger, had_bars = logging.getLogger("huggingface_hub"), not are_progress_bars_disabled()
    level = logger.level
    logger.setLevel(logging.ERROR)
    if is_quiet:
        disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if is_quiet and had_bars:
            enable_progress_bars()
