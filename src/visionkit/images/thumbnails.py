"""Pictures inside HTML: small, without metadata, and only ever of files on this machine."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

from PIL import Image

from ..errors import InputError, SourceError
from .load import load_image
from .sources import Picture, unprinted


def read_again(source: str) -> Picture:
    """The picture behind a result's `source`, when that is a file on this machine; nothing is fetched for it.

    Raises:
        InputError: no such file, or none that can be read: what came from a URL, bytes or an array is not there.
    """
    if source.startswith(("//", "\\\\")):  # a result may come from a file: it must not send us to another machine
        raise InputError(f"{source} is not on this machine")
    try:
        return load_image(Path(source))  # a Path is never taken for a URL
    except SourceError:
        named = unprinted(source)
        if named == source:
            raise
        return load_image(Path(named))


def picture_uri(picture: Picture, side: int) -> str:
    """The picture as a `data:` URI of a JPEG whose longer side is at most `side` pixels."""
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def thumbnail_uri(source: str, side: int) -> str | None:
    """A thumbnail of the file that a result is about as a `data:` URI; None when it cannot be read again."""
    try:
        return picture_uri(read_again(source), side)
    except InputError:
        return None
