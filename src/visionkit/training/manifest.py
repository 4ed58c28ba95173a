"""Tables of pictures: CSV, JSONL or Parquet with the columns image and label, and maybe split."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from ..errors import InputError, SourceError
from ..extras import require
from ..images import describe
from .labelled import Labelled, Row, from_rows

_NO_PATH: Final = re.compile(r"\s*([a-z][a-z0-9+.-]+:/|data:|//|\\\\)", re.ASCII | re.IGNORECASE)
"""What is an address, or would be sent to another machine: `load_image` knows what to do with it."""


def read_manifest(path: Path) -> Labelled:
    """A table's rows; image paths are relative to the table's folder.

    In a CSV, a label that is a JSON list (`["cat", "indoors"]`) is several labels.

    Raises:
        SourceError: it cannot be read.
        InputError: it is no such table, lacks a column, or a row has no image or no name for its label.
        MissingExtraError: pyarrow, which Parquet needs, is not installed.
    """
    name = describe(path)
    try:
        rows = list(_READERS[path.suffix.lower()](path, name))
    except OSError as err:
        raise SourceError(f"cannot read {name}: {err.strerror or err}") from err
    except UnicodeDecodeError as err:
        raise InputError(f"{name} is not in UTF-8: {err}") from err

    def place_of(index: int) -> str:
        return f"row {index + 1} of {name}"

    return from_rows((_row(row, path.parent, place_of(i)) for i, row in enumerate(rows)), place_of)


def is_manifest(path: Path) -> bool:
    """Whether a name is a table's."""
    return path.suffix.lower() in _READERS


def _row(row: dict[str, Any], folder: Path, place: str) -> Row:
    image = row.get("image")
    if isinstance(image, dict):  # as Hugging Face's data sets have it
        image = image.get("bytes") or image.get("path")
    if not isinstance(image, (str, bytes)) or not image:
        raise InputError(f"{place} has no image: {image!r:.100}")
    if isinstance(image, str) and not _NO_PATH.match(image):
        return Path(folder, image), row.get("label"), row.get("split")
    return image, row.get("label"), row.get("split")


def _check_columns(found: Any, name: str) -> None:
    columns = [str(column) for column in found or ()]
    missing = [column for column in ("image", "label") if column not in columns]
    if missing:
        raise InputError(
            f"{name} has no column {missing[0]!r}: it needs image and label, and may have split; it has "
            f"{', '.join(columns[:10]) or 'none'}"
        )


def _csv(path: Path, name: str) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            table = csv.DictReader(file, strict=True)
            _check_columns(table.fieldnames, name)
            rows = list(table)
        except csv.Error as err:
            raise InputError(f"{name} is no CSV table: {err}") from err
    lists = [_json_list(row.get("label")) for row in rows]
    several = bool(lists) and all(names is not None for names in lists)
    for row, names in zip(rows, lists, strict=True):
        yield {**row, "label": names} if several else dict(row)


def _json_list(cell: Any) -> list[Any] | None:
    if not isinstance(cell, str) or not cell.lstrip().startswith("["):
        return None
    try:
        names = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    return names if isinstance(names, list) else None


def _jsonl(path: Path, name: str) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as err:
                raise InputError(f"line {number} of {name} is no JSON") from err
            if not isinstance(row, dict):
                raise InputError(f"line {number} of {name} is no JSON object")
            _check_columns(row, f"line {number} of {name}")
            yield row


def _parquet(path: Path, name: str) -> Iterator[dict[str, Any]]:
    pa: Any = require("pyarrow")
    pq: Any = require("pyarrow.parquet")

    try:
        with pq.ParquetFile(path) as file:
            _check_columns(file.schema_arrow.names, name)
            columns = [c for c in ("image", "label", "split") if c in file.schema_arrow.names]
            for batch in file.iter_batches(columns=columns):
                yield from batch.to_pylist()
    except pa.ArrowException as err:
        raise InputError(f"{name} is no Parquet file, or a damaged one: {err}") from err


_READERS: Final[dict[str, Callable[[Path, str], Iterator[dict[str, Any]]]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
}
