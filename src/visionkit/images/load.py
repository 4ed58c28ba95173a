"""`load_image`: any source in, one upright sRGB picture out."""

from __future__ import annotations

import os
from typing import Final

import numpy as np
from PIL import Image, ImageColor, ImageOps

from ..errors import ImageDecodeError, ImageError, ImageTooLargeError, InputError, SourceError
from .arrays import picture_from_array, picture_from_tensor
from .color import to_srgb
from .decode import open_bytes
from .sources import Picture, Source, describe, is_file_object, is_tensor, read_bytes

MAX_PIXELS: Final = 89_478_485
"""The default limit of width × height: a quarter of 2**30 bytes at three bytes a pixel, Pillow's own."""


def load_image(source: Source, *, background: str = "white", max_pixels: int = MAX_PIXELS) -> Picture:
    """Loads one image as people see it: upright, sRGB, in mode RGB.

    The EXIF orientation is applied and removed, an embedded colour profile is converted to sRGB (a broken
    one, or one for another colour space, is ignored), transparency is laid on `background`, 16 bits are
    scaled to 8, CMYK, LAB, palette and 1-bit pictures are converted, and an animation gives its first frame.

    Args:
        source: a path, a `data:` URI, bytes, a file object, a PIL image, a NumPy array (H, W) or
            (H, W, 1|3|4) of uint8, uint16 or float in 0–1, or a torch tensor (H, W) or (1|3|4, H, W) of the
            same types. Colours are in the order RGB. A URL is refused.
        background: the colour under transparent parts, as a name or `#rrggbb`.
        max_pixels: the largest width × height that is decoded.

    Returns:
        A new PIL image of mode RGB and the upright image's size.

    Raises:
        SourceError: not an image source: a folder, a URL, a missing file, an array of a wrong shape or type.
        ImageDecodeError: not a picture in an allowed format (JPEG, PNG, GIF, WebP, BMP, TIFF, PPM, ICO,
            AVIF), or a damaged one.
        ImageTooLargeError: more than `max_pixels`, found before decoding.
        InputError: `background` is no colour.
    """
    try:
        colour = ImageColor.getrgb(background)[:3]
    except ValueError as err:
        raise InputError(f"background {background!r} is no colour; give a name or '#rrggbb'") from err
    name = describe(source)
    if isinstance(source, np.ndarray):
        return _flatten(picture_from_array(source, name, max_pixels), colour)
    if is_tensor(source):
        return _flatten(picture_from_tensor(source, name, max_pixels), colour)
    if isinstance(source, Image.Image):
        return _finish(source, name, colour, max_pixels)
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, (str, os.PathLike)) or is_file_object(source):
        data = read_bytes(source, name)
    else:
        raise SourceError(
            f"cannot load {name}: an image is a path, a data: URI, bytes, a file object, a PIL image, "
            f"an array or a tensor, not {type(source).__name__}"
        )
    with open_bytes(data, name) as image:
        return _finish(image, name, colour, max_pixels)


def _finish(image: Image.Image, name: str, background: tuple[int, ...], max_pixels: int) -> Picture:
    """Checks the size, decodes, and makes the picture upright sRGB."""
    check_size(image.size, name, max_pixels)
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        return _flatten(to_srgb(upright, name), background)
    except ImageError:
        raise
    except MemoryError as err:
        raise ImageTooLargeError(f"cannot load {name}: not enough memory to decode it") from err
    except Exception as err:  # a dozen kinds leak from the decoders; their texts hold addresses, so ours is said
        raise ImageDecodeError(f"cannot load {name}: the {_kind(image)} is damaged or cut off") from err


def check_size(size_wh: tuple[int, int], name: str, max_pixels: int) -> None:
    """Refuses a picture of no or too many pixels, before any is decoded."""
    width, height = size_wh
    if width < 1 or height < 1:
        raise ImageDecodeError(f"cannot load {name}: it has no pixels ({width}×{height})")
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"cannot load {name}: {width}×{height} is {width * height} pixels, more than max_pixels={max_pixels}"
        )


def _kind(image: Image.Image) -> str:
    return f"{image.format} file" if image.format else "picture"


def _flatten(image: Image.Image, background: tuple[int, ...]) -> Picture:
    """Lays transparency on the background; always a new image, without the source's metadata."""
    if image.mode == "RGBA":
        base = Image.new("RGB", image.size, background[:3])
        base.paste(image, mask=image.getchannel("A"))
        return base
    flat = image.convert("RGB") if image.mode != "RGB" else image.copy()
    flat.info = {}
    flat.getexif().clear()
    return flat
