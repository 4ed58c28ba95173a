"""`Interval`: a figure with the range that it may as well have had; and the bootstrap that finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

RESAMPLES: Final = 1000
CONFIDENCE: Final = 0.95

_CHUNK: Final = 2_000_000
"""Counts that are held at once: resamples × pictures."""

Array: TypeAlias = npt.NDArray[Any]
Statistic: TypeAlias = Callable[[Array], Array]
"""Counts (R, N), how often each picture is in each resample → the figure of each resample (R,)."""


class Interval(BaseModel):
    """A figure and its 95% confidence interval.

    Attributes:
        value: the figure on the pictures as they are.
        low, high: the percentiles 2.5 and 97.5 of the figure over resamples of the pictures (bootstrap); never so far
            that `value` lies outside.
    """

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.low:.1%}–{self.high:.1%})"


def bootstrap(
    figures: Mapping[str, tuple[float, Statistic]], count: int, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """The intervals of figures, by Efron's percentile bootstrap over pictures; the same for the same seed.

    Resamples in which a figure does not exist, such as those without any picture of a class, are left out of it.

    Args:
        figures: name → the figure on the pictures as they are, and on resamples.
        count: N, how many pictures there are.
        seed: of the resamples: with one seed and count they are the same for every figure and model.
        resamples: R.
    """
    parts: dict[str, list[Array]] = {name: [] for name in figures}
    for counts in _resamples(count, seed, resamples):
        for name, (_, statistic) in figures.items():
            parts[name].append(statistic(counts))
    return {name: _interval(value, np.concatenate(parts[name])) for name, (value, _) in figures.items()}


def _interval(value: float, found: Array) -> Interval:
    known = found[np.isfinite(found)]
    if not len(known):
        return Interval(value=value, low=value, high=value)
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(known, [tail, 100 - tail])
    return Interval(value=value, low=min(value, float(low)), high=max(value, float(high)))


def mean_of(values: npt.ArrayLike) -> tuple[float, Statistic]:
    """The mean of (N,) values, N > 0, for `bootstrap`."""
    numbers = np.asarray(values, dtype=np.float64)
    return float(numbers.mean()), lambda counts: counts @ numbers / len(numbers)


def certain(interval: Interval, count: int) -> Interval:
    """The interval of a fraction of `count` pictures; where it is 0 or 1 its far bound is Clopper and Pearson's.

    Where every answer is right, it is so in every resample too; but that does not prove that all others will be.
    """
    far = ((1 - CONFIDENCE) / 2) ** (1 / count)
    if interval.value == 1.0:
        return Interval(value=1.0, low=far, high=1.0)
    return Interval(value=0.0, low=0.0, high=1 - far) if interval.value == 0.0 else interval


def difference(one: npt.ArrayLike, other: npt.ArrayLike, *, seed: int = 0) -> Interval:
    """The mean of `one` less that of `other`, (N,) values of the same pictures each, which are resampled in pairs."""
    gap = np.asarray(one, dtype=np.float64) - np.asarray(other, dtype=np.float64)
    return bootstrap({"difference": mean_of(gap)}, len(gap), seed=seed)["difference"]


def _resamples(count: int, seed: int, resamples: int) -> Iterator[Array]:
    """Counts (r, N) of resamples with replacement, in parts that fit the memory."""
    random = np.random.Generator(np.random.PCG64(seed))
    size = max(1, _CHUNK // count)
    for start in range(0, resamples, size):
        rows = min(size, resamples - start)
        drawn = random.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)
