"""Damaged and hostile files: refused with an error of ours, or the whole picture; and the process is left as it was."""

import os
import random
import re
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from support.files import chunk, encode
from visionkit.errors import ImageDecodeError, ImageError, ImageTooLargeError
from visionkit.images import load_image


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(1).integers(0, 256, (40, 56, 3), np.uint8)


FILES = {
    "JPEG": ("JPEG", {"quality": 90}),
    "progressive JPEG": ("JPEG", {"quality": 90, "progressive": True}),
    "PNG": ("PNG", {}),
    "GIF": ("GIF", {}),
    "WEBP": ("WEBP", {"quality": 90}),
    "lossless WEBP": ("WEBP", {"lossless": True}),
    "BMP": ("BMP", {}),
    "TIFF": ("TIFF", {}),
    "LZW TIFF": ("TIFF", {"compression": "tiff_lzw"}),
    "JPEG TIFF": ("TIFF", {"compression": "jpeg"}),
    "PPM": ("PPM", {}),
    "ICO": ("ICO", {"sizes": [(56, 40)]}),
    "BMP ICO": ("ICO", {"sizes": [(56, 40)], "bitmap_format": "bmp"}),
    "AVIF": ("AVIF", {}),
}


def assert_clean(error, name):
    text = str(error)
    assert name in text
    assert len(text) < 500
    assert re.search(r"0x[0-9a-f]{6,}", text) is None
    assert text.isprintable()


