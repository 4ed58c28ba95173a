"""Labelled pictures become tensors that training sees many times."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ..errors import Failure, TrainingError
from ..pipeline import Preprocess
from ..pipeline.resident import load_pixels, room_for
from ..pipeline.sketch import sketches
from .audit import looked_over
from .data import Labelled
from .fit import Examples
from .processes import ALONE, Processes
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


def load_pictures(learn: Labelled, check: Labelled, preprocess: Preprocess, together: Processes = ALONE) -> Pictures:
    """Loads all pictures, fitted to the size of `preprocess`; of several processes the main one does, for all.

    Raises:
        TrainingError: none could be loaded, or none of a class.
        InputError: they are too many for memory.
    """
    if together.count == 1:
        return _load(learn, check, preprocess)[0]
    loaded = _load(learn, check, preprocess) if together.main else None
    kept, failures, report = together.from_main(
        lambda: (loaded[1], loaded[0].failures, loaded[0].learn.report) if loaded else ((), (), None)
    )
    if loaded:
        pictures = loaded[0]
    else:
        parts = [replace(d.choose(places), report=report) for d, places in zip((learn, check), kept, strict=True)]
        rooms = [Examples(room_for(len(p), preprocess), targets_of(p, learn.classes)) for p in parts]
        pictures = Pictures(parts[0], parts[1], rooms[0], rooms[1], failures)
    for examples in (pictures.examples, pictures.checks):
        together.fill_from_main(examples.inputs.movedim(1, -1))  # as they lie in memory
        together.fill_from_main(examples.targets)
    return pictures


def _load(
    learn: Labelled, check: Labelled, preprocess: Preprocess
) -> tuple[Pictures, tuple[tuple[int, ...], tuple[int, ...]]]:
    """The pictures, and which of `learn` and `check` they are."""
    pixels, kept, failures = load_pixels(learn.sources, preprocess)
    learn.refuse(failures)
    check_pixels, check_kept, check_failures = load_pixels(check.sources, preprocess)
    check.refuse(check_failures)
    if not kept or not check_kept:
        raise TrainingError(f"none of the pictures could be loaded; the first: {(*failures, *check_failures)[0]}")
    classes = learn.classes
    learn, check = learn.without(f.index for f in failures), check.choose(check_kept)
    learn, check = looked_over(learn, check, (*failures, *check_failures), sketches(pixels), sketches(check_pixels))
    pictures = Pictures(
        learn,
        check,
        Examples(pixels, targets_of(learn, classes)),
        Examples(check_pixels, targets_of(check, classes)),
        (*failures, *check_failures),
    )
    return pictures, (kept, check_kept)


def on_device(examples: Examples, device: torch.device) -> Examples:
    """The same examples on a device."""
    return Examples(examples.inputs.to(device), examples.targets.to(device))
