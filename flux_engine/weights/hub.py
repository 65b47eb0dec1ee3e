"""A checkpoint from the Hugging Face Hub, through its own library and cache. Knows no network and no request."""

from __future__ import annotations

from flux_engine.errors import CheckpointError, CheckpointNotFound, RequestError

FILES = ["*/config.json", "*/state/*", "tokenizer/*", "tokenizer_2/*"]  # this layout, and no other weights beside it


def download(repo: str) -> str:
    """The local folder of a checkpoint on the Hugging Face Hub; its files go into the Hub's ordinary cache.

    Raises:
        RequestError: `repo` is no name of a repository.
        CheckpointError: the repository is gated, missing or out of reach.
    """
    from huggingface_hub import errors, snapshot_download  # takes a while to import

    try:
        return snapshot_download(repo, allow_patterns=FILES)
    except errors.HFValidationError:
        raise RequestError(f"{repo!r} is no repository name; expected OWNER/NAME.") from None
    except errors.GatedRepoError:
        hint = "Accept its terms on huggingface.co, then run 'hf auth login'."
        raise CheckpointError(f"{repo} is gated.", hint=hint) from None
    except errors.RepositoryNotFoundError:
        hint = "Check the name; a private one needs 'hf auth login'."
        raise CheckpointNotFound(f"{repo} is not on the Hub.", hint=hint) from None
    except (OSError, errors.HfHubHTTPError, errors.LocalEntryNotFoundError) as error:
        reason = (str(error).splitlines() or ["no answer"])[0]
        hint = "Check the network, or name a folder with --checkpoint-dir."
        raise CheckpointError(f"{repo} could not be downloaded: {reason}", hint=hint) from None
