"""How good answers are: figures over arrays, by scikit-learn, each with its bootstrap interval.

Classes are positions, 0 to K - 1; probabilities are (N, K). A figure that does not exist for the data, such as the area
under the curve where one class only occurs, is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from sklearn import metrics as sklearn_metrics

from .intervals import RESAMPLES, Array, Interval, Statistic, bootstrap, certain, mean_of
from .resampled import auroc_with_shares, macro_f1, mean_precision, quotient, rough_mean_precision

BINS: Final = 15
"""Bins of confidence, equally wide: as in Guo et al. (2017)."""

_TOP: Final = 5
_AT_ONCE: Final = 4_000_000
"""Probabilities that are worked on at once: what is made of them must fit the memory beside them."""

_WORK: Final = 200_000_000
_LEAST: Final = 200
"""The interval of the mean average precision is drawn from fewer resamples, where N · K · resamples would be above
`_WORK`; where these were fewer than `_LEAST`, from what each picture adds to first order."""


class ClassScore(BaseModel):
    """How well one class is known; 0 where there is nothing to divide by.

    Attributes:
        label: the class.
        precision: of the pictures called so, the fraction that is.
        recall: of the pictures that are, the fraction called so.
        f1: the harmonic mean of both.
        images: pictures of the class.
    """

    model_config = ConfigDict(frozen=True)

    label: str
    precision: float
    recall: float
    f1: float
    images: int


class ReliabilityBin(BaseModel):
    """Answers of about the same confidence.

    Attributes:
        low, high: the bin: above `low`, up to `high`.
        count: answers in it.
        confidence: their mean confidence; 0 without any.
        accuracy: the fraction that is right; 0 without any.
    """

    model_config = ConfigDict(frozen=True)

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def accuracy(true: Sequence[int], answers: Sequence[int]) -> float:
    """The fraction of answers that are true, 0–1; positions of classes (N,) each."""
    return float(sklearn_metrics.accuracy_score(true, answers))


def confusion(true: Sequence[int], answers: Sequence[int], classes: int) -> tuple[tuple[int, ...], ...]:
    """(K, K) counts: row the true class, column the answer."""
    matrix = sklearn_metrics.confusion_matrix(true, answers, labels=range(classes))
    return tuple(tuple(int(count) for count in row) for row in matrix)


def class_scores(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of every class, from a confusion matrix (K, K)."""
    counts = np.asarray(matrix, dtype=np.float64).reshape(len(labels), len(labels))
    right, images, called = counts.diagonal(), counts.sum(1), counts.sum(0)
    rows = zip(
        labels,
        quotient(right, called),
        quotient(right, images),
        quotient(2 * right, images + called),
        images,
        strict=True,
    )
    return tuple(
        ClassScore(label=label, precision=p, recall=r, f1=f, images=int(count)) for label, p, r, f, count in rows
    )


def figures(
    true: npt.ArrayLike, probabilities: npt.ArrayLike, *, counted: int | None = None, seed: int = 0
) -> dict[str, Interval]:
    """What is said of a classifier in a few numbers.

    Args:
        true: (N,) positions of classes, N > 0.
        probabilities: (N, K).
        counted: how many of the first classes the macro F1 is over, where those after them are none of the data's.
        seed: of the resamples.

    Returns:
        "accuracy"; "top5_accuracy", with more than five classes; "macro_f1", over the classes that occur or are
        answered; "auroc", each class against the rest, the mean over those that occur; "ece", the expected calibration
        error (see `reliability`), whose interval errs upwards, since resampling adds spread that every bin counts.
    """
    true, probabilities = np.asarray(true), np.asarray(probabilities)
    count, classes = probabilities.shape
    answers = probabilities.argmax(1)
    parts = {"accuracy": mean_of(answers == true)}
    if classes > _TOP:
        parts["top5_accuracy"] = mean_of(_among_the_best(true, probabilities))
    known = np.union1d(true, answers)
    known = known[known < (counted or classes)]
    f1 = float(sklearn_metrics.f1_score(true, answers, labels=known, average="macro", zero_division=0))
    parts["macro_f1"] = f1, macro_f1(true, answers, counted or classes)
    parts.update(_auroc(lambda k: true == k, np.unique(true), probabilities))
    parts["ece"] = _ece(answers == true, probabilities.max(1))
    return _bounded(bootstrap(parts, count, seed=seed), count)


def multi_label_figures(true: npt.ArrayLike, probabilities: npt.ArrayLike, *, seed: int = 0) -> dict[str, Interval]:
    """The same for pictures that may have several labels, or none.

    Args:
        true: bool (N, K), N > 0.
        probabilities: (N, K), each for itself.
        seed: of the resamples.

    Returns:
        "accuracy", pictures of which every label is right at a threshold of 0.5; "mean_average_precision" and "auroc",
        over the labels that occur; "macro_f1" at 0.5, over the labels that occur or are answered; "ece", over all
        answers of yes or no.
    """
    happened, probabilities = np.asarray(true, dtype=bool), np.asarray(probabilities)
    answers = probabilities >= 0.5
    count = len(happened)
    parts = {"accuracy": mean_of((answers == happened).all(1))}
    if happened.any() or answers.any():
        resampled = macro_f1(happened, answers, happened.shape[1])
        parts["macro_f1"] = float(resampled(np.ones((1, count)))[0]), resampled
    parts.update(_auroc(lambda k: happened[:, k], np.flatnonzero(happened.any(0)), probabilities))
    parts["ece"] = _ece(happened, probabilities)
    found = _bounded(bootstrap(parts, count, seed=seed), count)
    ranked = np.flatnonzero(happened.any(0))
    if len(ranked):
        resamples = _WORK // (count * len(ranked))
        mean = mean_precision if resamples >= _LEAST else rough_mean_precision
        precision = {"mean_average_precision": mean(happened, probabilities, ranked)}
        most = min(RESAMPLES, resamples) if resamples >= _LEAST else RESAMPLES
        found.update(bootstrap(precision, count, seed=seed, resamples=most))
    return found


