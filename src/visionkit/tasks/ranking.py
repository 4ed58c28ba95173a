"""Scores of a model become a `Classification`, if they are numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ..errors import Failure, ModelError
from ..results import Classification

if TYPE_CHECKING:
    from ..pipeline import Batch


def ranked(scores: dict[str, float], batch: Batch, i: int, *, model: str, **settings: Any) -> Classification | Failure:
    """The scores of a batch's picture i as a result; a failure when they are no numbers."""
    if any(math.isnan(score) for score in scores.values()):
        problem = ModelError(f"{model} gives NaN for {batch.sources[i]}")
        return Failure(batch.sources[i], batch.indices[i], problem)
    return Classification.from_scores(scores, model=model, source=batch.sources[i], **settings)
