"""Figures on many resamples at once: what `intervals.bootstrap` asks for, as sums over counts (R, N).

With counts of one they are scikit-learn's figures; a count weighs as if the picture were there so many times.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from .intervals import Array, Statistic

_LABELS: Final = 256
"""Labels that are looked at together, where a picture may have several: what they need must fit the memory."""


def macro_f1(true: Array, answers: Array, classes: int) -> Statistic:
    """The mean of the classes' F1, over those that occur or are answered; NaN where none is.

    Args:
        true: (N,) positions of classes; or bool (N, K), where a picture may have several.
        answers: likewise.
        classes: K.
    """
    if true.ndim == 2:
        return _macro_f1_of_several(true, answers)
    cells, place = np.unique(np.stack([true, answers]), axis=1, return_inverse=True)
    of_cell = _sums(place.ravel(), cells.shape[1])
    known = np.unique(cells)
    known = known[known < classes]
    groups = len(known)  # and one more, of what is none of the classes
    happened, answered = (np.where(side < classes, np.searchsorted(known, side), groups) for side in cells)
    rights = np.where(cells[0] == cells[1], happened, groups)
    of_right, of_true, of_said = (_sums(side, groups + 1) for side in (rights, happened, answered))

    def statistic(counts: Array) -> Array:
        sums = of_cell(counts)
        either = of_true(sums) + of_said(sums)
        return _mean_f1(of_right(sums)[:, :groups], either[:, :groups])

    return statistic


def _macro_f1_of_several(true: Array, answers: Array) -> Statistic:
    shown = np.flatnonzero(true.any(0) | answers.any(0))

    def statistic(counts: Array) -> Array:
        few = counts.astype(np.float32)  # counts are whole numbers: their sums are exact below 16 million pictures
        total, known = np.zeros(len(counts)), np.zeros(len(counts))
        for start in range(0, len(shown), _LABELS):
            some = shown[start : start + _LABELS]
            happened, answered = true[:, some], answers[:, some]
            right = few @ (happened & answered).astype(np.float32)
            either = few @ (happened.astype(np.float32) + answered)
            total += quotient(2 * right, either).sum(1)
            known += (either > 0).sum(1)
        return quotient(total, known, np.nan)

    return statistic


def _mean_f1(right: Array, either: Array) -> Array:
    """(R, K) counts: of true answers, and of pictures of the class and answers of it together."""
    return quotient(quotient(2 * right, either).sum(1), (either > 0).sum(1), np.nan)


def _sums(places: Array, groups: int) -> Statistic:
    """Counts (R, N) → their sums (R, G) over the pictures of each group; flags (N, G) would be large for many."""
    order = np.argsort(places, kind="stable")
    edges = np.searchsorted(places[order], np.arange(groups + 1))
    return lambda counts: np.diff(_running(counts[:, order])[:, edges], axis=1)


def auroc_with_shares(happened: Array, scores: Array) -> tuple[float, Array]:
    """The area under the curve, and (N,) by how much it grows with the weight of each picture, to first order.

    The shares sum to 0. The area is a mean over pairs of a picture of the kind and another one; weighing pictures anew
    for each resample and each of a thousand classes would take minutes, and the first order is what is left for more
    than a few.

    Args:
        happened: bool (N,), which pictures are of the kind: some, not all.
        scores: (N,) the higher, the surer.
    """
    own, others = np.sort(scores[happened]), np.sort(scores[~happened])
    shares = np.zeros(len(scores))
    won = _below(others, scores[happened]) / len(others)
    shares[happened] = (won - won.mean()) / len(own)
    shares[~happened] = (1 - _below(own, scores[~happened]) / len(own) - won.mean()) / len(others)
    return float(won.mean()), shares


def precision_with_shares(happened: Array, scores: Array) -> tuple[float, Array]:
    """The same of the average precision: see `Ranking`.

    Args:
        happened: bool (N,), which pictures are of the kind: at least one.
        scores: (N,) the higher, the surer.
    """
    order = np.argsort(scores, kind="stable")
    ordered, kind = scores[order], happened[order].astype(np.float64)
    first, last = (np.searchsorted(ordered, ordered, side=side) for side in ("left", "right"))
    whole = kind.sum()
    found, taken = whole - np.append(0.0, np.cumsum(kind))[first], len(scores) - first
    average = float((kind * found / taken).sum() / whole)
    # A picture raises the precision at its own place and below; one of another kind lowers it.
    gain, loss = (np.append(0.0, np.cumsum(kind * part))[last] for part in (1 / taken, found / taken**2))
    shares = np.empty(len(scores))
    shares[order] = (kind * (found / taken - average + gain) - loss) / whole
    return average, shares


def _below(ordered: Array, scores: Array) -> Array:
    """How many of `ordered` are below each score; equal ones count half."""
    left, right = (np.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    return (left + right) / 2.0


class Ranking:
    """Pictures in the order of one score, for the average precision.

    Args:
        happened: bool (N,), which pictures are of the kind.
        scores: (N,) the higher, the surer.
    """

    def __init__(self, happened: Array, scores: Array) -> None:
        self._order = np.argsort(scores, kind="stable")
        ordered = scores[self._order]
        self._happened = happened[self._order]
        self._first = np.searchsorted(ordered, ordered, side="left")  # equal scores are taken together

    def average_precision(self, counts: Array) -> Array:
        """The mean, over the pictures of the kind, of the precision when all with at least its score are taken."""
        sorted_counts = counts[:, self._order]
        hits, taken = _running(sorted_counts * self._happened), _running(sorted_counts)
        first = self._first[self._happened]
        found, all_taken = hits[:, -1:] - hits[:, first], taken[:, -1:] - taken[:, first]
        positive = sorted_counts[:, self._happened]
        return quotient((positive * quotient(found, all_taken)).sum(1), hits[:, -1], np.nan)


def mean_precision(happened: Array, probabilities: Array, classes: Array) -> tuple[float, Statistic]:
    """The mean over labels of the average precision; of a label that a resample lacks, the others' mean.

    Args:
        happened: bool (N, K).
        probabilities: (N, K).
        classes: the positions of labels that some pictures have.
    """
    rankings = [Ranking(happened[:, k], probabilities[:, k]) for k in classes]

    def mean(counts: Array) -> Array:
        total, known = np.zeros(len(counts)), np.zeros(len(counts))
        for ranking in rankings:
            part = ranking.average_precision(counts)
            total += np.nan_to_num(part)
            known += np.isfinite(part)
        return quotient(total, known, np.nan)

    return float(mean(np.ones((1, len(happened))))[0]), mean


def rough_mean_precision(happened: Array, probabilities: Array, classes: Array) -> tuple[float, Statistic]:
    """The same to first order, for labels and pictures of which every resample would take minutes."""
    averages = np.zeros(len(classes))
    shares = np.empty((len(happened), len(classes)), np.float32)
    for i, k in enumerate(classes):
        averages[i], shares[:, i] = precision_with_shares(happened[:, k], probabilities[:, k])

    def mean(counts: Array) -> Array:
        few = counts.astype(np.float32)
        total, known = np.zeros(len(counts)), np.zeros(len(counts))
        for start in range(0, len(classes), _LABELS):
            part = slice(start, start + _LABELS)
            there = few @ happened[:, classes[part]].astype(np.float32) > 0
            about = (averages[part] + few @ shares[:, part]).clip(0, 1)
            total += (about * there).sum(1)
            known += there.sum(1)
        return quotient(total, known, np.nan)

    return float(averages.mean()), mean


def quotient(part: Array, whole: Array, none: float = 0.0) -> Array:
    """`part / whole`, and `none` where there is nothing to divide by."""
    result: Array = np.full(whole.shape, none)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def _running(values: Array) -> Array:
    """(R, N) → (R, N + 1): the sums of the values before each place, and of all."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums
