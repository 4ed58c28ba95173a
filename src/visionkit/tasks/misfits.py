"""What a model of someone else's gave, where it does not fit its protocol: an error that names the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pydantic import ValidationError

from ..errors import ModelError, VisionkitError
from ..images.sources import printable

_QUOTED: Final = 300
"""Characters of a reason that an error repeats."""


@contextmanager
def fitting(model: str, what: str) -> Iterator[None]:
    """Around the making of a result from what a model gave; the model itself is called outside.

    Args:
        model: its name.
        what: it gave, such as "what it found in cat.jpg".

    Raises:
        ModelError: the result cannot be made.
    """
    try:
        yield
    except VisionkitError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        raise ModelError(f"{model}: {what} cannot be used: {_reason(err)}; this is the model's mistake") from err


def _reason(err: Exception) -> str:
    if isinstance(err, ValidationError):
        first = err.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        text = f"{place}: {first['msg']}" if place else first["msg"].removeprefix("Value error, ")
    else:
        text = str(err) or type(err).__name__
    return printable(text)[:_QUOTED]
