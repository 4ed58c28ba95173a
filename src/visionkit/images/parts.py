"""What of a file's parts costs Pillow more than reading them: their number and size are looked at before it begins."""

from __future__ import annotations

import re
import struct
from typing import Final

from ..errors import ImageTooLargeError

NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Of a JPEG."""

MAX_SEGMENTS: Final = 2**17
"""Segments of a JPEG that are looked at; Pillow reads no more."""

MAX_EXIF: Final = 2**23
"""Bytes of Exif in a JPEG: Pillow copies all before it for each segment, and cameras write one, of 64 KB at most."""

_BARE: Final = frozenset((0xC8, 0xD8, 0xD9, *range(0xF0, 0xFE)))
"""Markers of a JPEG after which Pillow reads no length."""

MAX_TILES: Final = 20_000
MIN_TILE: Final = 512
"""Pixels: a TIFF of more tiles or strips than `MAX_TILES` may not have fewer in each; one takes about 30 µs."""

_STRIPS: Final = (273, 324)
"""The tags that tell where the strips or tiles lie."""

MAX_RLE4_PIXELS: Final = 2**23
"""Pixels of a bitmap of 4-bit runs: they are taken one by one, at this limit for a second."""

_RLE4: Final = 2


def check_exif(data: bytes, name: str) -> None:
    """Refuses a JPEG of too many bytes of Exif.

    Raises:
        ImageTooLargeError: it has them.
    """
    at, size = 2, 0
    for _ in range(MAX_SEGMENTS):
        found = NEXT_MARKER.search(data, at)
        if found is None or data[found.end() - 1] == 0xDA:
            return
        kind, at = data[found.end() - 1], found.end()
        if kind not in _BARE:
            length = int.from_bytes(data[at : at + 2], "big")
            if kind == 0xE1 and data.startswith(b"Exif\0\0", at + 2):
                size += length
                if size > MAX_EXIF:
                    raise ImageTooLargeError(
                        f"cannot load {name}: the JPEG file has more than {MAX_EXIF} bytes of Exif"
                    )
            at += max(2, length)


def check_tiff(data: bytes, name: str) -> None:
    """Refuses a TIFF whose first picture is cut into very many very small tiles or strips.

    Raises:
        ImageTooLargeError: it is.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2] == 43  # as Pillow tells it; bytes the other way round are read as an old TIFF
    start, head, entry = ("Q", "Q", "HHQ8s") if big else ("L", "H", "HHL4s")
    try:
        (at,) = struct.unpack_from(order + start, data, 8 if big else 4)
        (count,) = struct.unpack_from(order + head, data, at)
        if count > MAX_TILES:
            raise ImageTooLargeError(f"cannot load {name}: the TIFF file has {count} tags, too many")
        at += struct.calcsize(order + head)
        step = struct.calcsize(order + entry)
        entries = [struct.unpack_from(order + entry, data, at + step * number) for number in range(count)]
    except (struct.error, IndexError, OverflowError):
        return  # the decoder's to refuse
    tags = {tag: (kind, number, value) for tag, kind, number, value in reversed(entries)}  # the first counts
    tiles = max((tags[tag][1] for tag in _STRIPS if tag in tags), default=0)
    width, height = (_number(tags.get(tag), order) for tag in (256, 257))
    if tiles > MAX_TILES and width * height < MIN_TILE * tiles:
        raise ImageTooLargeError(
            f"cannot load {name}: the TIFF file has {tiles} tiles or strips for {width}×{height} pixels, too many"
        )


def _number(entry: tuple[int, int, bytes] | None, order: str) -> int:
    """The one whole number of a TIFF's tag that has one; 0 without."""
    kind, _, value = entry or (0, 0, b"")
    form = {1: "B", 3: "H", 4: "L", 16: "Q"}.get(kind)
    return (
        int(struct.unpack_from(order + form, value)[0]) if form and struct.calcsize(order + form) <= len(value) else 0
    )


def check_bmp(data: bytes, size_wh: tuple[int, int], name: str, start: int = 14) -> None:
    """Refuses a large bitmap of 4-bit runs, whose header begins at `start`.

    Raises:
        ImageTooLargeError: it is one.
    """
    if data[start + 16 : start + 20] == bytes((_RLE4, 0, 0, 0)) and size_wh[0] * size_wh[1] > MAX_RLE4_PIXELS:
        raise ImageTooLargeError(
            f"cannot load {name}: a bitmap of 4-bit runs may have {MAX_RLE4_PIXELS} pixels, not "
            f"{size_wh[0]}×{size_wh[1]}; save it as PNG"
        )
