"""`find_images`: which files of a folder are pictures."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from ..errors import SourceError
from .sources import name_for_error

SUFFIXES: Final = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".apng",
        ".gif",
        ".webp",
        ".bmp",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".pfm",
        ".ico",
        ".avif",
    ]
)
"""File name endings of the formats that are decoded."""


def find_images(folder: str | os.PathLike[str], *, recursive: bool = True) -> list[Path]:
    """The image files of a folder, told by their names' endings, sorted by path.

    Each file comes once, however many names it has; links are not followed, hidden files and folders (names with a
    leading dot) are left out, and so is whatever is not a regular file.

    Args:
        folder: the folder to search.
        recursive: also search the folders in it.

    Raises:
        SourceError: `folder` is missing or no folder, or one in it cannot be listed.
    """
    root = Path(folder)
    if not root.is_dir():
        what = "it is a file, not a folder" if root.is_file() else "no such folder"
        raise SourceError(f"cannot search {name_for_error(folder)}: {what}")
    paths: list[Path] = []
    for here, folders, names in os.walk(root, onerror=_refuse, followlinks=False):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        paths += [Path(here, name) for name in names if not name.startswith(".")]
    found: dict[tuple[int, int], Path] = {}
    for path in sorted(path for path in paths if path.suffix.lower() in SUFFIXES):
        try:
            status = path.lstat()
        except FileNotFoundError:  # it went while the folder was searched
            continue
        if stat.S_ISREG(status.st_mode):
            found.setdefault((status.st_dev, status.st_ino), path)
    return list(found.values())


def _refuse(err: OSError) -> None:
    """A folder left out in silence would look like an empty one."""
    raise SourceError(f"cannot search {name_for_error(err.filename)}: {err.strerror}") from err
