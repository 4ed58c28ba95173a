"""The loop that all training of classifiers shares."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from .processes import ALONE, Processes
from .schedule import rate_at
from .settings import Settings

__all__ = ["Learner", "Lesson", "Settings", "Step", "predict", "train_steps"]

_SMALL: Final = 3 * 64 * 64
"""Values of a picture up to which 256 are answered at once."""

Vary: TypeAlias = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""(inputs, targets, random numbers of the CPU) → inputs and targets, changed."""


@dataclass
class Learner:
    """All that a training changes: what a checkpoint holds.

    Attributes:
        module: gives logits (B, K).
        optimizer: over its parameters; each group has its highest learning rate as "peak".
        average: a running average of the module, where one is kept.
        best: the weights of the best epoch, where training may end early.
        epoch: epochs that are over.
        step: steps of the next that are over.
        loss_sum: of the pictures in these, float32.
        scaler: keeps small gradients from vanishing in float16, where that is the precision.
        kept: whether somebody keeps it, so that a step that is stopped midway must be taken back.
        torn: whether a step has changed some of the weights and not yet all: such a learner must not be kept.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: nn.Module | None
    loss_sum: Tensor
    scaler: torch.amp.GradScaler | None = None
    best: dict[str, Tensor] | None = None
    epoch: int = 0
    step: int = 0
    kept: bool = False
    torn: bool = False
    _before: list[tuple[Tensor, Tensor]] = field(default_factory=list, init=False, repr=False)

    def learn_from(self, loss: Tensor) -> None:
        """Adds the gradients of a loss."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()  # type: ignore[no-untyped-call,unused-ignore]

    def move(self) -> None:
        """Moves the weights by the gradients, which are then gone."""
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad()

    def begin_step(self) -> None:
        """Remembers what the forward pass changes: statistics of batches, and the loss."""
        if self.kept:
            self._before = [(value, value.clone()) for value in (*self.module.buffers(), self.loss_sum)]

    def end_step(self) -> None:
        """The step was made: there is nothing to take back."""
        self._before = []

    @torch.no_grad()
    def take_back(self) -> None:
        """Puts a step that was stopped before it changed the weights back to its beginning."""
        for value, before in self._before:
            value.copy_(before)
        self._before = []
        self.optimizer.zero_grad()


@dataclass(frozen=True)
class Lesson:
    """What is learnt, and how pictures reach the module; on the module's device.

    Attributes:
        inputs: (N, …), all of them.
        targets: int64 (N,), or float (N, K) of 0 and 1 where a picture may have several labels.
        prepare: makes the module's input from a part of `inputs`.
        vary: changes a part of `inputs`, and mixes its targets, by the numbers of a generator; None: leaves them.
        class_weights: float (K,), or None.
        precision: of the arithmetic within the module.
    """

    inputs: Tensor
    targets: Tensor
    prepare: Callable[[Tensor], Tensor]
    vary: Vary | None = None
    class_weights: Tensor | None = None
    precision: torch.dtype = torch.float32


@dataclass(frozen=True)
class Step:
    """A step that was made.

    Attributes:
        epoch, number: from 1.
        pictures: that it learnt from.
        last: of its epoch.
    """

    epoch: int
    number: int
    pictures: int
    last: bool


