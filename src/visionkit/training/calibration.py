"""Temperature scaling: one number that makes a classifier's probabilities as right as they say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ..results import metrics
from ..results.intervals import Interval

FOLDS: Final = 5
LOWEST: Final = 0.05
HIGHEST: Final = 20.0

FITTED: Final = 5_000_000
"""Logits that a temperature is fitted on: of more pictures × classes every so-manieth picture takes part."""

_AT_ONCE: Final = 1_000_000
"""Logits that are worked on at once, in float64."""

_STEPS: Final = 24  # of the golden section: the bracket of log(temperature) shrinks from 6 to 6e-5


class Calibration(BaseModel):
    """What a temperature does for the probabilities on the pictures set aside.

    The error after is measured on pictures that took no part in it: they are split in five, and each fifth is divided
    by the temperature of the other four.

    Attributes:
        temperature: what logits are divided by; fitted on all pictures set aside. 1.0 where none would be better on
            pictures that it was not fitted on.
        before, after: the expected calibration error, see `metrics.reliability`.
        bins_before, bins_after: confidence and accuracy in bins of confidence.
        images: how many there are.
    """

    model_config = ConfigDict(frozen=True)

    temperature: float
    before: Interval
    after: Interval
    bins_before: tuple[metrics.ReliabilityBin, ...]
    bins_after: tuple[metrics.ReliabilityBin, ...]
    images: int


def calibrate(logits: Tensor, targets: Tensor) -> Calibration | None:
    """Finds the temperature of a classifier, as Guo et al. (2017), and what it is worth.

    What it takes beside the logits is bounded, however many classes there are: see `FITTED`.

    Args:
        logits: (N, K) of pictures that were not learnt from.
        targets: int64 (N,) positions of classes; or (N, K) of zeros and ones, where a picture may have several.

    Returns:
        None without pictures, or where a logit is no finite number.
    """
    scores, truth = logits.detach().cpu(), targets.detach().cpu()
    if not scores.numel() or not bool(scores.isfinite().all()):
        return None
    some = _some(*scores.shape)
    few, few_true = scores[some].double(), truth[some]
    turns, few_turns = (torch.arange(count) % min(FOLDS, len(scores)) for count in (len(scores), len(few)))
    turns[some] = few_turns
    temperature = best_temperature(few, few_true)
    crossed = torch.ones(len(scores), 1, dtype=torch.float64)
    if len(few) > 1:
        for turn in turns.unique():
            others = few_turns != turn
            crossed[turns == turn] = best_temperature(few[others], few_true[others])
    if not _loss(few / crossed[some], few_true) < _loss(few, few_true):
        temperature, crossed = 1.0, torch.ones_like(crossed)
    before, after = _sure(scores, truth, torch.ones_like(crossed)), _sure(scores, truth, crossed)
    return Calibration(
        temperature=temperature,
        before=metrics.ece_interval(*before),
        after=metrics.ece_interval(*after),
        bins_before=metrics.reliability(*before),
        bins_after=metrics.reliability(*after),
        images=len(scores),
    )


def best_temperature(logits: Tensor, targets: Tensor) -> float:
    """The temperature under which the truth is likeliest, between `LOWEST` and `HIGHEST`.

    A weak prior, that its logarithm is about 0 ± 1, holds it where a few pictures, all answered rightly, would make it
    as small as can be; a hundred pictures outweigh it.

    Args:
        logits: float64 (N, K), finite.
        targets: see `calibrate`.
    """

    def cost(log: float) -> float:
        return _loss(logits / math.exp(log), targets) + log * log / 2

    low, high = math.log(LOWEST), math.log(HIGHEST)
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = cost(left), cost(right)
    for _ in range(_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = cost(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = cost(right)
    return math.exp((low + high) / 2)


def figures_of(logits: Tensor, targets: Tensor, temperature: float) -> dict[str, Interval]:
    """The figures of `results.metrics` on pictures that were not learnt from; none where a logit is no number."""
    scores, truth = logits.detach().cpu(), targets.detach().cpu()
    if not scores.numel() or not bool(scores.isfinite().all()):
        return {}
    several = of_several(truth)
    said = torch.empty(scores.shape)
    for rows, part in pieces(scores):
        said[rows] = (part / temperature).sigmoid().float() if several else (part / temperature).softmax(1).float()
    if several:
        return metrics.multi_label_figures(truth.bool().numpy(), said.numpy())
    return metrics.figures(truth.numpy(), said.numpy())


def pieces(logits: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Parts of logits (N, K) in float64, which are small however many there are, with their rows."""
    size = max(1, _AT_ONCE // logits.shape[1])
    for start in range(0, len(logits), size):
        rows = slice(start, start + size)
        yield rows, logits[rows].double()


def of_several(targets: Tensor) -> bool:
    """Whether a picture may have several labels: targets (N, K) of zeros and ones, not positions (N,)."""
    return targets.ndim == 2


def _some(count: int, classes: int) -> Tensor:
    """Positions of pictures to fit on, evenly over all."""
    most = max(FOLDS, FITTED // classes)
    if count <= most:
        return torch.arange(count)
    chosen: Tensor = torch.linspace(0, count - 1, most).round().long().unique()
    return chosen


def _loss(logits: Tensor, targets: Tensor) -> float:
    """The sum over pictures: cross-entropy, or that of yes and no for each label."""
    if of_several(targets):
        return float(
            torch.nn.functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="sum")
        )
    return float(torch.nn.functional.cross_entropy(logits, targets, reduction="sum"))


def _sure(logits: Tensor, targets: Tensor, temperatures: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Which answers are right and how sure they were, (N,); of several labels, whether each is there, (N, K)."""
    if of_several(targets):
        sure = torch.empty(logits.shape)
        for rows, part in pieces(logits):
            sure[rows] = (part / temperatures[rows]).sigmoid().float()
        return targets.bool().numpy(), sure.numpy()
    found = [(part / temperatures[rows]).softmax(1).max(1) for rows, part in pieces(logits)]
    confidence, answers = (torch.cat(side) for side in zip(*found, strict=True))
    return (answers == targets).numpy(), confidence.numpy()
