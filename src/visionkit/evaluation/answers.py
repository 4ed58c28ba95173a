"""A model's answers about pictures, and how long they took."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from ..errors import Failure
from ..models.protocols import Describer
from ..progress import bar
from ..results import Classification
from ..results.classification import ScoreKind
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
        labels: (L,) all that it chose from.
        scores: float32 (N, L), of each picture each label's; zeros where there is no answer.
        kind: of the scores, as in `Classification`.
        failures: position → why a picture has no answer.
        images_per_second: in batches, from file to answer.
        alone_ms: what single pictures took; empty where none was asked about alone.
    """

    name: str
    labels: tuple[str, ...]
    scores: npt.NDArray[np.float32]
    kind: ScoreKind
    failures: Mapping[int, Failure]
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
    answered = classify(iter(pictures.sources), labels, batch_size=batch_size, progress=False, **options)
    with bar(len(pictures), progress, unit="image") as shown:
        names, kind, scores, failures = _gathered(answered, len(pictures), shown)
    seconds = time.perf_counter() - started
    alone: list[float] = []
    good = [i for i in range(len(pictures)) if i not in failures]
    for i in () if hosted else good[:ALONE]:
        began = time.perf_counter()
        classify(pictures.sources[i], labels, progress=False, **options)
        alone.append(1000 * (time.perf_counter() - began))
    return Answers(name, names, scores, kind, failures, len(pictures) / seconds, tuple(alone))


def _gathered(
    answered: Iterable[Classification | Failure], count: int, shown: Any
) -> tuple[tuple[str, ...], ScoreKind, npt.NDArray[np.float32], dict[int, Failure]]:
    """Labels, kind, scores and failures: a hundredth of what the answers themselves would take of a thousand labels."""
    names: tuple[str, ...] = ()
    kind: ScoreKind = "probability"
    scores = np.zeros((count, 0), np.float32)
    failures: dict[int, Failure] = {}
    for i, outcome in enumerate(answered):
        shown.update()
        if isinstance(outcome, Failure):
            failures[i] = outcome
            continue
        if not names:
            names, kind = tuple(outcome.scores), outcome.score_kind
            scores = np.zeros((count, len(names)), np.float32)
        scores[i] = [outcome.scores.get(name, 0.0) for name in names]
    return names, kind, scores, failures