def train_steps(
    learner: Learner, lesson: Lesson, settings: Settings, batch_size: int, together: Processes = ALONE
) -> Iterator[Step]:
    """Trains in place, from where the learner stands; yields after each step.

    Everything that is drawn comes from the seed and the number of the epoch or step, so that a training that was
    stopped goes on as if it had not been. One that stands after the last step of an epoch begins with that step again,
    without pictures: whoever watches may have missed it.
    """
    recipe, device = settings.recipe, lesson.inputs.device
    steps = len(parts(torch.arange(len(lesson.inputs)), batch_size * recipe.accumulate))
    while learner.epoch < settings.epochs:
        learner.module.train()
        order = torch.randperm(len(lesson.inputs), generator=generator(settings.seed, "order", learner.epoch))
        batches = parts(order, batch_size * recipe.accumulate)[learner.step :]
        if not batches:
            yield Step(learner.epoch + 1, learner.step, 0, last=True)
        for index in batches:
            learner.begin_step()
            number = learner.epoch * steps + learner.step
            rate = rate_at(recipe, number, settings.epochs * steps)
            set_rate(learner.optimizer, rate.factor, rate.momentum)
            draw = generator(settings.seed, together.purpose("step"), number)
            joint, losses = together.joint(learner.module, len(index)), []
            for part in parts(index.to(device), batch_size):
                share, loss = joint.share(part), learner.loss_sum.new_zeros(())
                if len(share):
                    loss = loss_of(learner.module, lesson, share, draw, recipe.label_smoothing, of=part)
                    learner.learn_from(loss * (len(part) / len(index)))
                losses.append(loss.detach() * len(part))
            for loss in joint.add_up(losses):
                learner.loss_sum += loss
            learner.torn = True
            learner.move()
            if learner.average is not None and recipe.ema is not None:
                follow(learner.average, learner.module, min(recipe.ema, (1 + number) / (10 + number)))
            learner.step += 1
            learner.end_step()
            learner.torn = False
            yield Step(learner.epoch + 1, learner.step, len(index), last=learner.step == steps)
        learner.torn = True
        learner.epoch, learner.step = learner.epoch + 1, 0
        learner.loss_sum = torch.zeros_like(learner.loss_sum)
        learner.torn = False


def loss_of(
    module: nn.Module,
    lesson: Lesson,
    index: Tensor,
    draw: torch.Generator,
    label_smoothing: float = 0.0,
    *,
    of: Tensor | None = None,
) -> Tensor:
    """The mean loss over some pictures: cross-entropy, or for several labels each one's own binary one.

    The numbers that layers such as dropout draw are torch's own; these too are set from `draw`. Pictures that are a
    share `of` a batch give their part of that batch's mean.
    """
    device = lesson.inputs.device
    torch.default_generator.manual_seed(draw.initial_seed())
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(draw.initial_seed())
    pixels, targets = lesson.inputs[index], lesson.targets[index]
    if lesson.vary is not None:
        pixels, targets = lesson.vary(pixels, targets, draw)
    with torch.autocast(device.type, lesson.precision, enabled=lesson.precision != torch.float32):
        logits = module(lesson.prepare(pixels)).float()
    if lesson.targets.is_floating_point():
        smooth = targets * (1.0 - label_smoothing) + label_smoothing / 2.0
        loss = functional.binary_cross_entropy_with_logits(logits, smooth, pos_weight=lesson.class_weights)
    else:
        loss = functional.cross_entropy(logits, targets, lesson.class_weights, label_smoothing=label_smoothing)
    if of is None or len(of) == len(index):
        return loss
    if lesson.class_weights is None or targets.is_floating_point():
        return loss * (len(index) / len(of))
    return loss * (lesson.class_weights[targets].sum() / lesson.class_weights[lesson.targets[of]].sum())


def generator(seed: int, purpose: str, number: int) -> torch.Generator:
    """Random numbers of their own for each purpose and number, on the CPU."""
    digest = hashlib.sha256(f"{seed} {purpose} {number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))


def set_rate(optimizer: torch.optim.Optimizer, factor: float, momentum: float) -> None:
    """Sets every group's learning rate to a part of its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
        if "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        else:
            group["momentum"] = momentum


@torch.no_grad()
def follow(average: nn.Module, module: nn.Module, decay: float) -> None:
    """Moves a running average a little towards the module; numbers that are counted (integers) are taken over."""
    for mean, value in zip(average.state_dict().values(), module.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1.0 - decay)
        else:
            mean.copy_(value)


def parts(order: Tensor, size: int) -> list[Tensor]:
    """Parts of an order; a last one of a single picture joins its neighbour, as batch normalisation needs two."""
    found = list(order.split(size))
    if size > 1 and len(found) > 1 and len(found[-1]) == 1:
        found[-2:] = [torch.cat(found[-2:])]
    return found


@torch.no_grad()
def predict(module: nn.Module, inputs: Tensor, prepare: Callable[[Tensor], Tensor]) -> Tensor:
    """Logits (N, K) in evaluation mode; without inputs, of no rows."""
    module.eval()
    batch_size = 256 if inputs[:1].numel() <= _SMALL else 32
    found = [module(prepare(part)) for part in inputs.split(batch_size)] if len(inputs) else []
    return torch.cat(found).float() if found else torch.zeros((0, 0))
