"""Which sources have the same bytes: told by size, then by both ends, then by all, so that few are read in full."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..images import Source
from .datasets import Item

_END: Final = 4096


def equal_sources(sources: Sequence[Source]) -> list[list[int]]:
    """Groups of positions (two at least) whose files, bytes or arrays are equal; what cannot be read is in none.

    Addresses, open pictures and what must first be made are not looked at.
    """
    groups: list[list[int]] = [list(range(len(sources)))]
    for key_of in (_size, _ends, content_digest):
        groups = [part for group in groups for part in _parted(group, sources, key_of)]
    return groups


def _parted(
    group: Iterable[int], sources: Sequence[Source], key_of: Callable[[Source], Hashable | None]
) -> list[list[int]]:
    parts: dict[Hashable, list[int]] = defaultdict(list)
    for index in group:
        key = key_of(sources[index])
        if key is not None:
            parts[key].append(index)
    return [part for part in parts.values() if len(part) > 1]


def file_path(source: object) -> str | None:
    """The path of a source that is a local file's; an address is none."""
    if isinstance(source, os.PathLike):
        return os.fsdecode(source)
    if isinstance(source, str) and "://" not in source and not source.startswith(("data:", "//", "\\\\")):
        return source
    return None


def _size(source: Source) -> Hashable | None:
    path = file_path(source)
    if path is not None:
        try:
            status = os.stat(path)  # noqa: PTH116 - a hundred thousand times: half of the cost would be Path's
        except (OSError, ValueError):
            return None
        return ("bytes", status.st_size) if stat.S_ISREG(status.st_mode) else None
    if isinstance(source, (bytes, bytearray, memoryview)):
        return ("bytes", memoryview(source).nbytes)
    if isinstance(source, np.ndarray):
        return ("array", source.shape, str(source.dtype))
    return "item" if isinstance(source, Item) and source.content else None


def _ends(source: Source) -> Hashable | None:
    path = file_path(source)
    if path is None:
        return content_digest(source)
    try:
        with Path(path).open("rb", buffering=0) as file:
            start = file.read(_END)
            if len(start) == _END:
                file.seek(max(_END, file.seek(0, os.SEEK_END) - _END))
            return hashlib.blake2b(start + file.read(_END), digest_size=16).digest()
    except (OSError, ValueError):
        return None


def content_digest(source: Any) -> bytes | None:
    """A digest of all that a source holds; None for what cannot be told without fetching or making it."""
    digest = hashlib.blake2b(digest_size=16)
    path = file_path(source)
    if path is not None:
        try:
            with Path(path).open("rb") as file:
                return hashlib.file_digest(file, lambda: digest).digest()
        except (OSError, ValueError):
            return None
    if isinstance(source, (bytes, bytearray, memoryview)):
        digest.update(source)
    elif isinstance(source, np.ndarray):
        digest.update(f"{source.shape} {source.dtype}".encode())
        digest.update(np.ascontiguousarray(source).data)
    elif isinstance(source, Item) and source.content:
        digest.update(_read(source))
    else:
        return None
    return digest.digest()


def _read(item: Item) -> bytes:
    data = item.read()
    while item.read():
        pass
    return data
