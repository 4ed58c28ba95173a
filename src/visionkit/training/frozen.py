"""Training a head on the features of a frozen model, which are computed once."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..errors import Failure, TrainingError
from ..pipeline import Batches
from .fit import Examples, Fitted, fit, seeded
from .heads import HeadClassifier

if TYPE_CHECKING:
    from ..models.protocols import ImageEmbedder
    from .data import Labelled
    from .loop import Settings


@dataclass(frozen=True)
class Headed:
    """A model with its new head and how the training went; `learn` and `check`: the pictures that could be loaded."""

    model: HeadClassifier
    fitted: Fitted
    failures: tuple[Failure, ...]
    learn: Labelled
    check: Labelled


def train_head(
    embedder: ImageEmbedder, learn: Labelled, check: Labelled, *, settings: Settings, progress: bool | None
) -> Headed:
    """Trains a linear head over an embedder, which stays as it is.

    The features are standardised for training; the scale is then folded into the head, which so takes them as they are.

    Raises:
        TrainingError: no picture could be loaded, or the loss is NaN.
    """
    classes = learn.classes
    features, targets, failures = _features(embedder, learn, classes)
    check_features, check_targets, check_failures = _features(embedder, check, classes)
    learn, check = learn.without(f.index for f in failures), check.without(f.index for f in check_failures)
    mean, std = features.mean(0), features.std(0, correction=0).clamp_min(1e-6)
    with seeded(settings.seed, embedder.device):
        head = nn.Linear(features.shape[1], len(classes)).to(embedder.device)
        nn.init.zeros_(head.weight)  # no preference before the first picture
        nn.init.zeros_(head.bias)
        fitted = fit(
            head,
            Examples((features - mean) / std, targets),
            Examples((check_features - mean) / std, check_targets),
            classes=classes,
            prepare=lambda part: part,
            settings=settings,
            progress=progress,
        )
    with torch.no_grad():
        head.weight.div_(std)
        head.bias.sub_(head.weight @ mean)
    model = HeadClassifier(embedder, head, classes)
    return Headed(model, fitted, (*failures, *check_failures), learn, check)


def _features(
    embedder: ImageEmbedder, data: Labelled, classes: tuple[str, ...]
) -> tuple[Tensor, Tensor, tuple[Failure, ...]]:
    """Float32 (N, D) and int64 (N,) on the embedder's device, and the pictures that could not be loaded."""
    position = {name: i for i, name in enumerate(classes)}
    parts: list[Tensor] = []
    targets: list[int] = []
    failures: list[Failure] = []
    batches = Batches(
        data.sources, embedder.preprocess, device=embedder.device, speed=embedder.speed, on_error="return"
    )
    with closing(batches):
        for batch in batches:
            failures.extend(batch.failures)
            if len(batch):
                parts.append(embedder.image_features(batch).float().clone())  # clone: out of inference mode
                targets.extend(position[data.labels[i]] for i in batch.indices)
    if not parts:
        raise TrainingError(f"none of the pictures could be loaded; the first: {failures[0]}")
    return torch.cat(parts), torch.tensor(targets, dtype=torch.int64, device=embedder.device), tuple(failures)
