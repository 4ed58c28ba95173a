"""`Embeddings`: pictures or texts as vectors that can be compared."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import field_validator, model_validator

from .values import FailureField, Float32Array, Result


class Embeddings(Result):
    """Vectors of pictures or texts by one model.

    Attributes:
        vectors: float32 (N, D), each of length 1: a dot product is the cosine.
        sources: (N,) what each row was made from.
        failures: inputs that have no row.
        source: the one source, or how many there are.
    """

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

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        rows, width = self.vectors.shape
        return f"Embeddings({rows}×{width} float32 of {self.source}{failed}; {self.model})"
