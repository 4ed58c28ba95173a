"""Decoders that are faster than Pillow's, for the plain files that they read as Pillow does, pixel by pixel."""

from __future__ import annotations

import struct
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..log import log

Array: TypeAlias = npt.NDArray[np.uint8]

_JPEG_MODES: Final = {"RGB": "RGB", "L": "GRAY"}
"""PIL mode → simplejpeg's colour space. CMYK is not here: whether its values are inverted, Pillow knows better."""

_PNG_MODES: Final = {0: "mono", 2: "rgb", 6: "rgba"}
"""PNG colour type → kornia-rs's mode, at 8 bits a sample."""

_PNG_PLAIN: Final = frozenset(
    (b"IHDR", b"IDAT", b"IEND", b"pHYs", b"tIME", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"bKGD")
)
"""Chunks that change no pixel for Pillow (a profile is applied later). Text may hide an orientation, tRNS and acTL
change what is seen."""

_PNG_SPEAKING: Final = (
    b"Raw profile",
    b"exif",
    b"xmp",
    b"XML:com.adobe.xmp",
    b"transparency",
    b"interlace",
    b"icc_profile",
)
"""What the keywords of texts begin with that Pillow keeps under the names of what else it knows of a picture."""

_PNG_CHUNKS: Final = 20_000
"""Chunks of a PNG that are looked at."""

_PNG_PIXELS: Final = 2**23
"""kornia-rs keeps Python's lock while it decodes, 0.01 s for a million pixels: other threads wait for no more than
this."""

_LEAST_SCRATCH: Final = 2**20
_MOST_SCRATCH: Final = 2**26
"""Bytes of a decoded picture; a photograph of 20 megapixels has 60 million."""

MAX_DIVISOR: Final = 8
_DIVISORS: Final = (MAX_DIVISOR, 4, 2)
"""Divisors at which libjpeg-turbo decodes; those between, such as 8/3, take it longer than a larger picture does."""


class Scratch:
    """Memory into which one thread decodes its pictures, each over the one before.

    Large memory that is new costs an eighth of what decoding into it does.
    """

    def __init__(self) -> None:
        self._memory: Array = np.empty(0, np.uint8)

    def of(self, size: int) -> Array | None:
        """Room for so many bytes; None where new memory is as well: for little, and for more than is worth keeping."""
        if not _LEAST_SCRATCH <= size <= _MOST_SCRATCH:
            return None
        if self._memory.size < size:
            self._memory = np.empty(0, np.uint8)  # the old goes before the new comes
            self._memory = np.empty(size, np.uint8)
        return self._memory


def decode_fast(
    image: Image.Image, data: bytes, least_wh: tuple[int, int] | None, scratch: Scratch | None = None
) -> Array | None:
    """Decodes what `open_checked` opened from `data`, as it is stored.

    Args:
        image: opened, checked and not decoded.
        data: its file.
        least_wh: a JPEG may be decoded at a half, a quarter or an eighth of its size, but no smaller than this;
            None: at its size.
        scratch: where to decode a JPEG to; None: new memory.

    Returns:
        (H, W, 3) RGB, (H, W, 1) grey or (H, W, 4) RGBA, writable; or None where Pillow is the one to decode, or to
        say what is wrong.
    """
    try:
        if image.format in ("JPEG", "MPO") and image.mode in _JPEG_MODES:
            return _jpeg(image, data, least_wh, scratch)
        if image.format == "PNG" and image.width * image.height <= _PNG_PIXELS and _is_plain_png(data):
            return _png(image, data)
    except Exception:  # noqa: BLE001 - kornia-rs raises Exception itself; Pillow decides whether the file is damaged
        log.debug("a fast decoder refused a %s file", image.format)
    return None


def _jpeg(image: Image.Image, data: bytes, least_wh: tuple[int, int] | None, scratch: Scratch | None) -> Array | None:
    import simplejpeg

    width, height = _decoded_wh(image.size, least_wh or image.size)
    array: Array = simplejpeg.decode_jpeg(
        data,
        _JPEG_MODES[image.mode],
        fastdct=False,
        fastupsample=False,
        min_width=width,
        min_height=height,
        buffer=scratch.of(width * height * len(image.mode)) if scratch else None,
        strict=True,
    )
    return array if array.shape[:2] == (height, width) else None


def _decoded_wh(image_wh: tuple[int, int], least_wh: tuple[int, int]) -> tuple[int, int]:
    for divisor in _DIVISORS:
        width, height = -(-image_wh[0] // divisor), -(-image_wh[1] // divisor)
        if width >= least_wh[0] and height >= least_wh[1]:
            return width, height
    return image_wh


def rescue(image: Image.Image, data: bytes) -> Image.Image | None:
    """What a fast decoder makes of a file that Pillow calls damaged; None where it calls it so too.

    Of a PNG, one decoder looks at the checksum of each chunk, the other at that of the inflated data: a file that
    either finds whole is a picture, whichever road it takes.
    """
    if image.format != "PNG":
        return None
    array = decode_fast(image, data, None)
    if array is None:
        return None
    picture = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    picture.format, picture.info = image.format, dict(image.info)
    return picture


def ends_early(data: bytes, mode: str) -> bool:
    """Whether libjpeg first complains of a JPEG, of that PIL mode, that its coded pixels end too early."""
    import simplejpeg

    try:  # at an eighth of its size, so that little more than the coded data is looked at
        simplejpeg.decode_jpeg(data, "CMYK" if mode == "CMYK" else "GRAY", min_width=1, min_height=1, strict=True)
    except ValueError as err:
        return "premature end" in str(err).lower()
    return False


def _png(image: Image.Image, data: bytes) -> Array:
    import kornia_rs

    decode: Any = kornia_rs.io.decode_image_png_u8
    array: Array = decode(data, (image.height, image.width), _PNG_MODES[data[25]])
    return array


def _is_plain_png(data: bytes) -> bool:
    """Whether it is one picture of 8 bits a sample, not interlaced, of nothing but pixels; told by its chunks."""
    depth, colour, _, _, interlace = data[24:29]
    if depth != 8 or colour not in _PNG_MODES or interlace:
        return False
    at = 8
    for _ in range(_PNG_CHUNKS):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind not in _PNG_PLAIN and not (kind == b"tEXt" and not data.startswith(_PNG_SPEAKING, at + 8)):
            return False
        if kind == b"IEND":
            return True
        at += 12 + length
    return False
