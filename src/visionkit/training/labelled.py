"""`Labelled`: pictures with the names of their classes, which every training sees whatever form its data came in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, Self, TypeAlias

from ..errors import Failure, InputError, TrainingError
from ..images import Source, describe, is_single
from ..images.sources import is_file_object, read_bytes
from ..models.labels import check_labels

if TYPE_CHECKING:
    from .data_report import DataReport

Label: TypeAlias = str | tuple[str, ...]
"""A class, or all the classes of a picture that may have several, or none."""

OnError = Literal["raise", "return"]

Row: TypeAlias = tuple[object, object, object]
"""A source, its label, and the name of its part, or None; as they were found, still to be checked."""

PARTS: Final = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What the parts of a data set are called → the name that we give them."""


@dataclass(frozen=True)
class Labelled:
    """Pictures with the names of their classes.

    Attributes:
        sources: (N,) image sources.
        labels: (N,) the class of each; or of each the tuple of its classes, where a picture may have several.
        parts: (N,) "train", "val" or "test", where the data says so itself; else empty.
        empty: classes of which there is no picture: folders without any.
        places: (N,) where each stood in the data as it was given, from 0; empty: where it stands now.
        report: what was found out about the data.
        on_error: "raise": a picture that cannot be loaded ends the training; "return": it is left out, and listed.
    """

    sources: tuple[Source, ...]
    labels: tuple[Label, ...]
    parts: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    report: DataReport | None = None
    on_error: OnError = "return"

    def __len__(self) -> int:
        return len(self.sources)

    @cached_property
    def multi_label(self) -> bool:
        """Whether a picture may have several classes."""
        return bool(self.labels) and not isinstance(self.labels[0], str)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The different labels, sorted."""
        return check_labels(sorted({name for names in self.names() for name in names}))

    def place_of(self, index: int) -> int:
        """Where the picture at a position stood in the data as it was given."""
        return self.places[index] if self.places else index

    def names_of(self, index: int) -> tuple[str, ...]:
        """The classes of the picture at a position."""
        label = self.labels[index]
        return (label,) if isinstance(label, str) else label

    def names(self) -> Iterator[tuple[str, ...]]:
        """The classes of each picture."""
        return (self.names_of(i) for i in range(len(self)))

    def choose(self, indices: Iterable[int]) -> Self:
        """The pictures at some positions."""
        chosen = list(indices)
        return replace(
            self,
            sources=tuple(self.sources[i] for i in chosen),
            labels=tuple(self.labels[i] for i in chosen),
            parts=tuple(self.parts[i] for i in chosen) if self.parts else (),
            places=tuple(self.place_of(i) for i in chosen),
        )

    def part(self, name: str) -> Self:
        """The pictures of a part; without parts, of "train" all and of others none."""
        if not self.parts:
            return self if name == "train" else self.choose(())
        return self.choose(i for i, part in enumerate(self.parts) if part == name)

    def refuse(self, failures: Sequence[Failure]) -> None:
        """Ends a training that asked for it.

        Raises:
            VisionkitError: under `on_error="raise"`, the first failure's own.
        """
        if failures and self.on_error == "raise":
            raise failures[0].error

    def without(self, failed: Iterable[int]) -> Self:
        """What is left when some could not be loaded.

        Raises:
            TrainingError: a class has no picture left.
        """
        gone = set(failed)
        if not gone:
            return self
        left = self.choose(i for i in range(len(self)) if i not in gone)
        remaining = {name for names in left.names() for name in names}
        lost = sorted({name for i in gone for name in self.names_of(i)} - remaining)
        if lost:
            count = sum(lost[0] in names for names in self.names())
            raise TrainingError(f"none of the {count} pictures of {lost[0]!r} could be loaded")
        return left


def from_rows(rows: Iterable[Row], place_of: Callable[[int], str]) -> Labelled:
    """Checks what was found, and makes it a value.

    Args:
        rows: sources, labels, and parts or None.
        place_of: what the item at a position is called.

    Raises:
        InputError: no image source, a label that is no name, an unknown part, single and several labels in one.
    """
    sources: list[Source] = []
    labels: list[Label] = []
    parts: list[str] = []
    several: bool | None = None
    for index, (source, label, part) in enumerate(rows):
        place = place_of(index)
        if not is_single(source):
            raise InputError(f"{place} is no pair of an image and its label")
        given: Source = source  # type: ignore[assignment]  # is_single has seen to it
        if is_file_object(given) and not hasattr(given, "reread"):  # each picture is read more than once
            given = read_bytes(given, describe(given))
        names = _names(label, f"the label of {place}")
        if several is None:
            several = not isinstance(names, str)
        elif several == isinstance(names, str):
            raise InputError(
                f"the label of {place} is {label!r:.100}: either every picture has a list of labels, or none"
            )
        sources.append(given)
        labels.append(names)
        if part is not None:
            parts.append(_part(part, place))
    if parts and len(parts) != len(sources):
        raise InputError(f"{len(parts)} of {len(sources)} pictures say which part they belong to: all must, or none")
    return Labelled(tuple(sources), tuple(labels), tuple(parts))


def _names(label: object, what: str) -> Label:
    if isinstance(label, (list, tuple, set, frozenset)):
        names = [_name(name, what) for name in label]
        return check_labels(sorted(names) if isinstance(label, (set, frozenset)) else names) if names else ()
    return _name(label, what)


def _name(label: object, what: str) -> str:
    if not isinstance(label, str) or not label.strip():
        raise InputError(f"{what} is {label!r:.100}: labels are names, strings that are not empty")
    return str(label)  # NumPy's strings are a kind of their own


def _part(part: object, place: str) -> str:
    known = PARTS.get(part.strip().casefold()) if isinstance(part, str) else None
    if known is None:
        raise InputError(f"the split of {place} is {part!r:.100}; it must be 'train', 'val' or 'test'")
    return known


def joined(found: Sequence[Labelled]) -> Labelled:
    """Several as one.

    Raises:
        InputError: some have single labels, others several.
    """
    if len({data.multi_label for data in found if len(data)}) > 1:
        raise InputError(
            "the parts of the data differ: in one, pictures have a list of labels, in another a single one"
        )
    return Labelled(
        tuple(source for data in found for source in data.sources),
        tuple(label for data in found for label in data.labels),
        tuple(part for data in found for part in data.parts),
        tuple(sorted({name for data in found for name in data.empty})),
    )
