"""The loop that all training of classifiers shares: AdamW, one cycle of the learning rate, cross-entropy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError, TrainingError


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train.

    Attributes:
        epochs: times that each picture is seen.
        batch_size: pictures in a step.
        learning_rate: the peak of the cycle.
        weight_decay: of AdamW.
        seed: of the order of the pictures and all else that is drawn.

    Raises:
        InputError: a number that makes no sense.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "seed"):
            value: object = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise InputError(f"{name}={value!r} must be a whole number")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed={self.seed} must be from 0 to {2**32 - 1}")
        if self.epochs < 1 or self.batch_size < 1 or self.learning_rate <= 0 or self.weight_decay < 0:
            raise InputError(
                f"epochs={self.epochs} and batch_size={self.batch_size} must be at least 1, "
                f"learning_rate={self.learning_rate} above 0, weight_decay={self.weight_decay} not below"
            )


def train_epochs(
    module: nn.Module, inputs: Tensor, targets: Tensor, prepare: Callable[[Tensor], Tensor], settings: Settings
) -> Iterator[float]:
    """Trains in place; yields the mean loss after each epoch.

    Decoupled weight decay as in Loshchilov and Hutter (2019); one cycle as in Smith and Topin, "Super-convergence"
    (2018), in torch's `OneCycleLR`.

    Args:
        module: gives logits (B, K).
        inputs: (N, …), all of them, on the module's device.
        targets: int64 (N,), on the same device.
        prepare: makes the module's input from a part of `inputs`.
        settings: see `Settings`.

    Raises:
        TrainingError: the loss is no number any more.
    """
    order = torch.Generator().manual_seed(settings.seed)
    optimizer = torch.optim.AdamW(module.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    steps = len(_batches(torch.arange(len(inputs)), settings.batch_size))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate, total_steps=settings.epochs * steps
    )
    for epoch in range(settings.epochs):
        module.train()
        total = torch.zeros((), device=inputs.device)
        for index in _batches(torch.randperm(len(inputs), generator=order).to(inputs.device), settings.batch_size):
            loss = functional.cross_entropy(module(prepare(inputs[index])), targets[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach() * len(index)
        mean = float(total) / len(inputs)
        if math.isnan(mean):
            raise TrainingError(
                f"the loss is NaN in epoch {epoch + 1}: try a learning rate below {settings.learning_rate}"
            )
        yield mean


def _batches(order: Tensor, size: int) -> list[Tensor]:
    """Parts of an order; a last one of a single picture joins its neighbour, as batch normalisation needs two."""
    parts = list(order.split(size))
    if size > 1 and len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


@torch.no_grad()
def predict(module: nn.Module, inputs: Tensor, prepare: Callable[[Tensor], Tensor], batch_size: int = 256) -> Tensor:
    """Logits (N, K) in evaluation mode; without inputs, of no rows."""
    module.eval()
    parts = [module(prepare(part)) for part in inputs.split(batch_size)] if len(inputs) else []
    return torch.cat(parts).float() if parts else torch.zeros((0, 0))
