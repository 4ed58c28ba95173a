"""How good answers are: figures over arrays, by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence

from sklearn import metrics as sklearn_metrics


def accuracy(true: Sequence[int], answers: Sequence[int]) -> float:
    """The fraction of answers that are true, 0–1; positions of classes (N,) each."""
    return float(sklearn_metrics.accuracy_score(true, answers))


def confusion(true: Sequence[int], answers: Sequence[int], classes: int) -> tuple[tuple[int, ...], ...]:
    """(K, K) counts: row the true class, column the answer."""
    matrix = sklearn_metrics.confusion_matrix(true, answers, labels=range(classes))
    return tuple(tuple(int(count) for count in row) for row in matrix)
