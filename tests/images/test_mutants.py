"""Files of every format, damaged at random: a whole RGB picture or an error of ours, soon, in little memory."""

import itertools
import random
import re
import struct
import time
import warnings

import numpy as np
import pytest
from PIL import Image

from support.files import encode, repaired
from support.memory import forget_the_peak, peak
from visionkit.errors import ImageError
from visionkit.images import load_array, load_image

SECONDS = 2
MEMORY = 2**30
SIZE_WH = (14, 11)
LIMITS = tuple(
    struct.pack(order + kind, value & 2 ** (8 * struct.calcsize(kind)) - 1)
    for order, kind in itertools.product("<>", "HI")
    for value in (0, 1, -1, 2**15 - 1, 2**15, 2**31 - 1, 2**31, 2**24, 1000, 9000)
)


def seeds(png):
    """Case → a small file."""
    pixels = np.random.default_rng(3).integers(0, 256, (*SIZE_WH[::-1], 4), np.uint8)
    rgb = Image.fromarray(pixels[:, :, :3])
    rgba, grey, palette = Image.fromarray(pixels), rgb.convert("L"), rgb.convert("P")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    return {
        "JPEG": encode(rgb, "JPEG"),
        "JPEG with EXIF": encode(rgb, "JPEG", exif=exif),
        "progressive JPEG": encode(rgb, "JPEG", progressive=True),
        "grey JPEG of restarts": encode(grey, "JPEG", restart_marker_rows=1),
        "CMYK JPEG": encode(rgb.convert("CMYK"), "JPEG"),
        "PNG": encode(rgb, "PNG"),
        "RGBA PNG": encode(rgba, "PNG", compress_level=0),
        "palette PNG": encode(palette, "PNG", transparency=3),
        "16-bit PNG": png(pixels[:, :, :3].astype(np.uint16) * 257),
        "interlaced PNG": png(pixels, interlaced=True),
        "animated PNG": encode(rgb, "PNG", **turned),
        "GIF": encode(palette, "GIF", transparency=3),
        "animated GIF": encode(rgb, "GIF", **turned),
        "WEBP": encode(rgba, "WEBP", quality=80),
        "lossless WEBP": encode(rgb, "WEBP", lossless=True),
        "animated WEBP": encode(rgb, "WEBP", **turned),
        "BMP": encode(rgb, "BMP"),
        "palette BMP": encode(palette, "BMP"),
        "TIFF": encode(rgb, "TIFF"),
        "LZW TIFF": encode(rgb, "TIFF", compression="tiff_lzw"),
        "group 4 TIFF": encode(rgb.convert("1"), "TIFF", compression="group4"),
        "JPEG TIFF": encode(rgb, "TIFF", compression="jpeg"),
        "animated TIFF": encode(rgb, "TIFF", **turned),
        "PPM": encode(rgb, "PPM"),
        "PGM": encode(grey, "PPM"),
        "PFM": encode(grey.convert("F"), "PPM"),
        "plain PPM": b"P3 2 2 255 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15",
        "ICO": encode(rgba, "ICO", sizes=[SIZE_WH]),
        "BMP ICO": encode(rgba, "ICO", sizes=[SIZE_WH], bitmap_format="bmp"),
        "AVIF": encode(rgb, "AVIF", speed=10),
        "RGBA AVIF": encode(rgba, "AVIF", speed=10),
    }


def place(rng, data):
    """Where to strike: as often in the header as anywhere."""
    return rng.randrange(min(len(data), 64) if rng.random() < 0.5 else len(data))


def flip(rng, data):
    for _ in range(rng.randint(1, 3)):
        data[place(rng, data)] ^= 1 << rng.randrange(8)


def limit(rng, data):
    at, value = place(rng, data), rng.choice(LIMITS)
    data[at : at + len(value)] = value


def cut(rng, data):
    del data[rng.randrange(len(data)) :]
    if rng.random() < 0.5 and data[:2] == b"\xff\xd8":
        data += b"\xff\xd9"


def swap(rng, data):
    size = rng.randint(1, max(1, len(data) // 4))
    first, second = sorted((rng.randrange(len(data)), rng.randrange(len(data))))
    size = min(size, second - first)
    data[first : first + size], data[second : second + size] = data[second : second + size], data[first : first + size]


def repeat(rng, data):
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.randint(1, 40)] * rng.choice((1, 2, 20))


def remove(rng, data):
    at = rng.randrange(len(data))
    del data[at : at + rng.randint(1, 20)]


def mutants(png, each):
    """Case, number and file: `each` for every seed, the same ones in every run."""
    rng = random.Random(17)  # noqa: S311 - no secret
    for case, seed in seeds(png).items():
        for number in range(each):
            data = bytearray(seed)
            for _ in range(rng.choice((1, 1, 2))):
                rng.choice((flip, flip, limit, limit, cut, swap, repeat, remove))(rng, data)
                data = data or bytearray(b"\0")
            yield case, number, repaired(data) if number % 2 and data[:4] == b"\x89PNG" else bytes(data)


def outcome(load, data):
    """The pixels, or None after an error of ours whose text is fit to be shown."""
    started = time.perf_counter()
    try:
        found = load(data)
    except ImageError as err:
        text = str(err)
        assert f"<{len(data)} bytes>" in text
        assert text.isprintable()
        assert len(text) < 500
        assert re.search(r"0x[0-9a-f]{6,}", text) is None
        found = None
    assert time.perf_counter() - started < SECONDS
    if found is None:
        return None
    if isinstance(found, Image.Image):
        assert (found.mode, found.info) == ("RGB", {})
        return np.asarray(found)
    array, size_wh = found
    assert array.shape == (size_wh[1], size_wh[0], 3)
    return array


def run(png, each):
    """Loads them all on both roads; gives how many were whole, and how many there were."""
    forget_the_peak()
    before, whole, count = peak(), 0, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for case, number, data in mutants(png, each):
            picture, array = outcome(load_image, data), outcome(load_array, data)
            where = f"{case}, mutant {number}"
            assert (picture is None) == (array is None), where
            if picture is not None:
                assert picture.shape == array.shape, where
                assert np.abs(picture.astype(np.int16) - array).max() <= 1, where
            assert peak() - before < MEMORY, where
            count, whole = count + 1, whole + (picture is not None)
    return whole, count


def test_a_few_mutants_of_every_format(png):
    whole, count = run(png, 12)
    assert 0.1 < whole / count < 0.9


@pytest.mark.slow
def test_thousands_of_mutants_of_every_format(png):
    whole, count = run(png, 400)
    assert count > 10_000
    assert 0.1 < whole / count < 0.9


@pytest.mark.slow
def test_mutants_through_the_pipeline(png):
    from visionkit.pipeline import Batches, Preprocess

    files = [data for _, _, data in mutants(png, 30)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batches = list(Batches(files, Preprocess(size_wh=(8, 8)), batch_size=32, device="cpu", on_error="return"))
        failed = {failure.index for batch in batches for failure in batch.failures}
        assert failed == {index for index, data in enumerate(files) if outcome(load_image, data) is None}
    assert {index for batch in batches for index in batch.indices} == set(range(len(files))) - failed
    assert all(batch.pixels.isfinite().all() for batch in batches)
