"""`load_image`: any source in, one upright sRGB picture out."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext
from typing import Final

import numpy as np
from PIL import ExifTags, Image, ImageColor

from ..errors import ImageDecodeError, ImageError, ImageTooLargeError, InputError, SourceError
from .arrays import picture_from_array, picture_from_tensor
from .checks import MAX_PIXELS, check_memory, check_size
from .color import to_srgb
from .decode import decode_bytes
from .sources import Picture, Source, is_file_object, is_tensor, name_for_error, read_bytes

_TURNS: Final = {  # EXIF orientation → what turns the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


_unread = threading.Lock()


def load_image(
    source: Source, *, background: str = "white", max_pixels: int = MAX_PIXELS, allow_private: bool = False
) -> Picture:
    """Loads one image as people see it: upright, sRGB, in mode RGB.

    The EXIF orientation is applied and removed, an embedded colour profile is converted to sRGB (a broken
    one, or one for another colour space, is ignored), transparency is laid on `background`, 16 bits are
    scaled to 8, CMYK, LAB, palette and 1-bit pictures are converted, and an animation gives its first frame.

    Args:
        source: a path, an http(s) URL, a `data:` URI, bytes, a file object, a PIL image, a NumPy array (H, W) or
            (H, W, 1|3|4) of uint8, uint16 or float in 0–1, or a torch tensor (H, W) or (1|3|4, H, W) of the
            same types. Colours are in the order RGB.
        background: the colour under transparent parts, as a name or `#rrggbb`.
        max_pixels: the largest width × height that is decoded.
        allow_private: whether a URL may lead to this machine or its own network. Link-local addresses and the
            metadata services of clouds stay refused.

    Returns:
        A new PIL image of mode RGB and the upright image's size.

    Raises:
        SourceError: not an image source: a folder, a missing file, an array of a wrong shape or type.
        FetchError: a URL that may not be fetched (its scheme, its address, or where it redirects), or whose server
            does not give the picture within 30 seconds.
        ImageDecodeError: not a picture in an allowed format (JPEG, PNG, GIF, WebP, BMP, TIFF, PPM, ICO,
            AVIF), or a damaged one.
        ImageTooLargeError: more than `max_pixels`, a side of over a million pixels, a JPEG of over a hundred scans,
            or more memory to decode than the larger of 1 GiB and 12 bytes for each of `max_pixels`; found before
            decoding.
        InputError: `background` is no colour, or `max_pixels` no positive number.
    """
    colour = _colour(background)
    if not isinstance(max_pixels, int) or max_pixels < 1:  # type: ignore[redundant-expr]  # the caller may be untyped
        raise InputError(f"max_pixels {max_pixels!r:.50} must be a positive whole number")
    name = name_for_error(source)
    try:
        return _load(source, name, colour, max_pixels, allow_private=allow_private)
    except MemoryError as err:
        raise ImageTooLargeError(f"cannot load {name}: there is not enough memory for it") from err


def _colour(background: str) -> tuple[int, ...]:
    try:
        return ImageColor.getrgb(background)[:3]
    except (ValueError, TypeError, AttributeError) as err:
        raise InputError(f"background {background!r:.50} is no colour; give a name or '#rrggbb'") from err


def _load(source: Source, name: str, background: tuple[int, ...], max_pixels: int, *, allow_private: bool) -> Picture:
    if isinstance(source, np.ndarray):
        return finish(picture_from_array(source, name, max_pixels), name, background)
    if is_tensor(source):
        return finish(picture_from_tensor(source, name, max_pixels), name, background)
    if isinstance(source, Image.Image):
        check_size(source.size, name, max_pixels)
        check_memory(source.size, source.format, source.mode, name, max_pixels)
        unread = getattr(source, "fp", None) is not None
        with _unread if unread else nullcontext():  # two threads cannot read one open file
            return finish(source, name, background)
    return finish(decode_bytes(bytes_of(source, name, allow_private=allow_private), name, max_pixels), name, background)


def bytes_of(source: object, name: str, *, allow_private: bool = False) -> bytes:
    """The encoded picture behind a source that is no array, tensor or PIL image, read once.

    Raises:
        SourceError: it is no source, or cannot be read.
        FetchError: it is a URL that may not be fetched, or could not be.
        ImageTooLargeError: it has too many bytes.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, (str, os.PathLike)) or is_file_object(source):
        return read_bytes(source, name, allow_private=allow_private)
    raise SourceError(
        f"cannot load {name}: an image is a path, a URL, a data: URI, bytes, a file object, a PIL image, "
        f"an array or a tensor, not {type(source).__name__:.50}"
    )


def finish(image: Image.Image, name: str, background: tuple[int, ...]) -> Picture:
    """Makes a picture upright and sRGB: always a new image, without the source's metadata.

    Raises:
        ImageDecodeError: its pixels are damaged, or of an unknown range.
    """
    kind = f"{image.format} file" if image.format else "picture"
    try:
        image.load()
        turn = turn_of(image)
        if turn is not None:
            image = image.transpose(turn)
        flat = to_srgb(image, name, background)
    except (ImageError, MemoryError):
        raise
    except Exception as err:  # see `decode_bytes`
        raise ImageDecodeError(f"cannot load {name}: the {kind} is damaged, cut off or already closed") from err
    if flat is image:
        flat = image.copy()
    flat.info = {}
    return flat


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """What turns the picture upright; a broken EXIF block says nothing, and is no reason to refuse the picture."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - struct.error, SyntaxError, TypeError, ValueError and more leak from the parser
        return None
