"""`Embeddings`: pictures or texts as vectors that can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, Self

import numpy as np
from pydantic import field_validator, model_validator

from . import html
from .values import ColumnKind, FailureField, Float32Array, Result, failure_row

_LISTED: Final = 8
"""Sources that a notebook shows."""


class Embeddings(Result):
    """Vectors of pictures or texts by one model.

    Attributes:
        vectors: float32 (N, D), each of length 1: a dot product is the cosine.
        sources: (N,) what each row was made from.
        failures: inputs that have no row.
        source: the one source, or how many there are.
    """

    table_columns: ClassVar[Mapping[str, ColumnKind]] = {**Result.table_columns, "vector": "numbers"}

    vectors: Float32Array
    sources: tuple[str, ...]
    failures: tuple[FailureField, ...] = ()

    @field_validator("vectors")
    @classmethod
    def _no_rows(cls, vectors: Float32Array) -> Float32Array:
        return vectors if vectors.size or vectors.ndim != 1 else vectors.reshape(0, 0)  # JSON has no width for no rows

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.sources):
            raise ValueError(f"vectors must be ({len(self.sources)}, D), not {self.vectors.shape}")
        lengths = np.linalg.norm(self.vectors, axis=1)
        if not np.allclose(lengths, 1.0, atol=1e-3):
            raise ValueError("each vector must have length 1")
        return self

    def __len__(self) -> int:
        return len(self.sources)

    def table_rows(self) -> Iterator[dict[str, Any]]:
        """A row for each source, the failures among them where they stood."""
        named = zip(self.sources, self.vectors, strict=True)
        rows = [{"source": source, "model": self.model, "vector": vector} for source, vector in named]
        for failure in sorted(self.failures, key=lambda f: f.index):
            rows.insert(failure.index, failure_row(failure))
        yield from rows

    def _repr_html_(self) -> str:
        rows, width = self.vectors.shape
        shown = "".join(html.figure(source) for source in self.sources[:_LISTED])
        more = [html.note(f"… {rows - _LISTED} more")] if rows > _LISTED else []
        failed = [html.warning(str(failure)) for failure in self.failures[:_LISTED]]
        if len(self.failures) > _LISTED:
            failed.append(html.warning(f"… {len(self.failures) - _LISTED} more failed"))
        said = html.title(f"{rows} × {width} float32")
        return html.card("", said, html.strip(shown), *more, *failed, html.note(self.source, self.model))

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        rows, width = self.vectors.shape
        return f"Embeddings({rows}×{width} float32 of {self.source}{failed}; {self.model})"
