"""Folders of models: one on this machine, or a repository's snapshot in the hub's cache."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ..errors import ModelLoadError, ModelNotFoundError
from .configs import weight_files
from .hub import fetching_repository

_SHOWN: Final = 200
_REPOSITORY: Final = re.compile(r"(\w([\w.-]{0,94}\w)?/)?\w([\w.-]{0,94}\w)?", re.ASCII)
"""As the hub's own client checks names."""

_WORDS: Final = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("vocab.txt",), ("*.model",))
"""Forms in which the words of a tokenizer come: all files of one."""


def find_folder(name: str, *, prefix: str, revision: str | None = None) -> Path | None:
    """The folder on this machine that a name means, `~` being one's home; None where there is none.

    Args:
        name: of a model, without its prefix.
        prefix: of the model's name, for messages.
        revision: what followed an @: part of a folder's name, or the revision of a repository.

    Raises:
        ModelNotFoundError: there is no name.
        ModelLoadError: a folder with a revision, which has none.
    """
    whole = f"{name}@{revision}" if revision else name
    if not name.strip():
        raise ModelNotFoundError(
            f"'{prefix}:{shorten(whole)}' names no model: a folder or a repository (owner/name) belongs after the colon"
        )
    folder = _folder(whole)  # also a folder with an @ in its name
    if folder is None and revision and _folder(name):
        raise ModelLoadError(f"{prefix}:{shorten(whole)}: a folder has no revisions; leave out @{revision}")
    return folder


def _folder(name: str) -> Path | None:
    try:
        path = Path(name).expanduser()
        return path if path.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long; no such user; a character that no path has
        return None


def check_repository(name: str, shown: str, *, owner: bool = True) -> None:
    """Refuses what cannot be a repository's name.

    Args:
        name: perhaps a repository.
        shown: the model's whole name, for messages.
        owner: the form `owner/name` is wanted; otherwise, as in other models' configurations, `name` is one too.

    Raises:
        ModelNotFoundError: it cannot.
    """
    good = _REPOSITORY.fullmatch(name) and "--" not in name and ".." not in name and not name.endswith(".git")
    if not good or (owner and "/" not in name):
        raise ModelNotFoundError(
            f"no model {shorten(shown)!r}: {shorten(name)!r} is no folder here, and cannot be a repository's name "
            f"(owner/name)"
        )


def model_folder(
    name: str,
    *,
    prefix: str,
    revision: str | None = None,
    patterns: Sequence[str],
    whole: Callable[[Path], bool],
    megabytes: float | None = None,
) -> Path:
    """The folder that a name means: itself, or the snapshot of a repository, which is fetched when it is not here.

    Args:
        name: a folder, or a repository as `owner/name`.
        prefix: of the model's name, for messages.
        revision: a branch, tag or commit of the repository.
        patterns: which of the repository's files are wanted; nothing else is fetched.
        whole: whether a snapshot has all that is needed: an interrupted download leaves a part.
        megabytes: its size, where it is known.

    Raises:
        ModelNotFoundError: no such folder; or a repository that is not here, and cannot or must not be fetched.
        ModelLoadError: a folder with a revision.
    """
    folder = find_folder(name, prefix=prefix, revision=revision)
    if folder is not None:
        return folder
    shown = f"{prefix}:{name}@{revision}" if revision else f"{prefix}:{name}"
    check_repository(name, shown)
    return snapshot(name, shown, revision=revision, patterns=patterns, whole=whole, megabytes=megabytes)


def snapshot(
    repository: str,
    shown: str,
    *,
    revision: str | None = None,
    patterns: Sequence[str],
    whole: Callable[[Path], bool],
    megabytes: float | None = None,
    hint: str = "",
) -> Path:
    """The snapshot of a repository in the hub's cache; fetched when it, or a part of it, is not here.

    Args:
        repository: of the hub.
        shown: what is fetched, for messages.
        revision: a branch, tag or commit of the repository.
        patterns: which of the repository's files are wanted; nothing else is fetched.
        whole: whether a snapshot has all that is needed: an interrupted download leaves a part.
        megabytes: its size, where it is known.
        hint: see `fetching_repository`.

    Raises:
        ModelNotFoundError: it cannot or must not be fetched.
    """
    from huggingface_hub import snapshot_download  # here: a folder of one's own needs no hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    files = list(patterns)
    try:
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=files, local_files_only=True))
        if whole(folder):
            return folder
    except LocalEntryNotFoundError:
        pass
    with fetching_repository(shown, repository, revision=revision, megabytes=megabytes, hint=hint):
        return Path(snapshot_download(repository, revision=revision, allow_patterns=files))


def whole_weights(folder: Path) -> bool:
    """Whether a folder has weights as safetensors, with all the parts that an index names."""
    if not any(folder.glob("*.safetensors")):
        return False
    for index in folder.glob("*.safetensors.index*.json"):
        try:
            files = weight_files(index, index.name)
        except ModelLoadError:  # said when it is loaded
            continue
        if not all((folder / Path(file).name).exists() for file in files):
            return False
    return True


def whole_tokenizer(folder: Path) -> bool:
    """Whether a folder has a tokenizer: its settings, and its words in one of the forms they come in."""
    words = any(all(any(folder.glob(file)) for file in files) for files in _WORDS)
    return words and (folder / "tokenizer_config.json").exists()


def remember(folder: Path, revision: str | None) -> None:
    """Notes in the hub's cache that a branch or tag is this snapshot, as the hub's client does for its own downloads.

    Args:
        folder: a snapshot in the cache, named by its commit.
        revision: the branch or tag; None: main. The commit itself needs no note.
    """
    name = revision or "main"
    if (
        folder.parent.name == "snapshots"
        and name != folder.name
        and not name.startswith("/")
        and ".." not in name.split("/")
    ):
        path = folder.parent.parent / "refs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(folder.name, "utf-8")


def shorten(name: str) -> str:
    """A name for a message, however long a mistake made it."""
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}… ({len(name):,} characters)"
