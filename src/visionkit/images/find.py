"""`find_images`: which files of a folder are pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from ..errors import SourceError
from .sources import describe

SUFFIXES: Final = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .gif .webp .bmp .tif .tiff .ppm .pgm .pbm .pnm .pfm .ico .avif".split()
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
        SourceError: `folder` is missing or no folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise SourceError(f"cannot search {describe(folder)}: no such folder")
    seen: set[tuple[int, int]] = set()
    found: list[Path] = []
    for here, folders, names in os.walk(root, followlinks=False):
        folders[:] = sorted(n for n in folders if recursive and not n.startswith("."))
        for name in sorted(names):
            path = Path(here, name)
            if name.startswith(".") or path.suffix.lower() not in SUFFIXES or path.is_symlink() or not path.is_file():
                continue
            status = path.stat()
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                found.append(path)
    return sorted(found)
