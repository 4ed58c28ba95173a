"""Labelled pictures become tensors that training sees many times."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..errors import Failure, TrainingError
from ..pipeline import Preprocess
from ..pipeline.resident import load_pixels
from ..pipeline.sketch import sketches
from .audit import looked_over
from .data import Labelled
from .fit import Examples
from .targets import targets_of


@dataclass(frozen=True)
class Pictures:
    """What is learnt from and what is measured on, without what could not be loaded.

    Attributes:
        learn, check: the pictures that could be loaded.
        examples, checks: the same as uint8 (N, 3, H, W) on the CPU, with their classes' positions.
        failures: those that could not.
    """

    learn: Labelled
    check: Labelled
    examples: Examples
    checks: Examples
    failures: tuple[Failure, ...]


def load_pictures(learn: Labelled, check: Labelled, preprocess: Preprocess) -> Pictures:
    """Loads all pictures, fitted to the size of `preprocess`.

    Raises:
        TrainingError: none could be loaded, or none of a class.
        InputError: they are too many for memory.
    """
    pixels, kept, failures = load_pixels(learn.sources, preprocess)
    learn.refuse(failures)
    check_pixels, check_kept, check_failures = load_pixels(check.sources, preprocess)
    check.refuse(check_failures)
    if not kept or not check_kept:
        raise TrainingError(f"none of the pictures could be loaded; the first: {(*failures, *check_failures)[0]}")
    classes = learn.classes
    learn, check = learn.without(f.index for f in failures), check.choose(check_kept)
    learn, check = looked_over(learn, check, (*failures, *check_failures), sketches(pixels), sketches(check_pixels))
    return Pictures(
        learn,
        check,
        Examples(pixels, targets_of(learn, classes)),
        Examples(check_pixels, targets_of(check, classes)),
        (*failures, *check_failures),
    )


def on_device(examples: Examples, device: torch.device) -> Examples:
    """The same examples on a device."""
    return Examples(examples.inputs.to(device), examples.targets.to(device))
