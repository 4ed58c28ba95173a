"""How to train: the one place for every option, checked before any work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from ..errors import InputError

_OPTIMIZERS: Final = ("adamw", "sgd")
_SCHEDULES: Final = ("one_cycle", "cosine")
_PRECISIONS: Final = (None, "float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is rarely changed of a training.

    Attributes:
        optimizer: "adamw" (Loshchilov and Hutter, 2019), or "sgd" with Nesterov's momentum.
        schedule: of the learning rate: "one_cycle" up and down (Smith and Topin, 2018), or "cosine" down after a
            linear warm-up (Loshchilov and Hutter, 2017).
        warmup: the fraction of all steps in which the rate rises; None: 0.3 for one cycle, 0.05 for cosine.
        label_smoothing: what of each target is spread over all classes, 0–1 (Szegedy et al., 2016).
        class_weights: None: each picture counts alike; "balanced": each class does; or class → weight.
        early_stopping: epochs without a lower loss on the pictures set aside, after which training ends; the weights of
            the best epoch are then the model's. None: all epochs, and the last weights.
        ema: decay of a running average of the weights, such as 0.999, which is then the model; None: the weights.
        accumulate: batches whose gradients make one step together, where the device has no memory for a larger batch.
        precision: "float32"; "bfloat16": mixed, where the device has it; None: what `accelerate launch
            --mixed_precision` asks for; where that is nothing or "no", the second on CUDA, and the first elsewhere.

    Raises:
        InputError: a value that makes no sense.
    """

    optimizer: Literal["adamw", "sgd"] = "adamw"
    schedule: Literal["one_cycle", "cosine"] = "one_cycle"
    warmup: float | None = None
    label_smoothing: float = 0.0
    class_weights: Literal["balanced"] | Mapping[str, float] | None = None
    early_stopping: int | None = None
    ema: float | None = None
    accumulate: int = 1
    precision: Literal["float32", "bfloat16"] | None = None

    def __post_init__(self) -> None:
        _one_of("optimizer", self.optimizer, _OPTIMIZERS)
        _one_of("schedule", self.schedule, _SCHEDULES)
        _one_of("precision", self.precision, _PRECISIONS)
        _whole("accumulate", self.accumulate)
        if self.early_stopping is not None:
            _whole("early_stopping", self.early_stopping)
        if self.warmup is not None and not 0.0 <= _number("warmup", self.warmup) < 1.0:
            raise InputError(f"warmup={self.warmup} must be a fraction of all steps, from 0 to below 1")
        if not 0.0 <= _number("label_smoothing", self.label_smoothing) < 1.0:
            raise InputError(f"label_smoothing={self.label_smoothing} must be from 0 to below 1")
        if self.ema is not None and not 0.0 < _number("ema", self.ema) < 1.0:
            raise InputError(f"ema={self.ema} must be a decay between 0 and 1, such as 0.999")
        self._check_weights(self.class_weights)

    def _check_weights(self, weights: object) -> None:
        if weights is None or weights == "balanced":
            return
        if not isinstance(weights, Mapping):
            raise InputError(f"class_weights={weights!r} must be None, 'balanced', or weights by the classes' names")
        for name, weight in weights.items():
            if not isinstance(name, str) or _number(f"class_weights[{name!r}]", weight) <= 0:
                raise InputError(f"class_weights[{name!r}]={weight!r}: give a weight above 0 for a class's name")
        object.__setattr__(self, "class_weights", dict(weights))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train.

    Attributes:
        epochs: times that each picture is seen.
        batch_size: pictures in a batch; "auto": as many as the device has memory for, at most 512.
        learning_rate: the highest of the schedule.
        weight_decay: decoupled from the gradients.
        seed: of the order of the pictures and all else that is drawn.
        augment: the policy by which pictures are changed at random.
        recipe: see `Recipe`.
        train: what of a network is trained: "all", or another part, as `fine_tune` has it.

    Raises:
        InputError: a number that makes no sense.
    """

    epochs: int
    batch_size: int | Literal["auto"]
    learning_rate: float
    weight_decay: float
    seed: int
    augment: str = "none"
    recipe: Recipe = field(default_factory=Recipe)
    train: str = "all"

    def __post_init__(self) -> None:
        for name in ("epochs", "seed", *(() if self.batch_size == "auto" else ("batch_size",))):
            _integer(name, getattr(self, name))
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed={self.seed} must be from 0 to {2**32 - 1}")
        batch_size = 1 if self.batch_size == "auto" else self.batch_size
        rate, decay = _number("learning_rate", self.learning_rate), _number("weight_decay", self.weight_decay)
        if self.epochs < 1 or batch_size < 1 or rate <= 0 or decay < 0:
            raise InputError(
                f"epochs={self.epochs} and batch_size={self.batch_size} must be at least 1, "
                f"learning_rate={self.learning_rate} above 0, weight_decay={self.weight_decay} not below"
            )
        given: object = self.recipe
        if not isinstance(given, Recipe):
            raise InputError(f"recipe must be a visionkit.training.Recipe, not {type(given).__name__}")


def _one_of(name: str, value: object, known: tuple[str | None, ...]) -> None:
    if not isinstance(value, (str, type(None))) or value not in known:
        raise InputError(f"{name}={value!r} is not offered; choose one of {', '.join(map(repr, known))}")


def _integer(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InputError(f"{name}={value!r} must be a whole number")
    return value


def _whole(name: str, value: object) -> None:
    if _integer(name, value) < 1:
        raise InputError(f"{name}={value} must be at least 1")


def _number(name: str, value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise InputError(f"{name}={value!r} must be a finite number")
    return float(value)
