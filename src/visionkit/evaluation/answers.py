"""A model's answers about pictures, and how long they took."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ..errors import Failure
from ..models.protocols import Describer
from ..results import Classification
from ..tasks.classify import classify

if TYPE_CHECKING:
    from ..training.data import Labelled

ALONE: Final = 20
"""Pictures that are answered one by one, for the time that one takes."""


@dataclass(frozen=True)
class Answers:
    """What a model said of each picture.

    Attributes:
        name: what the scoreboard calls the model.
        outcomes: (N,) an answer, or a failure, for each picture.
        images_per_second: in batches, from file to answer.
        alone_ms: what single pictures took; empty where none was asked about alone.
    """

    name: str
    outcomes: tuple[Classification | Failure, ...]
    images_per_second: float
    alone_ms: tuple[float, ...]

    def latency_ms(self, percentile: float) -> float | None:
        """A percentile of what single pictures took."""
        return float(np.percentile(self.alone_ms, percentile)) if self.alone_ms else None


def ask_model(
    model: Any,
    name: str,
    pictures: Labelled,
    *,
    labels: Sequence[str] | None,
    batch_size: int | None,
    progress: bool | None,
) -> Answers:
    """Classifies all pictures, and some of them alone.

    Args:
        model: one that can classify.
        name: what the scoreboard calls it.
        pictures: N of them.
        labels: what a model without classes of its own chooses from.
        batch_size: pictures in one step.
        progress: show a bar.
    """
    options: dict[str, Any] = {"model": model, "on_error": "return", "multi_label": pictures.multi_label}
    hosted = isinstance(model, Describer)
    if not hosted:  # the first answer also makes the model's form: that is no part of its speed
        classify(pictures.sources[0], labels, progress=False, **options)
    started = time.perf_counter()
    outcomes = classify(list(pictures.sources), labels, batch_size=batch_size, progress=progress, **options)
    seconds = time.perf_counter() - started
    alone: list[float] = []
    good = [i for i, outcome in enumerate(outcomes) if not isinstance(outcome, Failure)]
    for i in () if hosted else good[:ALONE]:
        began = time.perf_counter()
        classify(pictures.sources[i], labels, progress=False, **options)
        alone.append(1000 * (time.perf_counter() - began))
    return Answers(name, tuple(outcomes), len(outcomes) / seconds, tuple(alone))
