"""Folders of models: one on this machine, or a repository's snapshot in the hub's cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import ModelNotFoundError
from .hub import fetching


def model_folder(
    name: str,
    *,
    prefix: str,
    revision: str | None = None,
    patterns: Sequence[str],
    megabytes: float | None = None,
) -> Path:
    """The folder that a name means: itself, or the snapshot of a repository, which is fetched when it is not here.

    Args:
        name: a folder, or a repository as `owner/name`.
        prefix: of the model's name, for messages.
        revision: a branch, tag or commit of the repository.
        patterns: which of the repository's files are wanted; nothing else is fetched.
        megabytes: its size, where it is known.

    Raises:
        ModelNotFoundError: no such folder; or a repository that is not here, and cannot or must not be fetched.
    """
    whole = f"{name}@{revision}" if revision else name
    if Path(whole).is_dir():  # also a folder with an @ in its name
        return Path(whole)
    from huggingface_hub import snapshot_download  # here: a folder of one's own needs no hub
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns), local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    except HFValidationError as err:
        raise ModelNotFoundError(
            f"no model '{prefix}:{whole}': {name!r} is no folder here, and cannot be a repository's name (owner/name)"
        ) from err
    ahead = f"hf download {name}{f' --revision {revision}' if revision else ''}"
    with fetching(f"{prefix}:{whole}", source=f"Hugging Face, repository {name}", ahead=ahead, megabytes=megabytes):
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
