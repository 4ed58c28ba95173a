"""Labels are names: unique, never empty, never positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ..errors import InputError


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Labels as a tuple.

    Raises:
        InputError: none, one that is empty, no string or no text, or one that repeats.
    """
    if isinstance(labels, str):
        raise InputError(f"labels must be a list of names, not the one string {labels!r}")
    if not isinstance(labels, Iterable):
        raise InputError(f"labels must be a list of names, not {labels!r}")
    names: tuple[object, ...] = tuple(labels)
    if not names:
        raise InputError("labels must name at least one class")
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"label {name!r} is no name; labels are strings that are not empty")
        if not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name):  # of a file name, mostly
            raise InputError(f"label {name!r} is no text: it has bytes that are not UTF-8; rename it")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise InputError(f"label {repeated[0]!r} is given twice; labels are names and must differ")
    return tuple(str(n) for n in names)
