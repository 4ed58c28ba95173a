"""Watches a training: whether the loss is still a number, how each epoch went, and when it is enough."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import TrainingError
from ..results import metrics
from .loop import Learner, Step
from .run import EpochRecord
from .settings import Settings

_LOOK_EVERY: Final = 32
"""Steps between two looks at the loss on a GPU, which each look makes wait; on a CPU it costs nothing."""


class Watch:
    """Sees each step, and makes the epochs' records.

    Args:
        learner: what learns.
        settings: how.
        images: pictures in an epoch.
    """

    def __init__(self, learner: Learner, settings: Settings, images: int) -> None:
        self._learner = learner
        self._settings = settings
        self._images = images
        self._every = 1 if learner.loss_sum.device.type == "cpu" else _LOOK_EVERY
        self._started = self._learned = time.monotonic()
        self._seen = 0

    def see(self, step: Step) -> None:
        """Looks at a step that was made.

        Raises:
            TrainingError: the loss is NaN or infinite.
        """
        self._seen += step.pictures
        if (step.number % self._every == 0 or step.last) and not bool(torch.isfinite(self._learner.loss_sum)):
            raise self._no_number(float(self._learner.loss_sum), f"in epoch {step.epoch}, by step {step.number}")
        if step.last:
            self._learned = time.monotonic()

    def record(self, epoch: int, logits: Tensor, targets: Tensor) -> EpochRecord:
        """The record of an epoch, from the logits of the pictures set aside: call it after the last step.

        Raises:
            TrainingError: their loss is NaN or infinite: the last step has spoilt the weights.
        """
        loss = validation_loss(logits, targets)
        if not math.isfinite(loss):
            raise self._no_number(loss, f"in epoch {epoch}, after its last step, on the pictures set aside")
        spent = max(self._learned - self._started, 1e-9)
        record = EpochRecord(
            epoch=epoch,
            loss=float(self._learner.loss_sum) / self._images,
            validation_loss=loss,
            accuracy=accuracy(logits, targets),
            seconds=time.monotonic() - self._started,
            images_per_second=self._seen / spent,
        )
        self._started = time.monotonic()
        self._seen = 0
        return record

    def _no_number(self, loss: float, where: str) -> TrainingError:
        what = "NaN" if math.isnan(loss) else "infinite"
        return TrainingError(f"the loss is {what} {where}: try a learning rate below {self._settings.learning_rate}")


def validation_loss(logits: Tensor, targets: Tensor) -> float:
    """Cross-entropy, or for several labels each one's own binary one, without weights or smoothing."""
    if targets.is_floating_point():
        return float(functional.binary_cross_entropy_with_logits(logits, targets))
    return float(functional.cross_entropy(logits, targets))


def accuracy(logits: Tensor, targets: Tensor) -> float:
    """The fraction of right answers, 0–1; for several labels, of right decisions about each."""
    if targets.is_floating_point():
        return float(((logits > 0) == (targets > 0.5)).float().mean())
    return metrics.accuracy(targets.tolist(), logits.argmax(1).tolist())


def best_epoch(history: Sequence[EpochRecord]) -> int:
    """The epoch with the lowest loss on the pictures set aside, from 1; 0 before the first."""
    return min(history, key=lambda record: record.validation_loss).epoch if history else 0


def is_over(history: Sequence[EpochRecord], settings: Settings) -> bool:
    """Whether as many epochs have passed without a better one as the recipe allows."""
    patience = settings.recipe.early_stopping
    return patience is not None and len(history) - best_epoch(history) >= patience
