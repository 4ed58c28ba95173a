"""Results as lines for a terminal or a pipe."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator

from ..errors import Failure
from ..images.sources import printable
from ..models.catalog import Entry, is_here
from ..results import Classification
from ..results.saving import csv_cells, csv_header, csv_line
from ..results.tables import OF_FAILURES, columns_of, rows_of

_UNSAFE = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal obeys, or cannot show, and JSON leaves as it is."""

_COLUMNS = {name: kind for name, kind in columns_of(Classification).items() if name != "usage"}
_COLUMNS |= OF_FAILURES


def text_lines(result: Classification | Failure, top_k: int) -> str:
    """A file and its labels below, with their scores."""
    if isinstance(result, Failure):
        return f"{printable(result.source)}\n  failed: {printable(str(result.error))}"
    best = [(printable(label), score) for label, score in result.top(top_k)]
    width = max(len(label) for label, _ in best)
    rows = [f"  {label:<{width}}  {score:7.2%}" for label, score in best]
    return "\n".join([printable(result.source), *rows])


def json_line(result: Classification | Failure, top_k: int, given: str | os.PathLike[str]) -> str:
    """One object: source, model, label, score, and the best labels; or source, error and message.

    The source is the file's name itself, where one was given: another program may open it. Characters that could harm a
    terminal stand as JSON's escapes.
    """
    name = os.fspath(given)
    source = name if printable(name) == result.source else result.source
    if isinstance(result, Failure):
        record: dict[str, object] = {**result.model_dump(), "source": source}
    else:
        record = {
            "source": source,
            "model": result.model,
            "label": result.label,
            "score": result.score,
            "score_kind": result.score_kind,
            "top": [{"label": label, "score": score} for label, score in result.top(top_k)],
        }
    return _UNSAFE.sub(lambda m: f"\\u{ord(m.group()):04x}", json.dumps(record, ensure_ascii=False))


def csv_head(top_k: int) -> bytes:
    """The first line of a CSV file of answers."""
    return csv_line(csv_header(_COLUMNS, top_k)).encode()


def csv_row(result: Classification | Failure, top_k: int) -> bytes:
    """An answer's line, or a failure's, in a CSV file."""
    [row] = rows_of(result)
    cells = csv_cells(row, _COLUMNS, top_k)
    return csv_line(printable(cell) if isinstance(cell, str) else cell for cell in cells).encode()


def model_lines(entries: Iterable[Entry]) -> Iterator[str]:
    """A table: name, tasks, licence, size, whether it is on this machine."""
    here = {True: "here", False: "to fetch", None: ""}
    rows = [("name", "tasks", "licence", "size", "")]
    for entry in entries:
        size = f"{entry.megabytes:.0f} MB" if entry.megabytes else ""
        rows.append((entry.name, ", ".join(entry.tasks), entry.licence, size, here[is_here(entry)]))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
