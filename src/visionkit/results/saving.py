"""`save_results`: results as a file, by its suffix."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO, StringIO
from itertools import islice
from pathlib import Path
from typing import Any, Final

from pydantic_core import PydanticSerializationError

from ..atomic import FileWriter
from ..errors import InputError
from ..extras import require
from ..images import describe
from .tables import Columns, Row, each_result, one_table, plain
from .values import ColumnKind

TOP: Final = 5
"""Labels of a classification that a CSV file shows, of all that it scored."""

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_REPLACED: Final = "\ufffd".encode()
_ROWS: Final = 4096  # of a Parquet file that are made ready at once


def save_results(results: Any, path: str | os.PathLike[str]) -> Path:
    r"""Saves results as a file; its suffix chooses the format.

    `.json`: an array of objects, one for each result, as `model_dump_json` writes it, so that the class's
    `model_validate` reads it again. `.jsonl`: such an object a line.

    `.csv`: a table of one kind of result, with the rows and columns of `to_pandas`, by RFC 4180 in UTF-8. Lists are
    JSON in their cell; of the scores of a classification the best five are there, as "label_1", "score_1" and so on. A
    text that begins with `=`, `+`, `-`, `@`, a tab or a line break, which a spreadsheet would take for a formula, has a
    `'` before it.

    `.parquet`: the same table with all scores, as a map.

    Characters that are no Unicode, as in file names of another encoding, are written as `\udcff`. The file is there as
    a whole or not at all, and one that was there stays until then. JSON Lines and CSV are written as an iterator goes,
    so that memory stays small.

    Args:
        results: one result of a verb, several, or an iterator of them, with failures among them or without.
        path: the file, replaced if it is there; its folder must be.

    Returns:
        The path.

    Raises:
        InputError: an unknown suffix, a value that is no result, results of several kinds in one table, or a file that
            cannot be written there.
        MissingExtraError: pyarrow, which Parquet needs, is not installed.
    """
    target = Path(path)
    write = _FORMATS.get(target.suffix.lower())
    if write is None:
        known = ", ".join(_FORMATS)
        raise InputError(f"cannot save results as {describe(path)}: its suffix must be one of {known}")
    if write is _parquet:
        require("pyarrow")  # before the answers are made, which may take hours
    with _named(target):
        file = FileWriter(target)
    try:
        for data in write(each_result(results)):
            with _named(target):
                file.write(data)
        with _named(target):
            file.keep()
    finally:
        file.discard()
    return target


def _json(results: Iterable[Any]) -> Iterator[bytes]:
    before = b"[\n"
    for line in _lines(results):
        yield before + line
        before = b",\n"
    yield b"[]\n" if before == b"[\n" else b"\n]\n"


def _jsonl(results: Iterable[Any]) -> Iterator[bytes]:
    for line in _lines(results):
        yield line + b"\n"


def _lines(results: Iterable[Any]) -> Iterator[bytes]:
    for result in results:
        try:
            line = result.model_dump_json().encode()
        except (PydanticSerializationError, UnicodeEncodeError):
            line = _REPLACED
        # pydantic fails at texts that are no Unicode, and replaces them where they are keys; ours is far slower
        yield json.dumps(plain(result), ensure_ascii=False, allow_nan=False).encode() if _REPLACED in line else line


def _csv(results: Iterable[Any]) -> Iterator[bytes]:
    columns, rows = one_table(results)
    yield csv_line(csv_header(columns, TOP)).encode()
    for row in rows:
        yield csv_line(csv_cells(row, columns, TOP)).encode()


def csv_header(columns: Columns, top: int) -> list[str]:
    """The names of a CSV file's columns; scores by label become the best `top` labels."""
    names: list[str] = []
    for name, kind in columns.items():
        ranked = [f"{what}_{place}" for place in range(1, top + 1) for what in ("label", "score")]
        names += ranked if kind == "scores" else [name]
    return names


def csv_cells(row: Row, columns: Columns, top: int) -> list[object]:
    """A row's cells, in the order of `csv_header`."""
    cells: list[object] = []
    for name, kind in columns.items():
        value = row.get(name)
        if kind == "scores":
            best = [cell for item in list((value or {}).items())[:top] for cell in item]
            cells += best + [None] * (2 * top - len(best))
        else:
            cells.append(value if kind in ("text", "number", "integer", "flag") else _json_cell(value))
    return cells


def csv_line(cells: Iterable[object]) -> str:
    """One line of a CSV file, its end included; texts that a spreadsheet would take for formulas get a `'`."""
    line = StringIO()
    csv.writer(line).writerow(
        [f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in cells]
    )
    return line.getvalue()


def _json_cell(value: object) -> str | None:
    return None if value is None else json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def _parquet(results: Iterable[Any]) -> Iterator[bytes]:
    arrow, parquet = require("pyarrow"), require("pyarrow.parquet")
    columns, rows = one_table(results)
    numbers = arrow.list_(arrow.float32())
    kinds: dict[ColumnKind, Any] = {
        "text": arrow.string(),
        "number": arrow.float64(),
        "integer": arrow.int64(),
        "flag": arrow.bool_(),
        "texts": arrow.list_(arrow.string()),
        "numbers": numbers,
        "integers": arrow.list_(arrow.int64()),
        "boxes": arrow.list_(numbers),
        "scores": arrow.map_(arrow.string(), arrow.float64()),
        "counts": arrow.map_(arrow.string(), arrow.int64()),
        "json": arrow.string(),
    }
    schema = arrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    buffer = BytesIO()
    with parquet.ParquetWriter(buffer, schema) as writer:
        while some := list(islice(rows, _ROWS)):
            arrays = [
                arrow.array([_arrow_cell(row.get(name), kind) for row in some], kinds[kind])
                for name, kind in columns.items()
            ]
            writer.write_batch(arrow.record_batch(arrays, schema=schema))
    yield buffer.getvalue()


def _arrow_cell(value: Any, kind: ColumnKind) -> object:
    if value is None:
        return None
    if kind in ("scores", "counts"):
        return list(value.items())
    if kind == "json":
        return _json_cell(value)
    return value.tolist() if kind == "boxes" else value


_FORMATS: Final[dict[str, Callable[[Iterable[Any]], Iterator[bytes]]]] = {
    ".json": _json,
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".parquet": _parquet,
}


@contextmanager
def _named(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise InputError(f"cannot write {describe(target)}: {err.strerror or err}") from err
