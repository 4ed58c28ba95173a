"""Runs the loop with someone watching: a figure for each epoch, a bar, and the final count on pictures set aside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..progress import bar
from ..results import metrics
from .loop import Settings, predict, train_epochs
from .run import EpochRecord

_random_lock = threading.RLock()


@dataclass(frozen=True)
class Examples:
    """What is learnt from, or checked on: inputs (N, …) and the classes' positions, int64 (N,), on one device."""

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Fitted:
    """How a training went: see `TrainingRun`.

    Attributes:
        history, metrics, confusion: the run's.
        logits: float32 (N, K) on the CPU: what the trained module says of the pictures set aside.
        targets: of `Examples`, for those pictures, on the CPU.
    """

    history: tuple[EpochRecord, ...]
    metrics: dict[str, float]
    confusion: tuple[tuple[int, ...], ...]
    logits: Tensor
    targets: Tensor


def fit(
    module: nn.Module,
    learn: Examples,
    check: Examples,
    *,
    classes: int,
    prepare: Callable[[Tensor], Tensor],
    settings: Settings,
    progress: bool | None,
) -> Fitted:
    """Trains in place, and measures after each epoch on the pictures set aside.

    Raises:
        TrainingError: the loss is no number any more.
    """
    history: list[EpochRecord] = []
    answers: list[int] = []
    logits = torch.zeros((0, classes))
    truth = check.targets.tolist()
    with bar(settings.epochs, progress, unit="epoch") as shown:
        started = time.monotonic()
        for loss in train_epochs(module, learn.inputs, learn.targets, prepare, settings):
            logits = predict(module, check.inputs, prepare)
            answers = logits.argmax(1).tolist()
            now = time.monotonic()
            record = EpochRecord(
                epoch=len(history) + 1,
                loss=loss,
                validation_loss=float(functional.cross_entropy(logits, check.targets)),
                accuracy=metrics.accuracy(truth, answers),
                seconds=now - started,
            )
            started = now
            history.append(record)
            shown.set_postfix(loss=f"{loss:.3f}", accuracy=f"{record.accuracy:.1%}", refresh=False)
            shown.update()
    figures = {"accuracy": history[-1].accuracy, "validation_images": float(len(truth))}
    confusion = metrics.confusion(truth, answers, classes)
    return Fitted(tuple(history), figures, confusion, logits.cpu(), check.targets.cpu())


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers of torch from a seed, without a trace in the caller's own sequence."""
    devices = [device] if device.type == "cuda" else []
    with _random_lock, torch.random.fork_rng(devices=devices):  # torch's numbers are one sequence for all threads
        torch.manual_seed(seed)
        yield