@pytest.mark.parametrize("case", FILES)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own about broken TIFFs
def test_a_file_cut_off_anywhere_is_refused_or_whole(tmp_path, noise, case):
    kind, options = FILES[case]
    data = encode(noise, kind, **options)
    whole = np.asarray(load_image(data))
    refused = 0
    for tenth in range(10):
        path = tmp_path / f"cut{tenth}.img"
        path.write_bytes(data[: max(1, len(data) * tenth // 10)])
        try:
            picture = load_image(path)
        except (ImageDecodeError, ImageTooLargeError) as err:
            refused += 1
            assert_clean(err, path.name)
        else:
            assert np.array_equal(np.asarray(picture), whole)
    assert refused == 10


@pytest.mark.parametrize("case", FILES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_user_who_lets_pillow_make_up_the_rest_gets_no_half_picture_from_us(monkeypatch, noise, case):
    kind, options = FILES[case]
    data = encode(noise, kind, **options)
    whole = np.asarray(load_image(data))
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert np.array_equal(np.asarray(load_image(data)), whole)
    for part in (0.4, 0.6, 0.8, 0.95):
        with pytest.raises(ImageError):
            load_image(data[: int(len(data) * part)])


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("samples", [1, 3, 4])
def test_a_png_whose_compressed_data_ends_early_is_refused(png, interlaced, samples):
    pixels = np.random.default_rng(0).integers(1, 256, (16, 16, samples), np.uint8)
    whole = png(pixels, interlaced=interlaced)
    load_image(whole)
    size = 16 * (16 * samples + 1) + (14 if interlaced else 0)  # 30 rows in 7 passes
    for kept in (size - 1, size // 2, 1):
        with pytest.raises(ImageDecodeError, match=r"PNG file is (cut off: rows are missing|damaged or cut off)"):
            load_image(png(pixels, interlaced=interlaced, keep_bytes=kept))


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_rows_are_counted_at_every_depth(depth):
    row = b"\0" + b"\0" * ((13 * depth + 7) // 8)
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 13, 9, depth, 0, 0, 0, 0))
    for rows in (8, 9):
        data = head + chunk(b"IDAT", zlib.compress(row * rows)) + chunk(b"IEND", b"")
        if rows == 9:  # a black picture is a picture
            assert load_image(data).getextrema() == ((0, 0),) * 3
        else:
            with pytest.raises(ImageDecodeError, match="rows are missing"):
                load_image(data)


def test_a_black_last_row_costs_a_second_inflation_and_no_more(png):
    pixels = np.full((8, 8, 4), 255, np.uint8)
    pixels[-2:] = 0
    loaded = np.asarray(load_image(png(pixels)))
    assert (loaded == 255).all()  # the last rows are invisible on white


def jpeg_with_scans(scans):
    """A progressive JPEG whose last scan is repeated."""
    data = encode(Image.new("L", (64, 64), 100), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * (scans - data.count(b"\xff\xda") + 1) + data[-2:]


def test_a_jpeg_of_very_many_scans_is_refused_at_once():
    data = jpeg_with_scans(20_000)
    started = time.monotonic()
    with pytest.raises(ImageTooLargeError, match="the JPEG file has 20000 scans of 4096 pixels, too many"):
        load_image(data)
    assert time.monotonic() - started < 1


def test_many_scans_of_a_large_jpeg_are_refused():
    data = bytearray(jpeg_with_scans(60))
    frame = data.index(b"\xff\xc2")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 7000, 7000)
    with pytest.raises(ImageTooLargeError, match="60 scans of 49000000 pixels"):
        load_image(bytes(data) + b"\0" * 100_000)


def test_a_jpeg_of_more_pixels_than_its_bytes_can_hold_is_refused():
    data = bytearray(encode(Image.new("L", (16, 16), 100), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 8000, 8000)
    with pytest.raises(ImageDecodeError, match=r"the JPEG file has 64000000 pixels in \d+ bytes: cut off"):
        load_image(bytes(data))


def test_white_paper_is_no_hostile_file():
    for options in ({"quality": 1}, {"optimize": True, "quality": 1}, {"progressive": True, "quality": 1}):
        data = encode(Image.new("RGB", (3000, 3000), "white"), "JPEG", **options)
        assert load_image(data).getpixel((9, 9)) == (255, 255, 255)


@pytest.mark.parametrize("size_wh", [(40_000, 40_000), (1, 100_000_000), (2**31 - 1, 2**31 - 1)])
def test_a_png_bomb_is_refused_by_its_header(png, size_wh):
    started = time.monotonic()
    with pytest.raises(ImageTooLargeError, match=f"{size_wh[0]}×{size_wh[1]} is .* more than max_pixels=89478485"):
        load_image(png(np.zeros((1, 1), np.uint8), size_wh=size_wh))
    assert time.monotonic() - started < 1


def test_a_side_of_over_a_million_pixels_is_refused(png):
    with pytest.raises(ImageTooLargeError, match="1×1000001 has a side longer than 1000000 pixels"):
        load_image(png(np.zeros((1, 1), np.uint8), size_wh=(1, 1_000_001)))


def test_no_pixels_are_refused(png):
    with pytest.raises(ImageDecodeError, match=r"no pixels|damaged"):
        load_image(png(np.zeros((1, 1), np.uint8), size_wh=(0, 5)))
    with pytest.raises(ImageDecodeError, match=r"it has no pixels \(0×5\)"):
        load_image(Image.new("RGB", (0, 5)))


def webp(width, height, kind):
    """The 42 bytes of a WebP that says it is large."""
    if kind == "VP8L":
        body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\x88\x88\x08"
    elif kind == "VP8X":
        body = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    else:
        body = b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + bytes(20)
    chunk = kind.ljust(4).encode() + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


@pytest.mark.parametrize("kind", ["VP8", "VP8L", "VP8X"])
def test_a_webp_bomb_is_refused_before_it_is_opened(kind):
    with pytest.raises(ImageTooLargeError, match="13000×13000 is 169000000 pixels, more than max_pixels"):
        load_image(webp(13_000, 13_000, kind))
    with pytest.raises(ImageTooLargeError, match=r"9000×9000 of WEBP RGB takes about 1313 MB of memory.* a larger max"):
        load_image(webp(9_000, 9_000, kind))
    if kind == "VP8L":
        assert load_image(webp(100, 100, kind)).size == (100, 100)  # all one colour: legal, and why size is checked
    else:
        with pytest.raises(ImageDecodeError, match="the WEBP file is damaged or cut off"):
            load_image(webp(100, 100, kind))


def test_a_larger_max_pixels_brings_its_memory(png):
    """85 million RGBA pixels need more than the default memory; who allows more pixels is told of no other limit."""
    data = png(np.zeros((1, 1, 4), np.uint8), size_wh=(10_000, 8_500))
    with pytest.raises(ImageTooLargeError, match="10000×8500 of PNG RGBA takes about 1215 MB"):
        load_image(data)
    with pytest.raises(ImageDecodeError, match="damaged or cut off"):
        load_image(data, max_pixels=110_000_000)


def test_max_pixels_is_exact(photo):
    data = encode(photo, "PNG")
    assert load_image(data, max_pixels=64 * 48).size == (64, 48)
    for source in (data, photo, Image.fromarray(photo)):
        with pytest.raises(ImageTooLargeError, match="64×48 is 3072 pixels, more than max_pixels=3071"):
            load_image(source, max_pixels=64 * 48 - 1)


def test_what_lies_in_an_icon_is_checked_too(png):
    inner = png(np.zeros((1, 1), np.uint8), size_wh=(12_000, 12_000))
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    with pytest.raises(ImageTooLargeError, match="12000×12000 is 144000000 pixels"):
        load_image(icon)
    bitmap = struct.pack("<IiiHHIIiiII", 40, 12_000, 24_000, 1, 32, 0, 0, 0, 0, 0, 0)
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(bitmap), 22) + bitmap
    with pytest.raises(ImageTooLargeError, match="12000×12000 is 144000000 pixels"):
        load_image(icon)


def test_pillows_limit_is_not_ours(monkeypatch, photo):
    """A user's tiny `MAX_IMAGE_PIXELS` neither warns nor refuses; `max_pixels` decides."""
    files = [encode(photo, kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "PPM", "AVIF")]
    strict = [encode(photo, kind) for kind in ("TIFF", "WEBP")]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in files:
            assert load_image(data).size == (64, 48)
    for data in strict:  # these ask Pillow's limit while they open, and no argument turns that off
        with pytest.raises(ImageTooLargeError, match=r"more pixels than PIL\.Image\.MAX_IMAGE_PIXELS allows"):
            load_image(data)


def test_no_memory_is_too_large(monkeypatch, photo):
    def fail(*_):
        raise MemoryError

    data = encode(photo, "PNG")
    with monkeypatch.context() as patch:
        patch.setattr(Image.core, "new", fail)
        with pytest.raises(ImageTooLargeError, match="there is not enough memory for the PNG file"):
            load_image(data)
    with monkeypatch.context() as patch:
        patch.setattr(Image.core, "fill", fail)
        with pytest.raises(ImageTooLargeError, match="<array 48×64×4>: there is not enough memory for it"):
            load_image(np.dstack([photo, photo[:, :, :1]]))
    assert load_image(data).size == (64, 48)


def state():
    return (
        Image.MAX_IMAGE_PIXELS,
        ImageFile.LOAD_TRUNCATED_IMAGES,
        list(warnings.filters),
        sorted(path.name for path in Path("/proc/self/fd").glob("*")),
        threading.active_count(),
        random.getstate(),
        np.random.get_state()[1].tolist(),  # noqa: NPY002 - the global one is what must not move
        os.environ.copy(),
    )


def test_the_process_is_left_as_it_was(tmp_path, noise):
    paths = []
    for case, (kind, options) in FILES.items():
        data = encode(noise, kind, **options)
        for name, content in (("good", data), ("cut", data[: len(data) // 2])):
            paths.append(tmp_path / f"{case} {name}")
            paths[-1].write_bytes(content)
    paths += [tmp_path, tmp_path / "missing"]
    load_image(paths[0])
    before = state()
    errors = []
    for path in paths:
        try:
            load_image(path)
        except ImageError as err:
            errors.append(err)
        except ValueError as err:
            errors.append(err)
    assert len(errors) == len(FILES) + 2
    assert state() == before  # while the errors still live: they hold no file open


def test_loading_imports_no_torch():
    code = (
        "import sys, io, numpy as np, visionkit as vk; vk.load_image(np.zeros((2, 2), np.uint8));"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
