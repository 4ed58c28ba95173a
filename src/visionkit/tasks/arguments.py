"""Words, numbers and sizes that people give to verbs, checked before any work; each refusal is an `InputError`."""

from __future__ import annotations

import math
import operator
from typing import Any, Final, SupportsIndex

from ..errors import InputError
from ..images import describe

_QUOTED: Final = 80
"""Characters of a text that its refusal repeats."""


def text_argument(name: str, value: object) -> str:
    """A text as it is, if it is one."""
    if not isinstance(value, str):
        raise InputError(f"{name} must be a string, not {describe(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as err:
        shown = value if len(value) <= _QUOTED else f"{value[:_QUOTED]}…"
        raise InputError(f"{name} {shown!r} is no text: it has half of a surrogate pair") from err
    return value


def whole_number(name: str, value: SupportsIndex, least: int, most: int | None = None) -> int:
    """A whole number from `least` to `most`, both included."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or number < least or (most is not None and number > most):
        span = f"from {least} to {most}" if most is not None else f"of at least {least}"
        raise InputError(f"{name}={value!r} must be a whole number {span}")
    return number


def guidance(value: Any) -> float:
    """A guidance scale as a finite float of at least 0."""
    number = _number(value)
    if number is None:
        raise InputError(f"guidance_scale={value!r} must be a number of at least 0")
    if not math.isfinite(number) or number < 0:
        raise InputError(f"guidance_scale={value!r} must be a finite number of at least 0")
    return number


def score(name: str, value: Any) -> float:
    """A score from 0 to 1, both included."""
    number = _number(value)
    if number is None or not 0.0 <= number <= 1.0:
        raise InputError(f"{name} {value!r} must be a score between 0 and 1")
    return number


def _number(value: Any) -> float | None:
    """A number as a float; None where it is none: a string of digits is a string."""
    if isinstance(value, (bool, str, bytes)) or not hasattr(value, "__float__"):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):  # an array of several
        return None


def size_argument(value: Any) -> tuple[int, int]:
    """A size as width and height in pixels, both positive."""
    try:
        width, height = value
    except (TypeError, ValueError):
        raise InputError(f"size_wh={value!r} must be two numbers, width and height") from None
    return whole_number("the width of size_wh", width, 1), whole_number("the height of size_wh", height, 1)
