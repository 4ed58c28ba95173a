"""Small files of very many parts: refused, or the right picture, at once and in little memory."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from support.files import chunk, encode
from support.memory import at_most
from visionkit.errors import ImageTooLargeError
from visionkit.images import load_image


def test_looking_for_scans_takes_no_memory():
    data = encode(Image.new("L", (64, 64), 100), "JPEG") + b"\xff" * 10**8
    with at_most(seconds=2, memory=2**27):
        assert load_image(data).size == (64, 64)


@pytest.mark.parametrize("at", [2**20 - 1, 2**20, 2**21 - 1])
def test_scans_are_counted_across_blocks(at):
    data = encode(Image.new("L", (64, 64), 100), "JPEG")
    many = data + (b"\0" * (at - len(data))) + b"\xff\xda" * 100
    with pytest.raises(ImageTooLargeError, match="has 101 scans"):
        load_image(many)
    assert load_image(many[:-2]).size == (64, 64)


JPEG = encode(Image.new("RGB", (64, 64), (128, 128, 128)), "JPEG")
GIF = encode(Image.new("P", (8, 8)), "GIF")
GIF_PICTURE = GIF.index(b",", 13 + 3 * 2 ** ((GIF[10] & 7) + 1))


def jpeg(before_scan=b"", before_end=b""):
    return JPEG[:2] + before_scan + JPEG[2:-2] + before_end + JPEG[-2:]


def png(before=b"", after=b"", data=()):
    rows = zlib.compress((b"\0" + b"\x50" * 24) * 8)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    pixels = b"".join(chunk(b"IDAT", part) for part in data or (rows,))
    return b"\x89PNG\r\n\x1a\n" + head + before + pixels + after + chunk(b"IEND", b"")


def bitmap(kind, size_wh, runs):
    """A BMP of 8-bit (1) or 4-bit (2) runs."""
    at = 14 + 40 + 1024
    head = struct.pack("<IHHI", at + len(runs), 0, 0, at)
    bits = {1: 8, 2: 4}[kind]
    return b"BM" + head + struct.pack("<IiiHHIIiiII", 40, *size_wh, 1, bits, kind, 0, 0, 0, 256, 0) + bytes(1024) + runs


def tiff(size_wh, tile_wh, *, order="<", big=False):
    """A grey TIFF whose tiles all lie at the same place."""
    width, height = size_wh
    tiles = -(-width // tile_wh[0]) * -(-height // tile_wh[1])
    long, start = ("Q", 16) if big else ("L", 8)
    values = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1, 322: tile_wh[0], 323: tile_wh[1]}
    size = struct.calcsize(order + long)
    table = start + (8 if big else 2) + (len(values) + 2) * (4 + 2 * size) + size
    pixels = table + 2 * 4 * tiles
    entries = [
        struct.pack(f"{order}HH{long}L", tag, 4, 1, value).ljust(4 + 2 * size, b"\0") for tag, value in values.items()
    ]
    entries += [
        struct.pack(f"{order}HH{long}{long}", tag, 4, tiles, at) for tag, at in ((324, table), (325, table + 4 * tiles))
    ]
    head = struct.pack(order + ("HHHQ" if big else "HL"), *((43, 8, 0, 16) if big else (42, 8)))
    return (
        (b"II" if order == "<" else b"MM")
        + head
        + struct.pack(order + ("Q" if big else "H"), len(entries))
        + b"".join(entries)
        + bytes(size)
        + struct.pack(order + "L", pixels) * tiles
        + struct.pack(order + "L", tile_wh[0] * tile_wh[1]) * tiles
        + b"\x42" * (tile_wh[0] * tile_wh[1])
    )


PARTS = "is made of too many small parts"
TOO_MANY = {
    "a JPEG's markers without length": (lambda: jpeg(before_end=b"\xff\x01" * 500_000), "more than 10000 markers"),
    "a JPEG's empty tables at the end": (lambda: jpeg(before_end=b"\xff\xdb\0\2" * 500_000), "more than 10000 markers"),
    "a JPEG's empty segments": (lambda: jpeg(b"\xff\xe1\0\2" * 500_000), PARTS),
    "a JPEG's markers before": (lambda: jpeg(b"\xff\xf0" * 2_000_000), PARTS),
    "a JPEG's fill bytes": (lambda: jpeg(b"\xff" * 2_000_000), PARTS),
    "a JPEG's stray bytes": (lambda: jpeg(b"\xff\xe1\0\2" + bytes(2_000_000)), PARTS),
    "a JPEG's Exif": (
        lambda: jpeg((b"\xff\xe1\xff\xffExif\0\0" + bytes(65527)) * 1500),
        "more than 8388608 bytes of Exif",
    ),
    "a PNG's private chunks": (lambda: png(chunk(b"prVt", b"") * 200_000), PARTS),
    "a PNG's chunks behind": (lambda: png(after=chunk(b"prVt", b"") * 200_000), PARTS),
    "a PNG's empty data": (lambda: png(chunk(b"IDAT", b"") * 200_000), PARTS),
    "a GIF's comments": (lambda: GIF[:GIF_PICTURE] + b"\x21\xfe\1a\0" * 800_000 + GIF[GIF_PICTURE:], PARTS),
    "a GIF's one comment": (
        lambda: GIF[:GIF_PICTURE] + b"\x21\xfe" + b"\1a" * 2_000_000 + b"\0" + GIF[GIF_PICTURE:],
        PARTS,
    ),
    "a TIFF's tiles": (lambda: tiff((600, 600), (1, 1)), "360000 tiles or strips for 600×600 pixels"),
    "a Motorola TIFF's tiles": (lambda: tiff((600, 600), (1, 1), order=">"), "360000 tiles"),
    "a BigTIFF's tiles": (lambda: tiff((600, 600), (1, 1), big=True), "360000 tiles"),
    "a BigTIFF's tags": (
        lambda: b"II\x2b\0\x08\0\0\0" + struct.pack("<QQ", 16, 10**6) + bytes(20 * 10**6),
        "has 1000000 tags",
    ),
    "a bitmap's line ends": (lambda: bitmap(1, (8, 8), b"\0\0" * 2_000_000), PARTS),
    "a bitmap's 4-bit runs": (lambda: bitmap(2, (4000, 4000), b"\xff\x12" * 400_000), "may have 8388608 pixels"),
    "a PPM's comment": (lambda: b"P6\n#" + b"a" * 10**6 + b"\n1 1 255\nabc", PARTS),
    "a PPM's spaces": (lambda: b"P6\n" + b" " * 10**6 + b"\n1 1 255\nabc", PARTS),
}


@pytest.mark.parametrize("case", TOO_MANY)
def test_very_many_parts_are_refused_at_once(case):
    make, message = TOO_MANY[case]
    data = make()
    with at_most(seconds=2, memory=2**29), pytest.raises(ImageTooLargeError, match=message):
        load_image(data)


def test_real_files_of_many_parts_are_pictures():
    assert load_image(tiff((64, 25_000), (64, 16))).getpixel((63, 24_999)) == (0x42,) * 3
    assert load_image(tiff((640, 25_000), (640, 1))).getpixel((639, 24_999)) == (0x42,) * 3
    assert load_image(tiff((33, 20), (16, 16), order=">")).size == (33, 20)
    assert load_image(tiff((33, 20), (16, 16), big=True)).size == (33, 20)
    noise = np.random.default_rng(0).integers(0, 256, (1000, 3000), np.uint8)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in noise.reshape(8, -1)[:, :24]))
    assert load_image(png(data=[rows[at : at + 1] for at in range(len(rows))])).size == (8, 8)
    assert load_image(jpeg(b"\xff\xe1\0\2" * 9_000 + b"\xff" * 1000)).size == (64, 64)
    assert load_image(bitmap(1, (600, 400), (b"\x01\x05" * 600 + b"\0\0") * 400 + b"\0\1")).size == (600, 400)
