"""Tables of pictures: CSV, JSONL or Parquet with the columns image and label, and maybe split."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from ..errors import InputError, SourceError
from ..extras import require
from ..images import describe
from .labelled import Labelled, Row, from_rows

_NO_PATH: Final = re.compile(r"\s*([a-z][a-z0-9+.-]+:/|data:|//|\\\\)", re.ASCII | re.IGNORECASE)
"""What is an address, or would be sent to another machine: `load_image` knows what to do with it."""

_Found: TypeAlias = tuple[str, dict[str, Any]]
"""Where a row stands, such as "line 7", and its cells by their columns."""


def read_manifest(path: Path) -> Labelled:
    """A table's rows; image paths are relative to the table's folder.

    In a CSV, a label that is a JSON list (`["cat", "indoors"]`, or `[]`) is several labels; then every row has a list.

    Raises:
        SourceError: it cannot be read.
        InputError: it is no such table, lacks a column, or a row has no image or no name for its label.
        MissingExtraError: pyarrow, which Parquet needs, is not installed.
    """
    name = describe(path)
    try:
        found = list(_READERS[path.suffix.lower()](path, name))
    except OSError as err:
        raise SourceError(f"cannot read {name}: {err.strerror or err}") from err
    except UnicodeDecodeError as err:
        raise InputError(f"{name} is not in UTF-8: {err}") from err

    def place_of(index: int) -> str:
        return f"{found[index][0]} of {name}"

    return from_rows((_row(row, path.parent, place_of(i)) for i, (_, row) in enumerate(found)), place_of)


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


def _csv(path: Path, name: str) -> Iterator[_Found]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            rows = list(_lines(csv.reader(file, strict=True)))
        except csv.Error as err:
            raise InputError(f"{name} is no CSV table: {err}") from err
    head = rows[0][1] if rows else []
    _check_columns(head, name)
    for place, cells in rows[1:]:
        if len(cells) > len(head):  # a comma in a name that stands without quotes would be cut off there
            raise InputError(
                f"{name}, {place} has {len(cells)} cells for {len(head)} columns: quote what holds a comma"
            )
    table = [(place, dict(zip(head, cells, strict=False))) for place, cells in rows[1:]]
    lists = [_json_list(row.get("label")) for _, row in table]
    several = bool(lists) and all(names is not None for names in lists)
    for (place, row), names in zip(table, lists, strict=True):
        # A list of texts beside names is meant as one, and refused by who reads the rows.
        listed = several or (names is not None and all(isinstance(label, str) for label in names))
        yield place, {**row, "label": names} if listed else dict(row)


def _lines(reader: Any) -> Iterator[tuple[str, list[str]]]:
    """A CSV's rows, each with the line where it begins; those of nothing are left out."""
    before = 0
    for cells in reader:
        if cells:
            yield f"line {before + 1}", cells
        before = reader.line_num


def _json_list(cell: Any) -> list[Any] | None:
    if not isinstance(cell, str) or not cell.lstrip().startswith("["):
        return None
    try:
        names = json.loads(cell)
    except (ValueError, RecursionError):
        return None
    return names if isinstance(names, list) else None


def _jsonl(path: Path, name: str) -> Iterator[_Found]:
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
            yield f"line {number}", row


def _parquet(path: Path, name: str) -> Iterator[_Found]:
    pa: Any = require("pyarrow")
    pq: Any = require("pyarrow.parquet")

    try:
        with pq.ParquetFile(path) as file:
            _check_columns(file.schema_arrow.names, name)
            columns = [c for c in ("image", "label", "split") if c in file.schema_arrow.names]
            rows = (row for batch in file.iter_batches(columns=columns) for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                yield f"row {number}", row
    except pa.ArrowException as err:
        raise InputError(f"{name} is no Parquet file, or a damaged one: {err}") from err


_READERS: Final[dict[str, Callable[[Path, str], Iterator[_Found]]]] = {
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".parquet": _parquet,
}
