"""What an encoded picture must pass before its pixels are decoded, and a PNG after: hostile files are legal files."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np
from PIL import Image, ImageFile

from ..errors import ImageDecodeError, ImageTooLargeError
from .fast import ends_early
from .parts import NEXT_MARKER, check_bmp

MAX_BYTES: Final = 512 * 2**20
"""The largest file that is read, in bytes; no camera writes a larger one."""

MAX_PIXELS: Final = 89_478_485
"""The default limit of width × height: Pillow's own, and 1 GiB at `PIXEL_MEMORY` bytes each."""

MAX_SIDE: Final = 1_000_000
"""The longest side: a picture of 1 × 100,000,000 passes any limit of pixels, and takes 2 GB and 11 s."""

MAX_MEMORY: Final = 2**30
"""Bytes that decoding and converting may take. Who raises `max_pixels` gets `PIXEL_MEMORY` more for each."""

PIXEL_MEMORY: Final = 12
"""Bytes of memory for each of `max_pixels`: what opaque pictures of most formats need, with a reserve."""

# Peak resident memory of `load_image`, bytes a pixel, with a profile and an orientation (Pillow 13, 2026-11).
_USUAL: Final = 10
_BY_FORMAT: Final = {"WEBP": 17, "AVIF": 12, "ICO": 16}
_BY_MODE: Final = {"RGBA": 15, "LA": 15, "P": 15, "PA": 15, "F": 17, "I": 17}

MAX_SCANS: Final = 100
"""Scans of a JPEG: 882 in 186 KB keep every decoder busy for minutes (libjpeg-turbo audit, LJT-01-003)."""

MAX_SCAN_PIXELS: Final = 2_000_000_000
"""Scans × pixels of a JPEG: at this limit 0.7 s."""

MAX_PIXELS_PER_BYTE: Final = 512
"""A coefficient costs a JPEG at least one bit for 64 pixels, so a file with more is not whole; white paper has 255."""

_GREY: Final = range(112, 145)
"""Where libjpeg's filling lies, with a reserve: it leaves the pixels that are missing at 128."""

MAX_MARKERS: Final = 10_000
"""Markers of a JPEG, besides those of restarts, that are looked at."""

_ADAM7: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Passes of an interlaced PNG: first column and row, steps between columns and rows."""

_PNG_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""PNG colour type → samples a pixel."""

_SCAN_BLOCK: Final = 2**16
"""Bytes of a JPEG that are looked at together: larger parts need memory that has to come first."""

_BLOCK: Final = 2**20


def check_size(size_wh: tuple[int, int], name: str, max_pixels: int) -> None:
    """Refuses a picture of no or too many pixels, before any is decoded.

    Raises:
        ImageDecodeError: it has no pixels.
        ImageTooLargeError: it has too many, or a side is too long.
    """
    width, height = size_wh
    if width < 1 or height < 1:
        raise ImageDecodeError(f"cannot load {name}: it has no pixels ({width}×{height})")
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"cannot load {name}: {width}×{height} is {width * height} pixels, more than max_pixels={max_pixels}"
        )
    if max(width, height) > MAX_SIDE:
        raise ImageTooLargeError(f"cannot load {name}: {width}×{height} has a side longer than {MAX_SIDE} pixels")


def check_memory(size_wh: tuple[int, int], kind: str | None, mode: str, name: str, max_pixels: int) -> None:
    """Refuses a picture that would take too much memory, by its format and mode.

    Raises:
        ImageTooLargeError: it would.
    """
    need = size_wh[0] * size_wh[1] * max(_USUAL, _BY_FORMAT.get(kind or "", 0), _BY_MODE.get(mode, 0))
    allowed = max(MAX_MEMORY, PIXEL_MEMORY * max_pixels)
    if need > allowed:
        raise ImageTooLargeError(
            f"cannot load {name}: {size_wh[0]}×{size_wh[1]} of {kind or 'mode'} {mode} takes about {need >> 20} MB of "
            f"memory to decode, more than {allowed >> 20}; a larger max_pixels allows more"
        )


def check_jpeg(data: bytes, size_wh: tuple[int, int], name: str) -> None:
    """Refuses a JPEG of very many scans, or of more pixels than its bytes can hold.

    Raises:
        ImageDecodeError: the bytes cannot be all.
        ImageTooLargeError: the scans would take too long.
    """
    pixels = size_wh[0] * size_wh[1]
    scans = _scans(data)
    if scans > MAX_SCANS or scans * pixels > MAX_SCAN_PIXELS:
        raise ImageTooLargeError(f"cannot load {name}: the JPEG file has {scans} scans of {pixels} pixels, too many")
    if pixels > MAX_PIXELS_PER_BYTE * len(data):
        raise ImageDecodeError(f"cannot load {name}: the JPEG file has {pixels} pixels in {len(data)} bytes: cut off")


def _scans(data: bytes) -> int:
    """Markers that begin a scan: 0xFF is stuffed in coded data, so thumbnails can only make the count too high.

    By NumPy, four times as fast as `data.count`, which took a twentieth of decoding a large picture; block by block, as
    its answers are as large as what it looks at.
    """
    values = np.frombuffer(data, np.uint8)
    scans = 0
    for at in range(0, len(values), _SCAN_BLOCK):
        block = values[at : at + _SCAN_BLOCK + 1]  # a marker may lie across the border
        scans += int(np.count_nonzero((block[:-1] == 0xFF) & (block[1:] == 0xDA)))
    return scans


