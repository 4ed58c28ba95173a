"""Results as lines for a terminal or a pipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from ..errors import Failure
from ..models.catalog import Entry, is_here
from ..results import Classification


def text_lines(result: Classification | Failure, top_k: int) -> str:
    """A file and its labels below, with their scores."""
    if isinstance(result, Failure):
        return f"{result.source}\n  failed: {result.error}"
    best = result.top(top_k)
    width = max(len(label) for label, _ in best)
    rows = [f"  {label:<{width}}  {score:7.2%}" for label, score in best]
    return "\n".join([result.source, *rows])


def json_line(result: Classification | Failure, top_k: int) -> str:
    """One object: source, model, label, score, and the best labels; or source, error and message."""
    if isinstance(result, Failure):
        return result.model_dump_json()
    record = {
        "source": result.source,
        "model": result.model,
        "label": result.label,
        "score": result.score,
        "score_kind": result.score_kind,
        "top": [{"label": label, "score": score} for label, score in result.top(top_k)],
    }
    return json.dumps(record, ensure_ascii=False)


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
