"""A text that travels inside a PNG file, beside the pixels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from PIL.PngImagePlugin import PngInfo

from ..atomic import write_file
from ..errors import ImageDecodeError, InputError
from .decode import open_bytes
from .sources import Picture, describe, read_bytes


def write_png(picture: Picture, path: str | os.PathLike[str], texts: Mapping[str, str]) -> Path:
    """Writes a picture as PNG with texts inside; the file is there as a whole or not at all.

    Args:
        picture: mode RGB.
        path: the file, replaced if it is there; its folder must be.
        texts: keyword → text, both ASCII.

    Raises:
        InputError: the file cannot be written there.
    """
    target = Path(path)
    chunks = PngInfo()
    for keyword, text in texts.items():
        chunks.add_text(keyword, text)
    buffer = BytesIO()
    picture.save(buffer, "PNG", pnginfo=chunks)
    try:
        write_file(target, buffer.getvalue())
    except OSError as err:
        raise InputError(f"cannot write {describe(target)}: {err.strerror or err}") from err
    return target


def read_png_text(path: str | os.PathLike[str], keyword: str) -> str | None:
    """The text of a PNG file under a keyword, or None; the pixels are not decoded.

    Raises:
        SourceError: no such file.
        ImageDecodeError: a damaged file, or a picture of another format.
    """
    name = describe(path)
    with open_bytes(read_bytes(Path(path), name), name) as image:  # a text would be fetched if it is a URL
        if image.format != "PNG":
            raise ImageDecodeError(f"{name} is a {image.format} file; only a PNG file carries such texts")
        text = image.info.get(keyword)  # what stands before the pixels, where write_png puts it
    return text if isinstance(text, str) else None
