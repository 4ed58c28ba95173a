"""What a training starts from: the optimizer, the weights of the classes, the precision, the size of a batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor, nn

from ..errors import InputError, TrainingError
from ..log import log
from ..pipeline.device import has_bfloat16
from .loop import Learner, Lesson, generator, loss_of
from .processes import ALONE, Processes
from .settings import Recipe, Settings

_LARGEST_BATCH: Final = 512
"""Where "auto" begins: larger ones are hardly faster, and learn less of each picture."""


@dataclass(frozen=True)
class Group:
    """Parameters with a rate of their own.

    Attributes:
        parameters: of the module.
        share: of the highest learning rate.
    """

    parameters: tuple[nn.Parameter, ...]
    share: float = 1.0


def new_learner(
    module: nn.Module,
    groups: Sequence[Group],
    settings: Settings,
    device: torch.device,
    precision: torch.dtype = torch.float32,
) -> Learner:
    """A learner before its first step; without groups it learns all parameters at the full rate."""
    groups = groups or [Group(tuple(module.parameters()))]
    peaks = [settings.learning_rate * group.share for group in groups]
    chosen = [
        {"params": list(group.parameters), "lr": peak, "peak": peak} for group, peak in zip(groups, peaks, strict=True)
    ]
    optimizer: torch.optim.Optimizer
    # Not fused: torch does not count what its fused optimizers write, and a model would not see that it changed.
    if settings.recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(chosen, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay)
    else:
        optimizer = torch.optim.AdamW(chosen, weight_decay=settings.weight_decay)
    average = copy.deepcopy(module) if settings.recipe.ema is not None else None
    scaler = torch.amp.GradScaler(device.type) if precision == torch.float16 else None
    return Learner(module, optimizer, average, loss_sum=torch.zeros((), device=device), scaler=scaler)


def class_weights(recipe: Recipe, targets: Tensor, classes: Sequence[str]) -> Tensor | None:
    """Float32 (K,) on the targets' device: what each class counts; None: all alike.

    With several labels for each picture it is what being of the class counts against not being of it.

    Raises:
        InputError: a name that is no class.
    """
    given = recipe.class_weights
    if given is None:
        return None
    if not isinstance(given, str):
        unknown = sorted(set(given) - set(classes))
        if unknown:
            raise InputError(f"class_weights has {unknown[0]!r}, which is no class; they are {', '.join(classes[:20])}")
        return torch.tensor([float(given.get(name, 1.0)) for name in classes], device=targets.device)
    if targets.is_floating_point():
        counts = targets.sum(0).clamp_min(1.0)
        return ((len(targets) - counts) / counts).clamp_min(1e-3)
    counts = torch.bincount(targets, minlength=len(classes)).clamp_min(1).float()
    return len(targets) / (len(classes) * counts)


def arithmetic(recipe: Recipe, device: torch.device, launched: torch.dtype | None = None) -> torch.dtype:
    """The precision of the arithmetic, where the device has it: of the recipe, else of the launcher."""
    said = {"float32": torch.float32, "bfloat16": torch.bfloat16, None: launched}[recipe.precision]
    if device.type == "cuda":
        wanted = said or torch.bfloat16
        return wanted if wanted != torch.bfloat16 or torch.cuda.is_bf16_supported() else torch.float32
    if said in (None, torch.float32):
        return torch.float32
    if said == torch.float16 or device.type != "cpu" or not has_bfloat16():
        name = str(said).removeprefix("torch.")
        log.warning("visionkit: this %s does not train in %s, so it trains in float32", device.type, name)
        return torch.float32
    return torch.bfloat16


def batch_size_for(learner: Learner, lesson: Lesson, settings: Settings, together: Processes = ALONE) -> int:
    """The batch size of the settings; "auto" is found by steps with a copy, halving until memory suffices.

    Raises:
        TrainingError: there is no memory for two pictures.
    """
    if settings.batch_size != "auto":
        return settings.batch_size
    size = most = min(_LARGEST_BATCH, max(2, len(lesson.inputs)))
    while not _fits(learner, lesson, size):
        if lesson.inputs.device.type == "cuda":
            torch.cuda.empty_cache()  # outside the handler: the error holds on to what the step had made
        if size <= 2:
            raise TrainingError(f"{lesson.inputs.device} has not the memory to learn from two pictures at once")
        size = max(2, size // 2)
    return together.size_for_all(size, most)


def _fits(learner: Learner, lesson: Lesson, size: int) -> bool:
    twin = copy.deepcopy(learner.module).train()
    trial = replace(learner, module=twin, optimizer=torch.optim.AdamW(twin.parameters(), lr=0.0))
    index = torch.arange(size, device=lesson.inputs.device) % len(lesson.inputs)
    try:
        loss_of(twin, lesson, index, generator(0, "trial", 0)).backward()
        trial.optimizer.step()
    except torch.OutOfMemoryError:
        return False
    except RuntimeError as err:
        if "can't allocate memory" in str(err):  # what torch says on a CPU
            return False
        raise
    return True