def check_webp(data: bytes, name: str, max_pixels: int) -> None:
    """Refuses a WebP by its header: opening one already takes the memory of its canvas.

    Raises:
        ImageTooLargeError: it has too many pixels.
    """
    width = height = 1
    if data[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif data[23:26] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    if width and height:  # none is the decoder's to refuse
        check_size((width, height), name, max_pixels)
        check_memory((width, height), "WEBP", "RGB", name, max_pixels)


def check_ico(data: bytes, name: str, max_pixels: int) -> None:
    """Refuses an icon by what lies in it: a PNG may be larger than the icon's directory says.

    Raises:
        ImageDecodeError: a picture in it has no pixels.
        ImageTooLargeError: it has too many.
    """
    for entry in range(int.from_bytes(data[4:6], "little")):
        (start,) = struct.unpack_from("<I", data, 6 + 16 * entry + 12)
        head = data[start : start + 24]
        if head.startswith(b"\x89PNG"):
            size_wh = struct.unpack_from(">II", head, 16)
        else:
            width, height = struct.unpack_from("<ii", head, 4)
            size_wh = abs(width), abs(height) // 2  # the mask lies below the picture
            check_bmp(data, size_wh, name, start)
        check_size(size_wh, name, max_pixels)
        check_memory(size_wh, "ICO", "RGBA", name, max_pixels)


def check_rows(image: Image.Image, data: bytes, name: str) -> None:
    """Refuses a decoded PNG whose compressed data ended early: Pillow leaves the missing rows zero, without a word.

    The data is inflated a second time, but only where the last row is zero or rows come in another order.

    Raises:
        ImageDecodeError: rows are missing.
    """
    if not (_ends_in_zeros(image) or image.info.get("interlace") or ImageFile.LOAD_TRUNCATED_IMAGES):
        return
    need = _png_bytes(data)
    inflate, have = zlib.decompressobj(), 0
    for chunk in _idat(data):
        rest = chunk
        while rest and have < need:
            have += len(inflate.decompress(rest, _BLOCK))
            rest = inflate.unconsumed_tail
    if have < need:
        raise ImageDecodeError(f"cannot load {name}: the PNG file is cut off: rows are missing")


def check_jpeg_whole(image: Image.Image, data: bytes, name: str) -> None:
    """Refuses a decoded JPEG whose coded data ended early, even if an end marker follows: Pillow takes libjpeg's grey.

    The data is looked at a second time, but only where the last pixel may be that grey, or the missing part elsewhere:
    in a file of several scans or with restart markers.

    A cut within the last block of pixels may pass: its end is told neither by a complaint nor by grey pixels.

    Raises:
        ImageDecodeError: pixels are missing.
        ImageTooLargeError: there are too many markers to look at.
    """
    last: object = image.getpixel((image.width - 1, image.height - 1))
    grey = all(level in _GREY for level in (last if isinstance(last, tuple) else (last,)))
    if not (grey or data.count(b"\xff\xda") > 1 or b"\xff\xdd" in data):
        return
    if ends_early(_picture_alone(data, name), image.mode):
        raise ImageDecodeError(f"cannot load {name}: the JPEG file is cut off: pixels are missing")


def _picture_alone(data: bytes, name: str) -> bytes:
    """A JPEG's tables, frames and scans: a complaint about what else lies in the file would hide a later one."""
    parts, at, markers = [data[:2]], 2, 0
    while (found := NEXT_MARKER.search(data, at)) is not None:
        markers += 1
        if markers > MAX_MARKERS:
            raise ImageTooLargeError(f"cannot load {name}: the JPEG file has more than {MAX_MARKERS} markers")
        kind, at = data[found.start() + 1], found.end()
        if kind == 0xD9:
            parts.append(b"\xff\xd9")
            break
        if kind in (0x01, 0xD8):  # these have no length
            continue
        end = at + int.from_bytes(data[at : at + 2], "big")
        if kind == 0xDA:
            after = NEXT_MARKER.search(data, end)
            end = after.start() if after else len(data)
        if not (0xE0 <= kind <= 0xED or kind in (0xEF, 0xFE)):  # 0xEE tells how the colours are stored
            parts.append(data[found.start() : end])
        at = end
    return b"".join(parts)


def _ends_in_zeros(image: Image.Image) -> bool:
    """Whether the last row is all zero; pixel by pixel, as the first says no for nearly every picture."""
    zeros = (0, (0,) * len(image.getbands()))
    return all(image.getpixel((x, image.height - 1)) in zeros for x in range(image.width))


def _png_bytes(data: bytes) -> int:
    """How many bytes the rows of a PNG are, by its header: a filter byte and the packed samples of each."""
    width, height, depth, colour, _, _, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    bits = depth * _PNG_SAMPLES[colour]
    total = 0
    for left, top, step_x, step_y in _ADAM7 if interlace else ((0, 0, 1, 1),):
        columns, rows = -((left - width) // step_x), -((top - height) // step_y)
        if columns > 0 and rows > 0:
            total += rows * (1 + (columns * bits + 7) // 8)
    return total


def _idat(data: bytes) -> Iterator[bytes]:
    """The compressed data of a PNG's first picture, chunk by chunk."""
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            yield data[at + 8 : at + 8 + length]
        at += 12 + length
