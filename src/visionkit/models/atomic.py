"""Folders that are whole or not there: written beside their place, synced, and exchanged with what was there."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from ..atomic import sync_folder

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_UNABLE: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
"""What a kernel or file system says that cannot exchange."""

_PATIENCE_SECONDS: Final = 10.0
"""Others hold a folder for a few renames; what holds one longer is stopped, or no save."""


@contextmanager
def replacing(target: Path, *, held: bool = False) -> Iterator[Path]:
    """Gives a new folder to fill, and puts it in the place of `target` when the block ends well.

    An older folder is there until the new one is, on Linux in one step. A process that is killed leaves at most a
    hidden folder beside, which the next call for the same target removes. Of several processes that do so at once, each
    takes its turn, and the last one's folder stays.

    Args:
        target: the folder.
        held: whether the caller holds the folder around it already, as a training holds its own.

    Raises:
        OSError: the disk refuses; what was there before is there still, and nothing else.
    """
    building = _beside(target, "tmp")
    lock: int | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target.parent, held=held):
            _sweep(target)  # and between this and the lock no other's sweep, which would take the folder for left
            building.mkdir()
            lock = _lock(building)
        yield building
        sync_folder(building)
        with _alone(target.parent, held=held):
            _move_into_place(building, target)
    except OSError as err:
        told = f"{err.strerror or err}: {target} was not saved; what was there before is untouched"
        raise OSError(err.errno, told) from err
    finally:
        _discard(building)  # the older folder by now, when all went well
        if lock is not None:
            os.close(lock)


def recover(target: Path, *, held: bool = False) -> bool:
    """Brings back the folder of a save that was killed between two renames, where a system cannot exchange.

    A save that is between the two now is waited for.

    Args:
        target: the folder.
        held: see `replacing`.

    Returns:
        Whether the folder is there, brought back or not.
    """
    if not target.exists() and _leftovers(target, "old"):
        with _alone(target.parent, held=held):
            _bring_back(target)
    return target.is_dir()


def _bring_back(target: Path) -> None:
    """What `recover` does, when no other process does anything there."""
    asides = [p for p in _leftovers(target, "old") if p.is_dir()]
    if asides and not target.exists():
        max(asides, key=lambda path: path.stat().st_mtime_ns).replace(target)


def is_leftover(path: Path) -> bool:
    """Whether an entry of a folder is what a killed save left there."""
    return re.fullmatch(r"\..+\.[0-9a-f]{12}\.(tmp|old|new)", path.name) is not None and not path.is_symlink()


def _move_into_place(building: Path, target: Path) -> None:
    undo = _take_place(building, target)
    try:
        sync_folder(target.parent)
    except OSError:
        undo()
        raise
    for aside in _leftovers(target, "old"):
        _discard(aside)


def _take_place(building: Path, target: Path) -> Callable[[], object]:
    """Renames; returns what takes it back."""
    if not target.exists():
        try:
            building.replace(target)
        except OSError as err:
            if err.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return lambda: target.replace(building)
    if _exchange(building, target):
        return lambda: _exchange(building, target)
    aside = _beside(target, "old")
    target.replace(aside)
    try:
        building.replace(target)
    except OSError:
        with suppress(FileNotFoundError):  # without locks, another process may have brought it back
            aside.replace(target)
        raise

    def undo() -> None:
        target.replace(building)
        aside.replace(target)

    return undo


def _exchange(one: Path, other: Path) -> bool:
    """Swaps two folders in one step; False where the system cannot."""
    rename = _renameat2()
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNABLE:
        return False
    raise OSError(code, os.strerror(code), str(other))


@lru_cache(maxsize=1)
def _renameat2() -> Any:
    """Linux's own call, by the C library; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


@contextmanager
def _alone(folder: Path, *, held: bool = False) -> Iterator[None]:
    """Within it no other save or recovery looks at or changes what lies in a folder, where the system has locks."""
    lock: int | None = None
    deadline = time.monotonic() + (0.0 if held else _PATIENCE_SECONDS)
    while time.monotonic() < deadline:
        try:
            lock = _lock(folder)
        except BlockingIOError:
            time.sleep(0.01)
            continue
        except PermissionError:  # a folder that may be written to, and not read
            pass
        break
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Holds a folder for as long as this process lives and the number is open; None where the system has no locks.

    Raises:
        BlockingIOError: another holds it.
        OSError: it cannot be opened.
    """
    if os.name != "posix":  # other systems cannot open a folder
        return None
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # a file system without locks
        os.close(descriptor)
        return None
    return descriptor


def _sweep(target: Path) -> None:
    """Removes what killed processes left: folders that nobody holds."""
    _bring_back(target)
    for left in _leftovers(target, "tmp"):
        with suppress(OSError):
            lock = _lock(left)
            if lock is not None:
                _discard(left)
                os.close(lock)


def _discard(folder: Path) -> None:
    """Removes a folder, by as few means as it takes: a disk that refuses may refuse these too."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if not entry.is_dir(follow_symlinks=False):
                Path(entry).unlink()
        folder.rmdir()
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


def _beside(target: Path, kind: str) -> Path:
    """A hidden name beside the target, on the same file system, that nothing else has."""
    return target.parent / f".{target.name}.{secrets.token_hex(6)}.{kind}"


def _leftovers(target: Path, kind: str) -> list[Path]:
    pattern = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{12}}\.{kind}")
    if not target.parent.is_dir():
        return []
    return [p for p in target.parent.iterdir() if pattern.fullmatch(p.name) and not p.is_symlink()]
