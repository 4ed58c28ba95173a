"""Data sets of torch and of Hugging Face, told by their types' names, read an item at a time when it is wanted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, SourceError
from ..images import Picture, is_single, load_image
from ..images.sources import read_bytes
from .labelled import Labelled, Row, from_rows


class Item:
    """One picture of a data set as an open file that can be read any number of times: one reader at a time.

    Attributes:
        name: what results call it.
        content: whether the bytes are the stored ones, and so cost nothing to read.
    """

    reread = True
    """Tells that nobody need keep the bytes."""

    def __init__(self, read_all: Callable[[], bytes], name: str, *, content: bool) -> None:
        self.name = name
        self.content = content
        self._read_all = read_all
        self._given = threading.local()

    def read(self, size: int = -1, /) -> bytes:  # noqa: ARG002 - a file's signature: all comes at once
        """All bytes, then none, then all again."""
        if getattr(self._given, "all", False):
            self._given.all = False
            return b""
        data = self._read_all()
        self._given.all = bool(data)
        return data


def is_torch_dataset(data: object) -> bool:
    """Whether a value is one of `torch.utils.data`, without importing it."""
    return any(
        base.__name__ == "Dataset" and base.__module__.startswith("torch.utils.data") for base in type(data).__mro__
    )


def is_hugging_face_dataset(data: object) -> bool:
    """Whether a value is a `datasets.Dataset`, without importing it."""
    return any(
        base.__name__ in ("Dataset", "IterableDataset") and base.__module__.split(".")[0] == "datasets"
        for base in type(data).__mro__
    )


def from_torch(data: Any) -> Labelled:
    """A map-style data set that gives (image, label): a name, or a position in its `classes`.

    Labels are taken from `targets` where it has as many as items, as torchvision's have them, and changes them no more;
    else every item is made once to ask it. Items are made again when they are trained on, by one thread at a time.

    Raises:
        InputError: it has no length, gives no such pairs, or numbers without `classes`.
    """
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise InputError(f"{type(data).__name__} has no length: only map-style data sets, with items by position, do")
    lock = threading.Lock()
    classes = getattr(data, "classes", None)
    names = None if classes is None else [str(name) for name in classes]
    count = len(data)
    targets = None if _changes_targets(data) else getattr(data, "targets", None)
    known = targets if targets is not None and hasattr(targets, "__len__") and len(targets) == count else None

    def rows() -> Iterator[Row]:
        for index in range(count):
            label = known[index] if known is not None else _pair(data, index)[1]
            yield _torch_item(data, index, lock), _named(label, names, f"item {index} of the data set"), None

    return from_rows(rows(), "item {} of the data set".format)


def from_hugging_face(data: Any) -> Labelled:
    """A `datasets.Dataset` with the columns image and label; a ClassLabel's numbers become its names.

    The pictures stay in its files until they are read.

    Raises:
        InputError: it streams, lacks a column, or its labels are numbers without names.
    """
    if type(data).__name__ == "IterableDataset" or not hasattr(data, "features"):
        raise InputError("a streamed data set has no length: load it without streaming=True")
    columns = list(data.features)
    missing = [column for column in ("image", "label") if column not in columns]
    if missing:
        raise InputError(
            f"the data set has no column {missing[0]!r}, but {', '.join(columns[:10])}: rename one, "
            f"data.rename_column(…, {missing[0]!r})"
        )
    feature = data.features["image"]
    stored = hasattr(feature, "decode")
    pictures = data.cast_column("image", type(feature)(decode=False)) if stored else data
    label = data.features["label"]
    names = getattr(label, "names", None) or getattr(getattr(label, "feature", None), "names", None)
    lock = threading.Lock()

    def rows() -> Iterator[Row]:
        for index, value in enumerate(data.select_columns("label")["label"]):
            item = _hugging_face_item(pictures, index, lock, stored=stored)
            yield item, _named(value, names, f"item {index} of the data set"), None

    return from_rows(rows(), "item {} of the data set".format)


def _changes_targets(data: Any) -> bool:
    """Whether items have other labels than `targets`: by a `target_transform`, or by `transforms` over both."""
    joint = getattr(data, "transforms", None)
    plain = joint is None or type(joint).__name__ == "StandardTransform"  # torchvision's own, made of the two
    return not plain or getattr(data, "target_transform", None) is not None


def _named(label: Any, names: Sequence[str] | None, what: str) -> Any:
    """A position, or several, as names; names as they are."""
    if isinstance(label, (list, tuple)):
        return [_named(one, names, what) for one in label]
    value = label.item() if hasattr(label, "item") and getattr(label, "ndim", 1) == 0 else label
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if names is None:
        raise InputError(f"the label of {what} is {value}, a number without a name: give the data set `classes`")
    if not 0 <= value < len(names):
        raise InputError(f"the label of {what} is {value}, but there are {len(names)} classes")
    return names[value]


def _pair(data: Any, index: int) -> Sequence[Any]:
    item = data[index]
    if not isinstance(item, (tuple, list)) or len(item) != 2 or not is_single(item[0]):
        raise InputError(f"item {index} of the data set is no pair of an image and its label")
    return item


def _torch_item(data: Any, index: int, lock: threading.Lock) -> Item:
    def read_all() -> bytes:
        with lock:
            source = _pair(data, index)[0]
        return _as_ppm(load_image(source))

    return Item(read_all, f"<item {index} of the data set>", content=False)


def _hugging_face_item(data: Any, index: int, lock: threading.Lock, *, stored: bool) -> Item:
    name = f"<item {index} of the data set>"

    def read_all() -> bytes:
        with lock:
            value = data[index]["image"]
        if not stored:
            return _as_ppm(load_image(np.asarray(value, dtype=np.uint8)))
        if value and value.get("bytes"):
            return bytes(value["bytes"])
        if not value or not value.get("path"):
            raise SourceError(f"cannot load {name}: it has no picture")
        return read_bytes(Path(value["path"]), name)

    return Item(read_all, name, content=stored)


def _as_ppm(picture: Picture) -> bytes:
    """A picture in the plainest format that is decoded: nothing is lost, and nothing computed."""
    return b"P6 %d %d 255\n" % picture.size + picture.tobytes()
