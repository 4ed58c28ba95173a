"""Training a head on the features of a frozen model, which are computed once."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from ..errors import Failure
from .audit import looked_over
from .features import MAPPED_FROM, Features, features_of, store_at
from .fingerprints import Fingerprints, Views
from .fit import Examples, Fitted, fit, seeded
from .heads import HeadClassifier
from .processes import ALONE, Processes
from .targets import targets_of

if TYPE_CHECKING:
    from ..models.protocols import ImageEmbedder
    from .data import Labelled
    from .data_report import DataReport
    from .settings import Settings

AUGMENTED_VIEWS: Final = 4
"""Features of each picture when pictures are augmented: one of it as it is, and three changed at random."""


@dataclass(frozen=True)
class Headed:
    """A model with its new head and how the training went; `learn` and `check`: the pictures that could be loaded."""

    model: HeadClassifier
    fitted: Fitted
    failures: tuple[Failure, ...]
    learn: Labelled
    check: Labelled


def train_head(
    embedder: ImageEmbedder,
    learn: Labelled,
    check: Labelled,
    *,
    settings: Settings,
    progress: bool | None,
    cache: bool | str | os.PathLike[str] = False,
    together: Processes = ALONE,
) -> Headed:
    """Trains a linear head over an embedder, which stays as it is.

    The features are standardised for training; the scale is then folded into the head, which so takes them as they are.

    Args:
        embedder: gives the features.
        learn: what is learnt from.
        check: what is measured on.
        settings: how to train; with augmentation each picture has four views, of which every step takes one by chance.
        progress: see `visionkit.progress.bar`.
        cache: whether and where features are kept for the next training: see `features.store_at`.
        together: of several processes the main one trains the head, for all.

    Raises:
        TrainingError: no picture could be loaded, or none of a class, or the loss is NaN.
    """
    made = together.from_main(lambda: _made(embedder, learn, check, settings=settings, progress=progress, cache=cache))
    kept, check_kept = made.kept
    model = HeadClassifier(embedder, made.head, learn.classes)
    model.multi_label = learn.multi_label
    learn = replace(learn.choose(kept), report=made.report)
    return Headed(model, made.fitted, made.failures, learn, replace(check.choose(check_kept), report=made.report))


@dataclass(frozen=True)
class _Made:
    """A head, on the CPU, and how its training went; `kept`: which of the pictures could be loaded."""

    head: nn.Linear
    fitted: Fitted
    failures: tuple[Failure, ...]
    kept: tuple[tuple[int, ...], tuple[int, ...]]
    report: DataReport | None


def _made(
    embedder: ImageEmbedder,
    learn: Labelled,
    check: Labelled,
    *,
    settings: Settings,
    progress: bool | None,
    cache: bool | str | os.PathLike[str],
) -> _Made:
    classes = learn.classes
    store = store_at(cache)
    many = settings.augment != "none"
    views = Views(AUGMENTED_VIEWS if many else 1, settings.augment, settings.seed if many else 0)
    known = Fingerprints(embedder)
    features = features_of(embedder, learn, views, store=store, progress=progress, fingerprints=known)
    checked = features_of(embedder, check, Views(), store=store, progress=progress, fingerprints=known)
    failures = (*features.failures, *checked.failures)
    learn, check = learn.without(f.index for f in features.failures), check.choose(checked.kept)
    learn, check = looked_over(learn, check, failures, features.cells, checked.cells)
    values, device = _placed(features, embedder.device)
    flat = values.flatten(0, 1)
    mean, std = flat.mean(0), flat.std(0, correction=0).clamp_min(1e-6)
    with seeded(settings.seed, device):
        head = nn.Linear(values.shape[2], len(classes)).to(device)
        nn.init.zeros_(head.weight)  # no preference before the first picture
        nn.init.zeros_(head.bias)
        fitted = fit(
            head,
            Examples(values, targets_of(learn, classes).to(device)),
            Examples(checked.values.to(device), targets_of(check, classes).to(device)),
            classes=classes,
            prepare=_first_view_by(mean, std),
            settings=settings,
            progress=progress,
            vary=_any_view if many else None,
        )
    with torch.no_grad():
        head.weight.div_(std)
        head.bias.sub_(head.weight @ mean)
    return _Made(head.cpu(), fitted, failures, (features.kept, checked.kept), learn.report)


def _placed(features: Features, device: torch.device) -> tuple[Tensor, torch.device]:
    """The features where they are learnt from: on the model's device, or, where they stay on the disk, the CPU."""
    size = features.values.numel() * features.values.element_size()
    where = torch.device("cpu") if size > MAPPED_FROM else device
    return features.values.to(where), where


def _first_view_by(mean: Tensor, std: Tensor) -> Callable[[Tensor], Tensor]:
    """(N, V, D) → (N, D), standardised."""

    def prepare(part: Tensor) -> Tensor:
        return (part[:, 0] - mean) / std

    return prepare


def _any_view(part: Tensor, targets: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """One view of each picture, by chance: (N, V, D) → (N, 1, D)."""
    chosen = torch.randint(part.shape[1], (len(part),), generator=draw).to(part.device)
    return part[torch.arange(len(part), device=part.device), chosen][:, None], targets
