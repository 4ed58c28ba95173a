"""Bytes become an open PIL image, through an allow-list of formats."""

from __future__ import annotations

from io import BytesIO
from typing import Final

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ..errors import ImageDecodeError, ImageTooLargeError

_PLUGINS = (  # importing a plug-in registers its format
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    IcoImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO", "AVIF")
"""The formats that are decoded. Most holes of image libraries are in the others, which nobody sends."""

_REFUSED: Final = (  # what the bytes begin with, what to say
    (b"%!PS", "an EPS file is a program; convert it to PNG first"),
    (b"\xc5\xd0\xd3\xc6", "an EPS file is a program; convert it to PNG first"),
    (b"%PDF", "a PDF is a document; turn its pages into pictures first"),
    (b"version https://git-lfs", "it is a Git LFS pointer, not the picture; run 'git lfs pull'"),
    (b"<svg", "an SVG is a drawing program; render it to PNG first"),
    (b"<?xml", "it is XML (an SVG?), not a picture; render it to PNG first"),
    (b"<!doctype html", "it is a web page, not a picture"),
    (b"<html", "it is a web page, not a picture"),
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")


def open_bytes(data: bytes, name: str) -> Image.Image:
    """Reads the header of an encoded picture; its pixels are not decoded yet.

    Pillow's own `open` is not called: it warns above a limit that is process-wide, and here `max_pixels` decides.

    Raises:
        ImageDecodeError: no allowed format recognises the bytes, or the header is damaged.
    """
    if not data:
        raise ImageDecodeError(f"cannot load {name}: it is empty")
    prefix = data[:16]
    for kind in FORMATS:
        factory, accept = Image.OPEN[kind]
        if accept is None or accept(prefix) is not True and not _accepts(accept(prefix)):
            continue
        try:
            return factory(BytesIO(data), "")
        except Image.DecompressionBombError as err:
            raise ImageTooLargeError(f"cannot load {name}: the {kind} file says that it is enormous") from err
        except Exception as err:  # see load._finish: many kinds leak, none of their texts is for people
            raise ImageDecodeError(f"cannot load {name}: the {kind} file is damaged or cut off") from err
    raise ImageDecodeError(f"cannot load {name}: {_why_refused(data)}")


def _accepts(answer: bool | str) -> bool:
    return answer is True  # a string is Pillow's way to say "mine, but I was built without it"


def _why_refused(data: bytes) -> str:
    head = data[:64].lstrip().lower()
    for magic, reason in _REFUSED:
        if head.startswith(magic.lower()):
            return reason
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "HEIC is not decoded; convert it to JPEG first"
    return f"it is no picture in a format that is decoded ({', '.join(FORMATS)})"
