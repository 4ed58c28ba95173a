"""The learning rate over the steps of a training, as a function of the step: nothing to keep in a checkpoint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from .settings import Recipe

_START: Final = 25.0
_END: Final = 1e4
_MOMENTUM: Final = (0.85, 0.95)
"""The constants of torch's `OneCycleLR`, which are fastai's: the cycle begins at a 25th of the peak and ends at a
10,000th of that, while the momentum goes from 0.95 down to 0.85 and back."""

_WARMUP: Final = {"one_cycle": 0.3, "cosine": 0.05}


@dataclass(frozen=True)
class Rate:
    """What an optimizer is set to for one step.

    Attributes:
        factor: what the highest learning rate is multiplied by, 0–1.
        momentum: of SGD, and the first beta of AdamW.
    """

    factor: float
    momentum: float


def rate_at(recipe: Recipe, step: int, total: int) -> Rate:
    """The rate for `step`, from 0, of `total`."""
    warmup = _WARMUP[recipe.schedule] if recipe.warmup is None else recipe.warmup
    if recipe.schedule == "cosine":
        rising = warmup * total
        if step < rising:
            return Rate((step + 1) / (math.floor(rising) + 1), _MOMENTUM[1] - 0.05)
        return Rate(_cosine(1.0, 0.0, (step - rising) / max(1.0, total - rising)), _MOMENTUM[1] - 0.05)
    peak = warmup * total - 1.0
    if step <= peak:
        part = step / peak if peak > 0 else 1.0
        return Rate(_cosine(1.0 / _START, 1.0, part), _cosine(_MOMENTUM[1], _MOMENTUM[0], part))
    part = min(1.0, (step - peak) / (total - 1.0 - peak))
    return Rate(_cosine(1.0, 1.0 / _START / _END, part), _cosine(_MOMENTUM[0], _MOMENTUM[1], part))


def _cosine(start: float, end: float, part: float) -> float:
    """From `start` to `end` along half a cosine, as `part` goes from 0 to 1."""
    return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * part))
