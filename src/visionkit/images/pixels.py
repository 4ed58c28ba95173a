"""`load_array`: any source straight to the pixels that a model's input is made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image

from ..errors import ImageTooLargeError
from .checks import MAX_PIXELS
from .color import changes_colours, to_srgb
from .decode import decode_opened, open_checked
from .fast import MAX_DIVISOR, Array, Scratch, decode_fast
from .load import bytes_of, finish, load_image, turn_of
from .sources import Source, is_tensor, name_for_error

_WHITE: Final = (255, 255, 255)
_FLIP = Image.Transpose
_TRANSPOSING: Final = frozenset((_FLIP.TRANSPOSE, _FLIP.ROTATE_90, _FLIP.ROTATE_270, _FLIP.TRANSVERSE))
"""Turns in which rows and columns change places; the next two say what comes after that."""

_LAST_ROW_FIRST: Final = frozenset((_FLIP.ROTATE_180, _FLIP.FLIP_TOP_BOTTOM, _FLIP.TRANSVERSE, _FLIP.ROTATE_90))
_LAST_COLUMN_FIRST: Final = frozenset((_FLIP.ROTATE_180, _FLIP.FLIP_LEFT_RIGHT, _FLIP.TRANSVERSE, _FLIP.ROTATE_270))


def load_array(
    source: Source,
    *,
    least_wh: Callable[[tuple[int, int]], tuple[int, int]] | None = None,
    scratch: Scratch | None = None,
) -> tuple[Array, tuple[int, int]]:
    """Loads one image as `load_image` does, by the fastest decoder that reads it rightly.

    Args:
        source: any image source.
        least_wh: from the upright image's size, the size that is wanted at least: a JPEG is then decoded at a half,
            a quarter or an eighth of its size where that is as large. None decodes in full.
        scratch: memory of the calling thread, which the pixels may share: they are good until its next picture.

    Returns:
        uint8 (H, W, 3), RGB, writable, and the size of the whole upright image: larger than (W, H) where the picture
        was decoded smaller.

    Raises:
        InputError: as `load_image`.
    """
    if isinstance(source, (np.ndarray, Image.Image)) or is_tensor(source):
        picture = load_image(source)
        return np.array(picture), picture.size
    name = name_for_error(source)
    try:
        return _from_bytes(bytes_of(source, name), name, least_wh, scratch)
    except MemoryError as err:
        raise ImageTooLargeError(f"cannot load {name}: there is not enough memory for it") from err


def _from_bytes(
    data: bytes,
    name: str,
    least_wh: Callable[[tuple[int, int]], tuple[int, int]] | None,
    scratch: Scratch | None,
) -> tuple[Array, tuple[int, int]]:
    image = open_checked(data, name, MAX_PIXELS)
    turn = turn_of(image) if image.format != "PNG" else None  # Pillow would decode a PNG to tell
    sideways = turn in _TRANSPOSING
    upright_wh = (image.height, image.width) if sideways else image.size
    least = None
    if least_wh and (turn is None or not any(side % MAX_DIVISOR for side in image.size)):
        # decoded smaller, an odd picture ends within its last pixel; turned, it would begin within its first
        wanted = least_wh(upright_wh)
        least = wanted[::-1] if sideways else wanted
    array = decode_fast(image, data, least, scratch)
    if array is None:
        picture = finish(decode_opened(image, data, name), name, _WHITE)
        return np.array(picture), picture.size
    array = _in_srgb(array, image.info.get("icc_profile"), name)
    return (_turned(array, turn) if turn is not None else array), upright_wh


def _in_srgb(array: Array, profile: bytes | None, name: str) -> Array:
    """(H, W, 1|3|4) of that profile → (H, W, 3) of sRGB, on white."""
    channels = array.shape[2]
    if channels != 4 and not changes_colours(profile, "L" if channels == 1 else "RGB"):
        return np.repeat(array, 3, axis=2) if channels == 1 else array
    stored = Image.fromarray(array[:, :, 0] if channels == 1 else array)
    stored.info["icc_profile"] = profile
    return np.array(to_srgb(stored, name, _WHITE))


def _turned(array: Array, turn: Image.Transpose) -> Array:
    """What `Image.transpose` does, for an array; in memory of its own."""
    if turn in _TRANSPOSING:
        array = array.transpose(1, 0, 2)
    rows = -1 if turn in _LAST_ROW_FIRST else 1
    columns = -1 if turn in _LAST_COLUMN_FIRST else 1
    return np.ascontiguousarray(array[::rows, ::columns])
