"""Files that are there as a whole or not at all: written beside their place, synced, and put there in one step."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from errno import EINVAL, ENOTSUP
from pathlib import Path
from typing import Final

_NO_SYNC: Final = (EINVAL, ENOTSUP)
"""What a file system says whose folders cannot be synced; the files in them are safe all the same."""


def write_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file that is there as a whole, after a power cut too, or not at all; an old one stays until then.

    Args:
        path: the file, replaced if it is there; its folder must be.
        data: all that it shall hold.

    Raises:
        OSError: the disk refuses. What was there before is there still, and nothing beside it; only where the folder
            alone could not be synced has the new file, whole, taken the place already.
    """
    file = FileWriter(path)
    try:
        file.write(data)
        file.keep()
    finally:
        file.discard()


def write_new(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes a file that is not there yet to the disk itself; one that failed may be there in part.

    Raises:
        OSError: the disk refuses, or the file is there.
    """
    descriptor = _create(path)
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FileWriter:
    """`write_file` piece by piece, for what does not fit into memory: `write` …, `keep`, and `discard` in any case."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._target = Path(path)
        # hidden, on the same file system, a name that nothing else has and that is not too long
        self._building = self._target.with_name(f".{self._target.name[:40]}.{secrets.token_hex(6)}.new")
        self._descriptor: int | None = _create(self._building)

    def write(self, data: bytes) -> None:
        """Adds to the file.

        Raises:
            OSError: the disk refuses.
        """
        if self._descriptor is None:
            raise ValueError(f"{self._target} was kept or discarded: nothing more can be written")
        _write_all(self._descriptor, data)

    def keep(self) -> None:
        """Puts the file in its place, on the disk itself.

        Raises:
            OSError: the disk refuses.
        """
        if self._descriptor is None:
            raise ValueError(f"{self._target} was kept or discarded already")
        os.fsync(self._descriptor)
        self._close()
        self._building.replace(self._target)
        sync_folder(self._target.parent)

    def discard(self) -> None:
        """Removes what was written; after `keep` there is nothing to remove."""
        with suppress(OSError):
            self._close()
        with suppress(OSError):
            self._building.unlink(missing_ok=True)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Brings a folder's names to the disk itself, where the system can.

    Raises:
        OSError: the disk refuses.
    """
    if os.name != "posix":  # other systems cannot open a folder
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as err:
        if err.errno not in _NO_SYNC:
            raise
    finally:
        os.close(descriptor)


def _create(path: str | os.PathLike[str]) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:  # a disk may take less than it is given
        rest = rest[os.write(descriptor, rest) :]
