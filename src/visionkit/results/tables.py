"""Results as tables: `to_pandas`, and the rows that files of tables are written from."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from ..errors import Failure, InputError
from ..extras import require
from .values import ColumnKind, failure_row

if TYPE_CHECKING:
    from pandas import DataFrame

Columns: TypeAlias = dict[str, ColumnKind]
Row: TypeAlias = dict[str, Any]

OF_FAILURES: Final[Columns] = {"error": "text", "message": "text"}
"""The columns that every table has for its failures."""

_SURROGATES: Final = re.compile("[\ud800-\udfff]")


def to_pandas(results: Any) -> DataFrame:
    """Results as a pandas table: a row for each, in order.

    An `Embeddings` has a row for each source, with the vector as an array in the column "vector"
    (`np.stack(table["vector"])` is the matrix), a `GeneratedImages` one for each picture, a `TrainingRun` one for each
    epoch. Of `Detections` the columns "labels", "scores" and "boxes_xyxy" hold one list for a picture;
    `table.explode(["labels", "scores", "boxes_xyxy"])` has a row for each object. "scores" of a `Classification` is
    the mapping of each label to its score. A `Failure` has a row with "source", "error" and "message"; the last two
    columns are always there, and empty in the rows of answers. Results of several kinds may be mixed: the table has the
    columns of all.

    Args:
        results: one result of a verb, several, or an iterator of them, with failures among them or without.

    Raises:
        MissingExtraError: pandas is not installed.
        InputError: a value that is no result.
    """
    pandas = require("pandas")
    columns: Columns = {}
    rows: list[Row] = []
    for result in each_result(results):
        columns.update(columns_of(result))
        rows += rows_of(result)
    names = [*(columns or {"source": "text"}), *OF_FAILURES]
    table: DataFrame = pandas.DataFrame({name: [row.get(name) for row in rows] for name in names})
    return table


def each_result(results: Any) -> Iterator[Any]:
    """One result, several, or an iterator of them, one by one.

    Raises:
        InputError: a value that is no result; found when it is reached.
    """
    if _is_result(results):
        yield results
        return
    if isinstance(results, (str, bytes, Mapping)) or not isinstance(results, Iterable):
        raise InputError(f"{type(results).__name__} is no result: give what a verb returned, or several of them")
    for index, result in enumerate(results):
        if not _is_result(result):
            raise InputError(f"number {index} of the results is a {type(result).__name__}, which no verb returns")
        yield result


def _is_result(value: object) -> bool:
    return isinstance(value, Failure) or (isinstance(value, BaseModel) and hasattr(value, "table_rows"))


def columns_of(result: Any) -> Columns:
    """The columns of a result's rows; those of a failure are part of any table's."""
    return {"source": "text"} if isinstance(result, Failure) else dict(result.table_columns)


def rows_of(result: Any) -> list[Row]:
    """A result's rows, in texts that every file format takes."""
    rows = [failure_row(result)] if isinstance(result, Failure) else result.table_rows()
    return [{name: _writable(value) for name, value in row.items()} for row in rows]


def _writable(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key) if isinstance(key, str) else key: _writable(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_writable(item) for item in value]
    return value


def one_table(results: Iterable[Any]) -> tuple[Columns, Iterator[Row]]:
    """The columns of a table of one kind of result, with failures among them, and its rows, read as one goes.

    Raises:
        InputError: while the rows are read: a result of another kind than the first.
    """
    ahead: list[Any] = []  # failures before the first answer, which alone tells the columns
    rest = iter(results)
    first = None
    for result in rest:
        ahead.append(result)
        if not isinstance(result, Failure):
            first = result
            break
    columns = columns_of(ahead[0] if first is None else first) if ahead else Columns(source="text")

    def rows() -> Iterator[Row]:
        for result in chain(ahead, rest):
            if not isinstance(result, (Failure, type(first))):
                raise InputError(
                    f"a table holds one kind of result, and here are {type(first).__name__} and "
                    f"{type(result).__name__}; .json and .jsonl take both"
                )
            yield from rows_of(result)

    return {**columns, **OF_FAILURES}, rows()


def clean(text: str) -> str:
    r"""`text` with characters that no encoding has, as of file names that are not UTF-8, written as `\udcff`."""
    if text.isascii():
        return text
    return _SURROGATES.sub(lambda m: m.group().encode("unicode_escape").decode("ascii"), text)


def plain(value: Any) -> Any:  # noqa: PLR0911 - a table of kinds
    """A value as JSON has it: arrays as lists, numbers that are none as null, and texts that can be written."""
    if isinstance(value, (str, os.PathLike)):  # pydantic refuses some names, and changes those that are keys
        return clean(os.fsdecode(value))
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (BaseModel, Failure)):
        return plain(value.model_dump())
    if isinstance(value, Mapping):
        return {clean(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        return [plain(item) for item in (value.tolist() if isinstance(value, np.ndarray) else value)]
    return plain(value.item() if isinstance(value, np.generic) else to_jsonable_python(value, fallback=str))
