"""Looks a data set over before it is learnt from, and says what in it would make the figures wrong."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..errors import Failure
from ..images import describe
from ..log import log
from ..pipeline.sketch import near_pairs
from .data_report import MOST_LISTED, DataReport, Duplicate
from .labelled import Labelled
from .same_bytes import equal_sources


def audited(learn: Labelled, check: Labelled) -> tuple[Labelled, Labelled]:
    """The two with a report of what can be known before a picture is decoded; what may be wrong goes to the log."""
    parts = {"train": learn, "val": check}
    counts: dict[str, dict[str, int]] = {name: dict.fromkeys(parts, 0) for name in learn.classes}
    for part, data in parts.items():
        for name, count in Counter(name for names in data.names() for name in names).items():
            counts.setdefault(name, dict.fromkeys(parts, 0))[part] = count
    empty = sorted({*learn.empty, *check.empty} - counts.keys())
    report = DataReport(
        counts=counts,
        images={part: len(data) for part, data in parts.items()},
        multi_label=learn.multi_label,
        empty_classes=tuple(empty),
        near_names=near_names([*counts, *empty]),
        duplicates=tuple(_same_bytes(learn, check)),
    )
    _warn(report.warnings)
    return replace(learn, report=report), replace(check, report=report)


def completed(report: DataReport, failures: Sequence[Failure], twins: Sequence[Duplicate]) -> DataReport:
    """The report with what decoding has shown; what is new in it goes to the log.

    Of a picture set aside whose very bytes are learnt from, nothing is gained by those that are nearly the same.
    """
    known = {duplicate.ends[1] for duplicate in report.duplicates}
    new = tuple(twin for twin in twins if twin.ends[1] not in known)
    duplicates = (*report.duplicates, *new)[:MOST_LISTED]
    full = report.model_copy(update={"duplicates": duplicates, "unreadable": (*report.unreadable, *failures)})
    _warn([warning for warning in full.warnings if warning not in report.warnings])
    return full


def looked_over(
    learn: Labelled,
    check: Labelled,
    failures: Sequence[Failure],
    learn_cells: npt.NDArray[np.uint8],
    check_cells: npt.NDArray[np.uint8],
) -> tuple[Labelled, Labelled]:
    """The two, of which all could be loaded, with a report that says too what decoding has shown.

    Args:
        learn: (N,) pictures.
        check: (M,) pictures.
        failures: those that could not be loaded.
        learn_cells: uint8 (N, 8, 9): sketches, see `pipeline.sketch`.
        check_cells: uint8 (M, 8, 9).
    """
    if learn.report is None:
        return learn, check
    report = completed(learn.report, failures, near_duplicates(learn, check, learn_cells, check_cells))
    return replace(learn, report=report), replace(check, report=report)


def near_duplicates(
    learn: Labelled, check: Labelled, learn_cells: npt.NDArray[np.uint8], check_cells: npt.NDArray[np.uint8]
) -> tuple[Duplicate, ...]:
    """Pictures set aside that are nearly the same as one that is learnt from, by their sketches uint8 (N, 8, 9)."""
    pairs = near_pairs(learn_cells, check_cells)[:MOST_LISTED]
    return tuple(_duplicate((learn, i, "train"), (check, j, "val"), same_bytes=False) for i, j in pairs)


def near_names(names: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Names that are the same but for case, spaces and how letters with marks are written."""
    groups: dict[str, set[str]] = defaultdict(set)
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        groups["".join(plain.replace("_", " ").split())].add(name)
    return tuple(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def _same_bytes(learn: Labelled, check: Labelled) -> Iterable[Duplicate]:
    places = [(learn, i, "train") for i in range(len(learn))] + [(check, i, "val") for i in range(len(check))]
    listed = 0
    for group in equal_sources([data.sources[i] for data, i, _ in places]):
        first = places[group[0]]
        for position in group[1:]:
            other = places[position]
            same_place = first[2] == other[2]
            if (same_place and first[0].labels[first[1]] == other[0].labels[other[1]]) or listed == MOST_LISTED:
                continue
            listed += 1
            yield _duplicate(first, other, same_bytes=True)


def _duplicate(one: tuple[Labelled, int, str], other: tuple[Labelled, int, str], *, same_bytes: bool) -> Duplicate:
    (first, i, part), (second, j, other_part) = one, other
    return Duplicate(
        sources=(describe(first.sources[i]), describe(second.sources[j])),
        parts=(part, other_part),
        positions=(first.place_of(i), second.place_of(j)),
        labels=(first.names_of(i), second.names_of(j)),
        same_bytes=same_bytes,
    )


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        log.warning("visionkit: %s", warning)
