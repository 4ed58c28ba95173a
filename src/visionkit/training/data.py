"""Labelled pictures: from pairs or a folder per class; labels by name; a stratified split."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from sklearn.model_selection import train_test_split

from ..errors import InputError, TrainingError
from ..images import Source, describe, find_images, is_single
from ..images.sources import is_file_object, read_bytes
from ..models.labels import check_labels

Data: TypeAlias = "str | os.PathLike[str] | Iterable[tuple[Source, str]]"
"""A folder with a folder of pictures for each class, or pairs of an image source and its label."""


@dataclass(frozen=True)
class Labelled:
    """Pictures with the names of their classes.

    Attributes:
        sources: (N,) image sources.
        labels: (N,) the class of each.
    """

    sources: tuple[Source, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def classes(self) -> tuple[str, ...]:
        """The different labels, sorted."""
        return check_labels(sorted(set(self.labels)))

    def without(self, failed: Iterable[int]) -> Labelled:
        """What is left when some could not be loaded.

        Raises:
            TrainingError: a class has no picture left.
        """
        gone = set(failed)
        left = self.choose(i for i in range(len(self)) if i not in gone)
        empty = sorted(set(self.labels) - set(left.labels))
        if empty:
            raise TrainingError(f"none of the {self.labels.count(empty[0])} pictures of {empty[0]!r} could be loaded")
        return left

    def choose(self, indices: Iterable[int]) -> Labelled:
        """The pictures at some positions."""
        chosen = list(indices)
        return Labelled(tuple(self.sources[i] for i in chosen), tuple(self.labels[i] for i in chosen))


def read_data(data: Data) -> Labelled:
    """Data of any accepted form.

    Raises:
        SourceError: the folder is missing.
        InputError: not pairs, or a label that is no name.
        TrainingError: no pictures, or fewer than two classes.
    """
    if isinstance(data, (str, os.PathLike)):
        labelled, wanted = _from_folder(data), f": {describe(data)} must hold a folder of pictures for each class"
    else:
        labelled, wanted = _from_pairs(data), ""
    if not len(labelled):
        raise TrainingError(f"there are no pictures to learn from{wanted}")
    if len(labelled.classes) < 2:
        raise TrainingError(f"there is one class only, {labelled.classes[0]!r}: a classifier needs two at least")
    return labelled


def split(data: Labelled, fraction: float, seed: int) -> tuple[Labelled, Labelled]:
    """Splits off a fraction for validation, of every class alike; the same for the same seed.

    Raises:
        InputError: a fraction that is not between 0 and 1.
        TrainingError: a class with a single picture, or too few pictures for a part of every class.
    """
    if not 0.0 < fraction < 1.0:
        raise InputError(f"validation={fraction} must be a fraction between 0 and 1, or data")
    lonely = [label for label, count in Counter(data.labels).items() if count < 2]
    if lonely:
        raise TrainingError(f"the class {lonely[0]!r} has one picture; two at least are needed to learn and to check")
    try:
        learn, check = train_test_split(
            range(len(data)), test_size=fraction, stratify=data.labels, random_state=seed, shuffle=True
        )
    except ValueError as err:
        raise TrainingError(
            f"{len(data)} pictures of {len(data.classes)} classes are too few to set {fraction:.0%} aside: {err}"
        ) from err
    return data.choose(sorted(learn)), data.choose(sorted(check))


def _from_folder(folder: str | os.PathLike[str]) -> Labelled:
    sources: list[Source] = []
    labels: list[str] = []
    for path in find_images(folder):
        parts = path.relative_to(Path(folder)).parts
        if len(parts) > 1:  # a picture beside the class folders has no class
            sources.append(path)
            labels.append(parts[0])
    return Labelled(tuple(sources), tuple(labels))


def _from_pairs(pairs: Iterable[object]) -> Labelled:
    sources: list[Source] = []
    labels: list[str] = []
    if not isinstance(pairs, Iterable):
        raise InputError(f"data must be a folder or pairs of image and label, not {type(pairs).__name__}")
    for index, pair in enumerate(pairs):
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2 or not is_single(pair[0]):
            raise InputError(f"data[{index}] is no pair of an image and its label")
        source: Source = pair[0]
        label = pair[1]
        if not isinstance(label, str) or not label.strip():
            raise InputError(f"the label of data[{index}] is {label!r}: labels are names, strings that are not empty")
        if is_file_object(source):  # each picture is read more than once
            source = read_bytes(source, describe(source))
        sources.append(source)
        labels.append(label)
    return Labelled(tuple(sources), tuple(labels))
