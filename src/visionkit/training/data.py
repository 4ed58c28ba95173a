"""Data of any form becomes `Labelled`: folders, tables, pairs, data sets of torch and of Hugging Face."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from ..errors import InputError, TrainingError
from ..images import Source, describe, find_images
from .datasets import from_hugging_face, from_torch, is_hugging_face_dataset, is_torch_dataset
from .labelled import PARTS, Label, Labelled, Row, from_rows, joined
from .manifest import is_manifest, read_manifest
from .splits import check_classes, split

__all__ = ["Data", "Label", "Labelled", "check_classes", "read_data", "split"]


class Items(Protocol):
    """A map-style data set, such as torch's."""

    def __getitem__(self, index: Any, /) -> Any:
        """An image and its label."""


Data: TypeAlias = "str | os.PathLike[str] | Iterable[tuple[Source, str | Sequence[str]]] | Items | Mapping[str, Any]"
"""Pictures with labels:

- a folder with a folder of pictures for each class, or with such folders within `train`, `val` and `test`;
- a CSV, JSONL or Parquet table with the columns image (a path relative to the table, or a URL), label, and maybe split;
- pairs of an image source and its label;
- a map-style torch `Dataset` that gives such pairs; numbers are positions in its `classes`;
- a Hugging Face `datasets.Dataset` with the columns image and label;
- a mapping of `train`, `val` and `test` to any of these, such as a `datasets.DatasetDict`.

A list of names in the place of a label: a picture may have several.
"""


def read_data(data: Data, *, least_classes: int = 2) -> Labelled:
    """Data of any accepted form.

    Args:
        data: see `Data`.
        least_classes: how many different labels there must be, where a picture has one.

    Raises:
        SourceError: the folder or table is missing.
        InputError: not data of such a form, or a label that is no name.
        TrainingError: no pictures, or too few classes.
    """
    labelled = _read(data)
    if not len(labelled):
        wanted = ""
        if isinstance(data, (str, os.PathLike)) and not is_manifest(Path(data)):
            wanted = f": {describe(data)} must hold a folder of pictures for each class"
        raise TrainingError(f"there are no pictures to learn from{wanted}")
    if not any(labelled.names()):
        raise TrainingError("no picture has a label")
    if len(labelled.classes) < least_classes and not labelled.multi_label:
        raise TrainingError(f"there is one class only, {labelled.classes[0]!r}: a classifier needs two at least")
    return labelled


def _read(data: Any) -> Labelled:
    if isinstance(data, (str, os.PathLike)):
        path = Path(data)
        return read_manifest(path) if is_manifest(path) and not path.is_dir() else _from_folder(path)
    if isinstance(data, Mapping):
        return _from_parts(data)
    if is_hugging_face_dataset(data):
        return from_hugging_face(data)
    if is_torch_dataset(data):
        return from_torch(data)
    if not isinstance(data, Iterable):
        raise InputError(f"data must be a folder or pairs of image and label, not {type(data).__name__}")
    return from_rows(_pairs(data), "data[{}]".format)


def _from_parts(parts: Mapping[Any, Any]) -> Labelled:
    found: list[Labelled] = []
    for name, data in parts.items():
        known = PARTS.get(str(name).casefold())
        if known is None:
            raise InputError(f"the data has a part {name!r:.80}; the parts are 'train', 'val' and 'test'")
        part = _read(data)
        found.append(replace(part, parts=(known,) * len(part)))
    return joined(found)


def _from_folder(folder: Path) -> Labelled:
    """The first folder below is the class, or the part where all of them are called so and hold classes."""
    found = [(path, path.relative_to(folder).parts) for path in find_images(folder)]
    inside = [(path, parts) for path, parts in found if len(parts) > 1]  # a picture beside the folders has no class
    tops = {parts[0].casefold() for _, parts in inside}
    by_parts = "train" in {PARTS.get(top) for top in tops} and tops <= PARTS.keys()
    if by_parts and any(len(parts) > 2 for _, parts in inside):
        inside = [(path, parts) for path, parts in inside if len(parts) > 2]
        rows: list[Row] = [(path, parts[1], parts[0]) for path, parts in inside]
        classes = {name for top in sorted({parts[0] for _, parts in inside}) for name in _folders(folder / top)}
    else:
        rows = [(path, parts[0], None) for path, parts in inside]
        classes = set(_folders(folder))
    labelled = from_rows(rows, lambda index: describe(inside[index][0]))
    return replace(labelled, empty=tuple(sorted(classes - {str(label) for _, label, _ in rows})))


def _folders(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        yield from (e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith("."))


def _pairs(pairs: Iterable[object]) -> Iterator[Row]:
    for index, pair in enumerate(pairs):
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise InputError(f"data[{index}] is no pair of an image and its label")
        yield pair[0], pair[1], None
