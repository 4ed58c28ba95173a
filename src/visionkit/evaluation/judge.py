"""Answers held against the truth, by the names of labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from ..results import metrics
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

MOST_CONFUSED: Final = 1000
"""Classes up to which there is a confusion matrix: of ten thousand it would be a hundred million counts."""


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


def judge(answers: Answers, pictures: Labelled, kept: list[int], classes: tuple[str, ...], *, seed: int) -> Judged:
    """Compares answers with labels.

    Args:
        answers: of the model, about all pictures.
        pictures: N of them.
        kept: the positions that count: those that every model answered.
        classes: (K,) of the whole data, of which these pictures may be a part.
        seed: of the resamples.
    """
    others = tuple(sorted(set(answers.labels) - set(classes)))
    known = set(answers.labels)
    missing = tuple(name for name in classes if name not in known)
    scores = _by_name(answers, kept, classes if pictures.multi_label else (*classes, *others))
    place = {name: i for i, name in enumerate(classes)}
    confusion: tuple[tuple[int, ...], ...] = ()
    if pictures.multi_label:
        happened = np.zeros((len(kept), len(classes)), dtype=bool)
        for row, i in enumerate(kept):
            happened[row, [place[name] for name in pictures.names_of(i)]] = True
        right = ((scores >= 0.5) == happened).all(1)
        figures = metrics.multi_label_figures(happened, scores, seed=seed)
    else:
        true = np.array([place[pictures.names_of(i)[0]] for i in kept])
        best = scores.argmax(1)
        right = best == true
        figures = metrics.figures(true, scores, counted=len(classes), seed=seed)
        if len(classes) <= MOST_CONFUSED:
            counts = metrics.confusion(true.tolist(), best.clip(max=len(classes)).tolist(), len(classes) + 1)
            confusion = counts[:-1]  # the last row would be pictures of no class
    meant = {name: found for name, found in figures.items() if name not in _WITHOUT[answers.kind]}
    return Judged(right, meant, confusion, missing, len(others))


def _by_name(answers: Answers, kept: list[int], columns: tuple[str, ...]) -> npt.NDArray[np.float32]:
    """The scores of some pictures, (N, len(columns)); zeros for labels that the model lacks."""
    place = {name: i for i, name in enumerate(answers.labels)}
    known = [i for i, name in enumerate(columns) if name in place]
    scores = np.zeros((len(kept), len(columns)), np.float32)
    scores[:, known] = answers.scores[np.ix_(kept, [place[columns[i]] for i in known])]
    return scores
