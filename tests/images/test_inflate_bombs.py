"""A megabyte that inflates to 1,500: refused, or the right picture, at once and in little memory."""

import struct
import zlib

import numpy as np
import pytest

from support.files import chunk
from support.memory import at_most
from visionkit.errors import ImageDecodeError
from visionkit.images import load_array, load_image


@pytest.fixture(scope="module")
def bomb():
    squeeze = zlib.compressobj(9)
    zeros = bytes(2**20)
    return b"".join(squeeze.compress(zeros) for _ in range(1500)) + squeeze.flush()


def png(before=b"", rows=None):
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    rows = zlib.compress(8 * (b"\0" + bytes([90]) * 24)) if rows is None else rows
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff(strip):
    """64 × 64 RGB in one deflated strip."""
    at = 8 + 2 + 12 * 10 + 4
    shorts = {259: 8, 262: 2, 277: 3, 284: 1}
    longs = {256: 64, 257: 64, 273: at + 6, 278: 64, 279: len(strip)}
    entries = {tag: struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in shorts.items()}
    entries |= {tag: struct.pack("<HHII", tag, 4, 1, value) for tag, value in longs.items()}
    entries[258] = struct.pack("<HHII", 258, 3, 3, at)
    table = b"".join(entries[tag] for tag in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, 10) + table + struct.pack("<IHHH", 0, 8, 8, 8) + strip


MAKERS = {
    "compressed text": lambda bomb: png(chunk(b"zTXt", b"Comment\0\0" + bomb)),
    "compressed XMP": lambda bomb: png(chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb)),
    "a colour profile": lambda bomb: png(chunk(b"iCCP", b"profile\0\0" + bomb)),
    "EXIF as text": lambda bomb: png(chunk(b"zTXt", b"Raw profile type exif\0\0" + bomb)),
    "rows without end": lambda bomb: png(rows=bomb),
    "a TIFF's strip": tiff,
}


@pytest.mark.parametrize("load", [load_image, load_array])
@pytest.mark.parametrize("case", MAKERS)
def test_what_inflates_to_gigabytes_is_not_inflated(bomb, case, load):
    data = MAKERS[case](bomb)
    with at_most(seconds=2, memory=100 * 2**20):
        if "TIFF" in case or "rows" in case:
            loaded = load(data)
            pixels = np.asarray(loaded[0] if load is load_array else loaded)
            assert not pixels.any(), "the rows that the header asks for are the bomb's first zeros"
        else:
            with pytest.raises(ImageDecodeError, match="cannot load"):
                load(data)


def test_the_files_themselves_are_sound():
    assert load_image(png()).getpixel((7, 7)) == (90, 90, 90)
    assert load_image(tiff(zlib.compress(bytes([90]) * 64 * 64 * 3))).getpixel((63, 63)) == (90, 90, 90)
