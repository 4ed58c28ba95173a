"""PPM files of every depth, binary and as texts: Pillow's values, in less time."""

import io

import numpy as np
import pytest
from PIL import Image

from support.memory import at_most
from visionkit.errors import ImageDecodeError, ImageTooLargeError
from visionkit.images import load_array, load_image
from visionkit.images.decode import decode_bytes

WH = (23, 17)


def ppm(magic, top, *, values=None):
    """A file of random values, up to `top`."""
    samples = WH[0] * WH[1] * (3 if magic in (b"P3", b"P6") else 1)
    if values is None:
        values = np.random.default_rng(0).integers(0, top + 1, samples)
    head = magic + b"\n# by hand\n%d %d\n" % WH + (b"" if magic == b"P1" else b"%d\n" % top)
    if magic in (b"P5", b"P6"):
        return head + values.astype(">u2" if top > 255 else "u1").tobytes()
    return head + b" ".join(b"%d" % value for value in values) + b"\n"


CASES = [(b"P1", 1), *((magic, top) for magic in (b"P2", b"P3", b"P5", b"P6") for top in (1, 31, 100, 255, 256, 1000))]
CASES += [(b"P2", 65535), (b"P3", 65535), (b"P6", 65535)]


@pytest.mark.parametrize(("magic", "top"), CASES)
def test_the_values_are_pillows(magic, top):
    data = ppm(magic, top)
    with Image.open(io.BytesIO(data)) as truth:
        truth.load()
        ours = decode_bytes(data, "it", 10**6)
        assert (ours.mode, ours.size) == (truth.mode, truth.size)
        assert np.array_equal(np.asarray(ours), np.asarray(truth))
    assert np.array_equal(load_array(data)[0], np.asarray(load_image(data)))


def test_a_hundred_levels_are_scaled_to_255():
    values = np.arange(WH[0] * WH[1] * 3) % 101
    loaded = np.asarray(load_image(ppm(b"P6", 100, values=values)))
    assert np.array_equal(loaded.reshape(-1), np.rint(values / 100 * 255))
    above = np.asarray(load_image(ppm(b"P6", 100, values=np.full(values.shape, 200))))
    assert (above == 255).all()


def test_texts_with_comments_and_without_spaces():
    assert np.asarray(load_image(b"P1 3 2\n01#one\n0\n101")).tolist() == [
        [[255] * 3, [0] * 3, [255] * 3],
        [[0] * 3, [255] * 3, [0] * 3],
    ]
    assert np.asarray(load_image(b"P3 2 1 9\n#a\n#b\r9 0 9\v9 9 0 ")).tolist() == [[[255, 0, 255], [255, 255, 0]]]


@pytest.mark.parametrize(
    "data",
    [
        b"P1 3 1\n01",
        b"P1 3 1\n012",
        b"P2 2 1 9\n1",
        b"P2 2 1 9\n1 10",
        b"P2 2 1 9\n1 -1",
        b"P2 2 1 9\n1 x",
        b"P2 2 1 9\n1 " + b"9" * 400,
        b"P2 2 1 9\n    ",
        b"P5 2 1 9\n1",
        b"P5 2 1 900\n1\x02\x03",
        b"P6 1 1 9\n12",
    ],
)
def test_damage_is_refused(data):
    for load in (load_image, load_array):
        with pytest.raises(ImageDecodeError, match="the PPM file is damaged or cut off"):
            load(data)


def test_large_ones_are_decoded_soon_or_refused():
    with at_most(seconds=2, memory=2**29):
        assert load_image(b"P6 4000 3000 100\n" + b"\x32" * 36_000_000).getpixel((3999, 2999)) == (128,) * 3
    with at_most(seconds=2, memory=2**29):
        assert load_image(b"P3 1750 1750 255\n" + b"17 " * (1750 * 1750 * 3)).getpixel((1749, 1749)) == (17,) * 3
    with pytest.raises(ImageTooLargeError, match="may have 16777216 samples and 10000 comments, and this one has more"):
        load_image(b"P3 3000 3000 255\n" + b"1 " * 27_000_000)
    with at_most(seconds=2, memory=2**29), pytest.raises(ImageTooLargeError, match="10000 comments"):
        load_image(b"P3 1 1 255\n" + b"#\n" * 5_000_000 + b"1 2 3 ")
