"""`calibration=`: pictures of the caller's choice, from which `speed="fastest"` learns."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..images import is_single
from ..pipeline import Batches
from .int8 import WANTED
from .protocols import ImageEmbedder

if TYPE_CHECKING:
    from ..images import Source


def calibrate(model: Any, sources: Iterable[Source]) -> None:
    """Shows a model the first few hundred of some pictures, and has its int8 form made of them.

    Raises:
        InputError: a model of another speed, or pictures that are none or too few.
    """
    learner = model
    while not hasattr(learner, "calibrating") and hasattr(learner, "embedder"):
        learner = learner.embedder
    if not hasattr(learner, "calibrating"):
        raise InputError(f"calibration= goes with speed='fastest', which {model.name} does not offer")
    if is_single(sources):
        raise InputError("calibration= takes a list of pictures, best a few hundred")
    with (
        learner.calibrating(),
        closing(
            Batches(
                islice(sources, WANTED),
                model.preprocess,
                device=model.device,
                speed=model.speed,
                on_error="return",
            )
        ) as batches,
    ):
        for batch in batches:
            if len(batch):
                _look(learner, batch)


def _look(model: Any, batch: Any) -> None:
    if isinstance(model, ImageEmbedder):
        model.image_features(batch)
    else:
        model.class_logits(batch)