def reliability(right: npt.ArrayLike, confidence: npt.ArrayLike) -> tuple[ReliabilityBin, ...]:
    """Whether answers are as often right as they say, in `BINS` bins of confidence.

    The expected calibration error is the mean, over all answers, of the distance between confidence and accuracy of
    their bin.

    Args:
        right: bool, which answers are true.
        confidence: of the same shape, in 0–1: what each answer gave itself.
    """
    true, sure = np.asarray(right).reshape(-1), np.asarray(confidence).reshape(-1)
    sums = np.zeros((3, BINS))
    for part in _rows(len(true), 1):
        place = _bins(sure[part])
        sums += [np.bincount(place, weights, BINS) for weights in (None, sure[part], true[part])]
    counts, confidences, accuracies = sums[0], *(quotient(found, sums[0]) for found in sums[1:])
    return tuple(
        ReliabilityBin(
            low=b / BINS, high=(b + 1) / BINS, count=int(counts[b]), confidence=confidences[b], accuracy=accuracies[b]
        )
        for b in range(BINS)
    )


def ece(right: npt.ArrayLike, confidence: npt.ArrayLike) -> float:
    """The expected calibration error: see `reliability`."""
    bins = reliability(right, confidence)
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.confidence - b.accuracy) for b in bins) / total


def ece_interval(right: npt.ArrayLike, confidence: npt.ArrayLike, *, seed: int = 0) -> Interval:
    """`ece` with its interval; answers (N,), or (N, K) of N pictures, which are resampled whole, N > 0."""
    true = np.asarray(right)
    return bootstrap({"ece": _ece(true, np.asarray(confidence))}, len(true), seed=seed)["ece"]


def mcnemar(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """How likely it is that two models differ this much by chance: McNemar's exact test, two-sided.

    Only the pictures count on which one is right and the other wrong: were the models equally good, each of these would
    fall to either side like a coin.

    Args:
        one: bool (N,), which answers of the one model are right.
        other: the same of the other, for the same pictures.
    """
    first, second = np.asarray(one, dtype=bool), np.asarray(other, dtype=bool)
    gained, lost = int((first & ~second).sum()), int((second & ~first).sum())
    coins = gained + lost
    if gained == lost:
        return 1.0
    log_of = [
        math.lgamma(coins + 1) - math.lgamma(k + 1) - math.lgamma(coins - k + 1) - coins * math.log(2)
        for k in range(min(gained, lost) + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(value) for value in log_of))


def holm(probabilities: Sequence[float]) -> tuple[float, ...]:
    """Several tests' p-values, raised so that one chance finding among all is as rare as in one test: Holm (1979)."""
    adjusted = [0.0] * len(probabilities)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(probabilities)), key=probabilities.__getitem__)):
        highest = max(highest, min(1.0, (len(probabilities) - rank) * probabilities[index]))
        adjusted[index] = highest
    return tuple(adjusted)


def _bounded(found: dict[str, Interval], count: int) -> dict[str, Interval]:
    return {name: certain(part, count) if name.endswith("accuracy") else part for name, part in found.items()}


def _rows(count: int, width: int) -> Iterator[slice]:
    """Parts of `count` rows, each of about `_AT_ONCE` values."""
    size = max(1, _AT_ONCE // width)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _among_the_best(true: Array, probabilities: Array) -> Array:
    """Bool (N,): whether the true class is among the `_TOP` likeliest."""
    found = np.empty(len(true), dtype=bool)
    for part in _rows(*probabilities.shape):
        best = np.argpartition(-probabilities[part], _TOP - 1, axis=1)[:, :_TOP]
        found[part] = (best == true[part, None]).any(1)
    return found


def _auroc(
    happened_of: Callable[[int], Array], classes: Array, probabilities: Array
) -> dict[str, tuple[float, Statistic]]:
    """The mean over the classes; `happened_of`: bool (N,), which pictures are of a class; some, but maybe all."""
    count, known, total, shares = len(probabilities), 0, 0.0, np.zeros(len(probabilities))
    for k in classes:
        happened = happened_of(k)
        if happened.sum() < count:
            area, share = auroc_with_shares(happened, probabilities[:, k])
            known, total = known + 1, total + area
            shares += share
    if not known:
        return {}
    mean = total / known
    return {"auroc": (mean, lambda counts: (mean + counts @ shares / known).clip(0, 1))}


def _ece(right: Array, confidence: Array) -> tuple[float, Statistic]:
    """Answers (N,), or (N, K) of N pictures, which are resampled whole."""
    true = right.reshape(len(right), -1)
    sure = confidence.reshape(true.shape)
    gaps = np.zeros((len(true), BINS))
    for part in _rows(*true.shape):
        place = _bins(sure[part]) + BINS * np.arange(part.stop - part.start)[:, None]
        apart = (sure[part] - true[part].astype(np.float64)).ravel()
        gaps[part] = np.bincount(place.ravel(), apart, BINS * len(place)).reshape(-1, BINS)
    return ece(true, sure), lambda counts: np.abs(counts @ gaps).sum(1) / true.size


def _bins(confidence: Array) -> Array:
    place: Array = np.ceil(confidence * BINS).astype(np.int64) - 1
    return place.clip(0, BINS - 1)
