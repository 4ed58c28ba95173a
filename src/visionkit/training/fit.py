"""Runs the loop with someone watching: a figure for each epoch, a bar, and the final count on pictures set aside."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..results import metrics
from .loop import Settings, predict, train_epochs
from .run import EpochRecord


@dataclass(frozen=True)
class Examples:
    """What is learnt from, or checked on: inputs (N, …) and the classes' positions, int64 (N,), on one device."""

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Fitted:
    """How a training went: see `TrainingRun`."""

    history: tuple[EpochRecord, ...]
    metrics: dict[str, float]
    confusion: tuple[tuple[int, ...], ...]


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
    truth = check.targets.tolist()
    with _bar(settings.epochs, progress) as show:
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
            show(record)
    figures = {"accuracy": history[-1].accuracy, "validation_images": float(len(truth))}
    return Fitted(tuple(history), figures, metrics.confusion(truth, answers, classes))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch from a seed, without a trace in the caller's own sequence."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


@contextmanager
def _bar(epochs: int, progress: bool | None) -> Iterator[Callable[[EpochRecord], None]]:
    if progress is False or (progress is None and not (sys.stderr.isatty() or "ipykernel" in sys.modules)):
        yield lambda _: None
        return
    from tqdm import tqdm  # here: most trainings in scripts and tests show none

    with tqdm(total=epochs, delay=0 if progress else 2, unit="epoch") as bar:

        def show(record: EpochRecord) -> None:
            bar.set_postfix(loss=f"{record.loss:.3f}", accuracy=f"{record.accuracy:.1%}", refresh=False)
            bar.update()

        yield show
