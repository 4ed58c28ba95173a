"""What a text tower takes from transformers, its configuration and its tokenizer: found, fetched and checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ..errors import ModelLoadError, ModelNotFoundError
from ..models.configs import read_config
from ..models.snapshots import check_repository, snapshot

TOWER: Final = ("config.json",)
TOKENIZER: Final = (
    "config.json",  # by which transformers chooses the class
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
)


def text_folder(name: str, full: str, what: str, patterns: Sequence[str], whole: Callable[[Path], bool]) -> Path:
    """The folder that a configuration names, with nothing in it that would run code.

    A repository's name is never a folder, whatever lies in the working directory.

    Args:
        name: a repository of the hub, or the whole path of a folder.
        full: the model's name, for messages.
        what: is wanted of it, for messages.
        patterns: the files.
        whole: whether a folder has all that is needed.

    Raises:
        ModelNotFoundError: a repository that is not here, and cannot or must not be fetched.
        ModelLoadError: a folder by a relative path; or what `check_text_folder` refuses.
    """
    path = Path(name)
    try:
        folder = path if path.is_absolute() and path.is_dir() else None
    except (OSError, ValueError):  # too long; a character that no path has
        folder = None
    if folder is None:
        try:
            check_repository(name, full, owner=False)
        except ModelNotFoundError as err:
            raise ModelLoadError(
                f"{full}: its configuration takes the {what} from {name[:200]!r}, which is neither a repository's name "
                f"nor the whole path of a folder that is here"
            ) from err
        folder = snapshot(name, f"the {what} of {full}", patterns=patterns, whole=whole)
    check_text_folder(folder, full)
    return folder


def check_text_folder(folder: Path, full: str) -> None:
    """Reads the configurations before transformers does.

    Raises:
        ModelLoadError: one that cannot be read, or would run code.
    """
    for path in sorted(folder.glob("*config.json")):
        read_config(path, full)


def is_tower(folder: Path) -> bool:
    """Whether a folder has the configuration of a network."""
    return (folder / "config.json").exists()
