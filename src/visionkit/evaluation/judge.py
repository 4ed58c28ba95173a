"""Answers held against the truth, by the names of labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from ..results import Classification, metrics
from ..results.intervals import Interval
from .answers import Answers

if TYPE_CHECKING:
    from ..training.data import Labelled

_WITHOUT: Final = {
    "said": ("top5_accuracy", "auroc", "ece", "mean_average_precision"),  # it names a label, and ranks nothing
    "similarity": ("accuracy", "macro_f1", "ece"),  # it ranks, but half a cosine is no yes
    "probability": (),
}
"""Kind of score → the figures that mean nothing for it."""


@dataclass(frozen=True)
class Judged:
    """How a model did.

    Attributes:
        right: bool (N,), which pictures it answered rightly: of several labels, all of them.
        figures, confusion, missing, foreign: see `ModelScore`.
    """

    right: npt.NDArray[np.bool_]
    figures: dict[str, Interval]
    confusion: tuple[tuple[int, ...], ...]
    missing: tuple[str, ...]
    foreign: int


def judge(answers: Answers, pictures: Labelled, kept: list[int], *, seed: int) -> Judged:
    """Compares answers with labels.

    Args:
        answers: of the model, about all pictures.
        pictures: N of them.
        kept: the positions that count: those that every model answered.
        seed: of the resamples.
    """
    said = [outcome for outcome in (answers.outcomes[i] for i in kept) if isinstance(outcome, Classification)]
    classes, known = pictures.classes, set(said[0].scores)
    others = tuple(sorted(known - set(classes)))
    missing = tuple(name for name in classes if name not in known)
    columns = classes if pictures.multi_label else (*classes, *others)
    scores = np.array([[answer.scores.get(name, 0.0) for name in columns] for answer in said])
    place = {name: i for i, name in enumerate(classes)}
    if pictures.multi_label:
        happened = np.zeros((len(kept), len(classes)), dtype=bool)
        for row, i in enumerate(kept):
            happened[row, [place[name] for name in pictures.names_of(i)]] = True
        right = ((scores >= 0.5) == happened).all(1)
        figures = metrics.multi_label_figures(happened, scores, seed=seed)
        confusion: tuple[tuple[int, ...], ...] = ()
    else:
        true = np.array([place[pictures.names_of(i)[0]] for i in kept])
        best = scores.argmax(1)
        right = best == true
        figures = metrics.figures(true, scores, counted=len(classes), seed=seed)
        counts = metrics.confusion(true.tolist(), best.clip(max=len(classes)).tolist(), len(classes) + 1)
        confusion = counts[:-1]  # the last row would be pictures of no class
    meant = {name: found for name, found in figures.items() if name not in _WITHOUT[said[0].score_kind]}
    return Judged(right, meant, confusion, missing, len(others))
