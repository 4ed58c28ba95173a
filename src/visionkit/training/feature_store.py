"""Features on the disk: whole, checked before they are used, and no more than a bound."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .. import atomic, errors
from ..errors import Failure, VisionkitError
from ..log import log

VALUES_FILE: Final = "features.npy"
CELLS_FILE: Final = "sketches.npy"
RECORD_FILE: Final = "record.json"
FORMAT: Final = 1

MAX_BYTES: Final = 10 * 2**30
"""What all features together may take on the disk; the longest unused go first."""

_MAX_RECORD: Final = 2**28
_ABANDONED_SECONDS: Final = 24 * 3600.0
"""After which a folder without a record is no longer being written."""


@dataclass(frozen=True)
class Kept:
    """Features as they are kept.

    Attributes:
        values: float32 (N, V, D), in memory or of a file.
        indices: (N,) positions of the pictures.
        cells: uint8 (N, 8, 9), their sketches.
        failures: pictures that could not be loaded.
    """

    values: npt.NDArray[np.float32]
    indices: tuple[int, ...]
    cells: npt.NDArray[np.uint8]
    failures: tuple[Failure, ...]


class Store:
    """Features by their fingerprints, a folder each.

    Args:
        folder: of the store; made when it is first written to.
        max_bytes: what it may take.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def read(self, fingerprint: str, *, count: int, views: int) -> Kept | None:
        """The features of that fingerprint; None where there are none, or damaged or other ones.

        Args:
            fingerprint: of model, pictures and views.
            count: pictures in all.
            views: of each.
        """
        folder = self._folder / fingerprint
        try:
            if (folder / RECORD_FILE).stat().st_size > _MAX_RECORD:
                return None
            record = json.loads((folder / RECORD_FILE).read_bytes())
            found = _read(folder, record, count, views)
            os.utime(folder / RECORD_FILE)  # used just now
        except FileNotFoundError:
            return None
        except Exception as err:  # noqa: BLE001 - whatever stands in those files: they are made again
            log.warning("visionkit: kept features are damaged, and are made again: %s: %s", folder, err)
            return None
        return found

    def allocate(self, fingerprint: str, shape: tuple[int, int, int]) -> npt.NDArray[np.float32] | None:
        """An array in a file, to be filled and given to `write`; None where the disk refuses."""
        folder = self._folder / fingerprint
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            array: npt.NDArray[np.float32] = np.lib.format.open_memmap(
                folder / f".{os.getpid()}.{VALUES_FILE}", mode="w+", dtype=np.float32, shape=shape
            )
        except OSError as err:
            log.warning("visionkit: features stay in memory: %s", err)
            return None
        return array

    def write(self, fingerprint: str, made: Kept) -> Kept:
        """Keeps features, and makes room for them; a disk that refuses is said in the log, and no error."""
        folder = self._folder / fingerprint
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                (folder / RECORD_FILE).unlink()  # it speaks of what is about to be replaced
            made = _write_values(folder, made)
            _write_array(folder / CELLS_FILE, made.cells)
            atomic.write_file(folder / RECORD_FILE, json.dumps(_record(folder, made)).encode())
            self._make_room(folder)
        except OSError as err:
            log.warning("visionkit: features are not kept: %s", err)
        return made

    def clear(self) -> None:
        """Removes all features."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _make_room(self, newest: Path) -> None:
        """Removes the longest unused beyond the bound, and what was never finished."""
        known: list[tuple[float, int, Path]] = []
        for folder in self._folder.iterdir():
            record = folder / RECORD_FILE
            with suppress(FileNotFoundError, NotADirectoryError):  # another process may make room too
                used = (record if record.exists() else folder).stat().st_mtime
                if not record.exists() and time.time() - used > _ABANDONED_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
                    continue
                known.append((used, sum(path.stat().st_size for path in folder.iterdir()), folder))
        total = sum(size for _, size, _ in known)
        for _, size, folder in sorted(known):
            if total <= self._max_bytes:
                break
            if folder != newest or size > self._max_bytes:
                shutil.rmtree(folder, ignore_errors=True)
                total -= size

    def __str__(self) -> str:
        return str(self._folder)


def _write_values(folder: Path, made: Kept) -> Kept:
    if not isinstance(made.values.base, np.memmap) and not isinstance(made.values, np.memmap):
        _write_array(folder / VALUES_FILE, made.values)
        return made
    whole: Any = made.values if isinstance(made.values, np.memmap) else made.values.base
    whole.flush()
    building = Path(whole.filename)
    with building.open("rb+") as file:
        os.fsync(file.fileno())
    building.replace(folder / VALUES_FILE)
    atomic.sync_folder(folder)
    return replace(made, values=np.asarray(made.values))


def _write_array(path: Path, array: npt.NDArray[Any]) -> None:
    file = atomic.FileWriter(path)
    try:
        np.lib.format.write_array(_Pieces(file), np.ascontiguousarray(array), allow_pickle=False)
        file.keep()
    finally:
        file.discard()


class _Pieces:
    """What `write_array` wants of a file."""

    def __init__(self, file: atomic.FileWriter) -> None:
        self._file = file

    def write(self, data: bytes) -> int:
        self._file.write(data)
        return len(data)


def _record(folder: Path, made: Kept) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "indices": list(made.indices),
        "failures": [failure.model_dump() for failure in made.failures],
        "sha256": {name: _digest(folder / name) for name in (VALUES_FILE, CELLS_FILE)},
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(folder: Path, record: dict[str, Any], count: int, views: int) -> Kept:
    if record["format"] != FORMAT:
        raise ValueError(f"it has format {record['format']}")
    for name in (VALUES_FILE, CELLS_FILE):
        if _digest(folder / name) != record["sha256"][name]:
            raise ValueError(f"{name} is not what was written")
    mapped = (folder / VALUES_FILE).stat().st_size > 2**30
    # copied on write: nothing that training does reaches the file
    values = np.load(folder / VALUES_FILE, mmap_mode="c" if mapped else None, allow_pickle=False)
    cells = np.load(folder / CELLS_FILE, allow_pickle=False)
    indices = tuple(int(index) for index in record["indices"])
    failures = tuple(_failures(record["failures"]))
    values = np.asarray(values)[: len(indices)]
    if values.dtype != np.float32 or values.ndim != 3 or values.shape[:2] != (len(indices), views):
        raise ValueError(f"the features are {values.dtype} {values.shape}")
    if cells.dtype != np.uint8 or cells.shape != (len(indices), 8, 9):
        raise ValueError(f"the sketches are {cells.dtype} {cells.shape}")
    if sorted([*indices, *(failure.index for failure in failures)]) != list(range(count)):
        raise ValueError("it is of other pictures")
    return Kept(values, indices, cells, failures)


def _failures(records: list[dict[str, Any]]) -> Iterator[Failure]:
    for record in records:
        kind = getattr(errors, str(record["error"]), VisionkitError)
        if not (isinstance(kind, type) and issubclass(kind, VisionkitError)):
            kind = VisionkitError
        yield Failure(str(record["source"]), int(record["index"]), kind(str(record["message"])))
