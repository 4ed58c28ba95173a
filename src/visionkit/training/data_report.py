"""`DataReport`: what a data set holds, and what in it would make the figures wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pydantic import BaseModel, ConfigDict

from ..errors import Failure
from ..results import html
from ..results.values import FailureField

MOST_LISTED: Final = 1000
"""Duplicates that a report lists."""

UNEVEN: Final = 10.0
"""How many times as many pictures the largest class may have as the smallest, before it is said."""


class Duplicate(BaseModel):
    """Two pictures that are the same, where they should not be.

    Attributes:
        sources: the two.
        parts: where each belongs: "train" or "val".
        positions: where each stands in the data that was given, from 0; validation data of its own has its own.
        labels: the classes of each.
        same_bytes: equal to the byte; else nearly the same picture.
    """

    model_config = ConfigDict(frozen=True)

    sources: tuple[str, str]
    parts: tuple[str, str]
    positions: tuple[int, int]
    labels: tuple[tuple[str, ...], tuple[str, ...]]
    same_bytes: bool

    @property
    def ends(self) -> tuple[tuple[str, int], tuple[str, int]]:
        """The two by part and position, which sources of one name share."""
        return (self.parts[0], self.positions[0]), (self.parts[1], self.positions[1])


class DataReport(BaseModel):
    """What was found out about the data of a training.

    Attributes:
        counts: class → part ("train", "val") → pictures.
        images: part → pictures.
        multi_label: whether a picture may have several classes.
        empty_classes: of which there is no picture.
        near_names: classes whose names differ by case or spaces alone.
        duplicates: pictures set aside that are also learnt from, and the same picture with two labels; the first 1,000.
            Only files, bytes and arrays are compared byte by byte.
        unreadable: pictures that could not be loaded, and were left out.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    counts: Mapping[str, Mapping[str, int]]
    images: Mapping[str, int]
    multi_label: bool
    empty_classes: tuple[str, ...] = ()
    near_names: tuple[tuple[str, ...], ...] = ()
    duplicates: tuple[Duplicate, ...] = ()
    unreadable: tuple[FailureField, ...] = ()

    @property
    def imbalance(self) -> float:
        """How many times as many pictures to learn from the largest class has as the smallest that has any."""
        counts = [found["train"] for found in self.counts.values() if found.get("train")]
        return max(counts) / min(counts) if counts else 1.0

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may be wrong, a sentence each."""
        return (
            *self._about_classes(),
            *_about_duplicates([d for d in self.duplicates if d.same_bytes], "the same bytes"),
            *_about_duplicates([d for d in self.duplicates if not d.same_bytes], "nearly the same picture"),
            *_about_unreadable(self.unreadable),
        )

    def _about_classes(self) -> Iterable[str]:
        for names in self.near_names:
            yield f"the classes {', '.join(map(repr, names))} differ by case or spaces alone: are they one?"
        if self.empty_classes:
            yield f"{_some(self.empty_classes)} without any picture"
        unchecked = [name for name, found in self.counts.items() if not found.get("val")]
        if unchecked and self.images.get("val"):
            yield f"{_some(unchecked)} without a picture set aside: nothing will be known of how well they are learnt"
        if self.imbalance >= UNEVEN:
            sizes = {name: found["train"] for name, found in self.counts.items() if found.get("train")}
            most, least = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
            yield (
                f"uneven classes: {sizes[most]} pictures of {most!r}, {sizes[least]} of {least!r}; "
                f"class weights may help the small ones"
            )

    def __repr__(self) -> str:
        images = ", ".join(f"{count} {part}" for part, count in self.images.items())
        found = "".join(f"\n  - {warning}" for warning in self.warnings)
        return f"DataReport({len(self.counts)} classes: {images}){found}"

    def __str__(self) -> str:
        return repr(self)

    def _repr_html_(self) -> str:
        largest = sorted(self.counts.items(), key=lambda item: -sum(item[1].values()))[:20]
        most = max((sum(found.values()) for _, found in largest), default=1)
        rows = [(name, sum(found.values()) / most, str(sum(found.values()))) for name, found in largest]
        rest = html.note(f"… {len(self.counts) - len(rows)} more classes") if len(self.counts) > len(rows) else ""
        title = html.title(repr(self).partition("\n")[0])
        return html.card("", title, html.bars(rows), rest, *(html.warning(text) for text in self.warnings))


def _about_duplicates(found: Sequence[Duplicate], how: str) -> Iterable[str]:
    more = len(found) >= MOST_LISTED  # and then perhaps not all
    across = [d for d in found if d.parts[0] != d.parts[1]]
    if across:
        yield (
            f"{_pictures(len({d.ends[1] for d in across}), more)} set aside also among those learnt from ({how}): "
            f"figures will be too good; the first: {' = '.join(across[0].sources)}"
        )
    torn = [d for d in found if d.labels[0] != d.labels[1]]
    if torn:
        names = " and ".join(" + ".join(map(repr, names)) for names in torn[0].labels)
        count = len({d.ends[0] for d in torn})
        yield f"{_pictures(count, more)} there with two labels ({how}); the first, {torn[0].sources[0]}, as {names}"


def _about_unreadable(failures: Sequence[Failure]) -> Iterable[str]:
    if failures:
        yield f"{len(failures)} pictures could not be loaded, and are left out; the first: {failures[0].error}"


def _pictures(count: int, more: bool) -> str:
    least = "at least " if more else ""
    return f"{least}a picture is" if count == 1 else f"{least}{count} pictures are"


def _some(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"the class {names[0]!r} is"
    return f"{len(names)} classes ({', '.join(map(repr, names[:3]))}{', …' if len(names) > 3 else ''}) are"
