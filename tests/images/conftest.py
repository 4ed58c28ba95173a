"""Files that Pillow cannot write, by hand."""

import struct
import zlib

import numpy as np
import pytest

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def _chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(pixels, *, interlaced=False, keep_bytes=None, extra=(), size_wh=None):
    """A PNG of (H, W) or (H, W, 1–4) uint8 or uint16; `keep_bytes` ends the zlib stream early but properly."""
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
    height, width, samples = pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[samples]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    raw = b""
    for left, top, step_x, step_y in passes:
        part = pixels[top::step_y, left::step_x]
        if part.size:
            raw += b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in part)
    width, height = size_wh or (width, height)
    header = struct.pack(">IIBBBBB", width, height, pixels.dtype.itemsize * 8, colour, 0, 0, int(interlaced))
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + b"".join(_chunk(kind, body) for kind, body in extra)
        + _chunk(b"IDAT", zlib.compress(raw[:keep_bytes]))
        + _chunk(b"IEND", b"")
    )


@pytest.fixture
def png():
    return _png


def _profile(gamma, red, green, blue, *, space=b"RGB ", name="test"):
    """A minimal ICC 2.1 display profile: three primaries (XYZ, D50) and one gamma; GRAY takes the gamma alone."""

    def xyz(values):
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = name.encode() + b"\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 78
    tags = [(b"desc", description), (b"wtpt", xyz((0.9642, 1, 0.8249)))]
    if space == b"GRAY":
        tags += [(b"kTRC", curve)]
    else:
        tags += [(b"rXYZ", xyz(red)), (b"gXYZ", xyz(green)), (b"bXYZ", xyz(blue))]
        tags += [(kind, curve) for kind in (b"rTRC", b"gTRC", b"bTRC")]
    at, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for kind, data in tags:
        table += kind + struct.pack(">II", at + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    white = struct.pack(">3i", *(round(v * 65536) for v in (0.9642, 1, 0.8249)))
    head = struct.pack(">I4xI4s4s4s12x4s28x12s48x", at + len(body), 0x02100000, b"mntr", space, b"XYZ ", b"acsp", white)
    return head + table + body


SRGB_PRIMARIES = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))


@pytest.fixture
def profile():
    """Makes a profile: gamma and primaries; sRGB's own primaries by default."""

    def make(gamma=2.2, primaries=SRGB_PRIMARIES, **more):
        return _profile(gamma, *primaries, **more)

    return make


@pytest.fixture
def photo():
    """(48, 64, 3) uint8, smooth, with no symmetry: every turn and mirror of it is another picture."""
    y, x = np.mgrid[:48, :64]
    return np.stack([x * 4, y * 5, 255 - (x + y) * 2], -1).astype(np.uint8)
