"""Runs the loop with someone watching: a figure for each epoch, a bar, checkpoints, and the final count."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from ..progress import bar
from ..results import metrics
from .checkpoint import Copy, copy_of, take
from .learner import Group, arithmetic, batch_size_for, class_weights, new_learner
from .loop import Learner, Lesson, Settings, Vary, predict, train_steps
from .processes import ALONE, Processes
from .run import EpochRecord
from .watch import Watch, best_epoch, is_over

if TYPE_CHECKING:
    from .keeper import Keeper

_random_lock = threading.RLock()

_MOST_CONFUSED: Final = 1000
"""Classes up to which there is a confusion matrix: of ten thousand it would be a hundred million counts."""


@dataclass(frozen=True)
class Examples:
    """What is learnt from, or checked on, on one device.

    Attributes:
        inputs: (N, …).
        targets: the classes' positions, int64 (N,); or float (N, K) of 0 and 1 where a picture may have several.
    """

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Fitted:
    """How a training went: see `TrainingRun`.

    Attributes:
        history, metrics, confusion: the run's; no confusion where a picture may have several labels, or of over
            1,000 classes.
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
    classes: Sequence[str],
    prepare: Callable[[Tensor], Tensor],
    settings: Settings,
    progress: bool | None,
    vary: Vary | None = None,
    groups: Sequence[Group] = (),
    keeper: Keeper | None = None,
    together: Processes = ALONE,
) -> Fitted:
    """Trains in place, and measures after each epoch on the pictures set aside.

    Args:
        module: gives logits (N, K).
        learn: what is learnt from.
        check: what is measured on.
        classes: (K,) names.
        prepare: makes the module's input from a part of the inputs.
        settings: how to train.
        progress: see `visionkit.progress.bar`.
        vary: changes a part of the inputs at random, for learning.
        groups: parameters with rates of their own; none: all of the module's, at the full rate.
        keeper: keeps checkpoints, and has the one to go on from; in the main process.
        together: who trains.

    Raises:
        TrainingError: the loss is no number any more, or a checkpoint cannot be written or does not fit.
        KeyboardInterrupt: where there is a checkpoint, with the way to go on.
    """
    device, count = learn.inputs.device, len(learn.inputs)
    weights = class_weights(settings.recipe, learn.targets, classes)
    precision = arithmetic(settings.recipe, device, together.precision)
    lesson = Lesson(learn.inputs, learn.targets, prepare, vary, weights, precision)
    learner = new_learner(module, groups, settings, device, precision)
    history = list(keeper.restore(learner)) if keeper else []
    known = keeper.batch_size if keeper else None
    if together.count > 1:  # a module of the caller's own may have begun otherwise in each process
        begun, history, known = together.from_main(partial(_begun, learner, history, known))
        take(learner, begun)
    batch_size = known or batch_size_for(learner, lesson, settings, together)
    answer = partial(_answers, check=check, prepare=prepare, classes=classes, together=together)
    if keeper:
        keeper.begin(learner, history, batch_size)
    with (
        bar(settings.epochs * count, progress if together.main else False, unit="image") as shown,
        _kept_to_the_last_step(keeper, learner, history),
    ):
        done = learner.epoch * count + learner.step * batch_size * settings.recipe.accumulate
        shown.n = shown.initial = min(done, settings.epochs * count)
        watch = Watch(learner, settings, count)
        steps = () if is_over(history, settings) else train_steps(learner, lesson, settings, batch_size, together)
        for step in steps:
            watch.see(step)
            shown.update(step.pictures)
            epoch_over = step.last and len(history) < step.epoch
            if epoch_over:
                logits = answer(learner.average or module)
                record = together.from_main(partial(watch.record, step.epoch, logits, check.targets))
                if settings.recipe.early_stopping and best_epoch([*history, record]) == step.epoch:
                    learner.best = state_of(learner.average or module)
                history.append(record)
                shown.set_postfix(loss=f"{record.loss:.3f}", accuracy=f"{record.accuracy:.1%}", refresh=False)
            if keeper:
                keeper.see(learner, history, epoch_over=epoch_over)
            if is_over(history, settings):
                break
    return _finished(learner, history, check, classes, answer)


@contextmanager
def _kept_to_the_last_step(keeper: Keeper | None, learner: Learner, history: Sequence[EpochRecord]) -> Iterator[None]:
    """On Ctrl-C one more checkpoint, of the last step that was whole."""
    try:
        yield
    except KeyboardInterrupt:
        if keeper:
            keeper.keep_last_step(learner, history)
        raise


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all weights."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _begun(
    learner: Learner, history: list[EpochRecord], batch_size: int | None
) -> tuple[Copy, list[EpochRecord], int | None]:
    return copy_of(learner), history, batch_size


def _answers(
    module: nn.Module,
    check: Examples,
    prepare: Callable[[Tensor], Tensor],
    classes: Sequence[str],
    together: Processes,
) -> Tensor:
    """Logits (N, K) of the pictures set aside, of which each process answers for a part."""
    count = len(check.inputs)
    mine = predict(module, check.inputs[together.rows(count)], prepare)
    return together.all_rows(mine, (count, len(classes)))


def _finished(
    learner: Learner,
    history: Sequence[EpochRecord],
    check: Examples,
    classes: Sequence[str],
    answer: Callable[[nn.Module], Tensor],
) -> Fitted:
    """Gives the module the weights that count, and measures them."""
    best = learner.best or (learner.average.state_dict() if learner.average is not None else None)
    if best is not None:
        learner.module.load_state_dict(best)
    logits = answer(learner.module).cpu()
    targets = check.targets.cpu()
    counted = history[best_epoch(history) - 1] if learner.best is not None else history[-1]
    figures = {"accuracy": counted.accuracy, "validation_images": float(len(targets))}
    confusion: tuple[tuple[int, ...], ...] = ()
    if not targets.is_floating_point() and len(classes) <= _MOST_CONFUSED:
        confusion = metrics.confusion(targets.tolist(), logits.argmax(1).tolist(), len(classes))
    return Fitted(tuple(history), figures, confusion, logits, targets)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers of torch from a seed, without a trace in the caller's own sequence."""
    devices = [device] if device.type == "cuda" else []
    with _random_lock, torch.random.fork_rng(devices=devices):  # torch's numbers are one sequence for all threads
        torch.manual_seed(seed)
        yield
