"""What a report shows beyond a run's figures: example pictures and the worst mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict

from ..images import Picture, Source, describe
from .calibration import of_several, pieces

if TYPE_CHECKING:
    from torch import Tensor

    from .data import Labelled

WORST: Final = 12
EXAMPLES: Final = 4
_CLASSES_SHOWN: Final = 40
"""Classes of which example pictures are kept."""


class HeatmapLike(Protocol):
    """What an explanation can do: `results.Heatmap`."""

    def overlay(self, image: Source | None = None) -> Picture:
        """The picture with the heat over it."""


Explain: TypeAlias = Callable[[Source, str], HeatmapLike]
"""An image and a label → where in the image the model sees it."""


class Mistake(BaseModel):
    """A wrong answer about a picture set aside.

    Attributes:
        source: the picture, as a string.
        label: what it is; the names with commas between, where there are several.
        answer: what the model said; for several labels, the one that it was most wrong about, with "not " before it
            where `missed`.
        missed: of several labels: the picture has it, and the model did not see it.
        probability: of the answer, in the calibrated model.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    label: str
    answer: str
    missed: bool = False
    probability: float


@dataclass(frozen=True)
class Evidence:
    """Pictures for the report, and what else a run's JSON cannot hold.

    Attributes:
        learnt, set_aside: pictures of each class that were learnt from and measured on.
        examples: class → a few sources.
        worst: the sources of the run's `worst`.
        settings: name → value, as they were given.
        explain: heat maps for the worst mistakes; None: without.
    """

    learnt: Mapping[str, int]
    set_aside: Mapping[str, int]
    examples: Mapping[str, tuple[Source, ...]]
    worst: tuple[Source, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    explain: Explain | None = None


def gather(learn: Labelled, check: Labelled, worst: tuple[int, ...], **more: Any) -> Evidence:
    """Keeps a few pictures of the data; `worst`: positions in `check`."""
    examples: dict[str, tuple[Source, ...]] = {}
    for source, label in zip(learn.sources, learn.labels, strict=True):
        for name in _names(label):
            known = examples.get(name, ())
            if len(known) < EXAMPLES and (known or len(examples) < _CLASSES_SHOWN):
                examples[name] = (*known, source)
    return Evidence(
        learnt=Counter(name for label in learn.labels for name in _names(label)),
        set_aside=Counter(name for label in check.labels for name in _names(label)),
        examples=examples,
        worst=tuple(check.sources[i] for i in worst),
        **more,
    )


def _names(label: str | tuple[str, ...]) -> tuple[str, ...]:
    return (label,) if isinstance(label, str) else label


def worst_mistakes(
    check: Labelled, logits: Tensor, targets: Tensor, classes: tuple[str, ...], temperature: float
) -> tuple[tuple[int, ...], tuple[Mistake, ...]]:
    """The wrong answers that the model was surest of, the surest first, at most `WORST`.

    Args:
        check: (N,) the pictures set aside.
        logits: (N, K), targets: see `calibrate`.
        targets: see `calibrate`.
        classes: (K,) names.
        temperature: of the model.

    Returns:
        Their positions in `check`, and what they are.
    """
    if len(check) != len(logits) or not len(check):
        return (), ()
    several = of_several(targets)
    found = []
    for rows, part in pieces(logits):
        said = (part / temperature).sigmoid() if several else (part / temperature).softmax(1)
        found.append(((said - targets[rows]).abs() if several else said).max(1))
    surest, answers = (torch.cat(side) for side in zip(*found, strict=True))
    wrong = surest > 0.5 if several else answers != targets
    places = _surest(wrong, surest)
    mistakes = []
    for i in places:
        answer = int(answers[i])
        missed = several and bool(targets[i, answer])
        mistakes.append(
            Mistake(
                source=describe(check.sources[i]),
                label=", ".join(_names(check.labels[i])) or "none",
                answer=f"not {classes[answer]}" if missed else classes[answer],
                missed=missed,
                probability=float(surest[i]),
            )
        )
    return tuple(places), tuple(mistakes)


def _surest(wrong: torch.Tensor, surest: Tensor) -> list[int]:
    places = [int(i) for i in wrong.nonzero()[:, 0]]
    return sorted(places, key=lambda i: -float(surest[i]))[:WORST]
