"""The fast decoders give what Pillow gives, or are not used: `load_array` against `load_image`."""

import itertools
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from support.files import chunk, encode, repaired
from visionkit.errors import ImageDecodeError, ImageError, ImageTooLargeError, SourceError
from visionkit.images import load_array, load_image, pixels
from visionkit.images.decode import open_checked
from visionkit.images.fast import Scratch, decode_fast


def is_fast(data):
    with open_checked(data, "it", 10**8) as image:
        return decode_fast(image, data, None) is not None


def difference(source):
    """Levels between the two ways, at most."""
    array, image_wh = load_array(source)
    picture = load_image(source)
    assert array.dtype == np.uint8
    assert array.flags.writeable
    assert array.flags.c_contiguous
    assert image_wh == picture.size
    truth = np.asarray(picture, np.int16)
    assert array.shape == truth.shape
    return int(np.abs(array - truth).max())


def noisy(photo):
    rng = np.random.default_rng(0)
    return Image.fromarray(np.clip(photo + rng.normal(0, 20, photo.shape), 0, 255).astype(np.uint8))


JPEG_OPTIONS = {
    "plain": {},
    "quality 100": {"quality": 100},
    "quality 20": {"quality": 20},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_rows": 1},
    "own tables": {"optimize": True},
    "stored as RGB": {"keep_rgb": True},
    "a comment": {"comment": "made by hand"},
}


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("case", JPEG_OPTIONS)
def test_jpegs(photo, case, mode):
    image = noisy(photo).convert(mode)
    for size_wh in [(64, 48), (61, 47), (17, 1), (1, 17), (1, 1)]:
        data = encode(image.resize(size_wh), "JPEG", **JPEG_OPTIONS[case])
        assert is_fast(data)
        assert difference(data) <= 1


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("orientation", range(10))
def test_a_turned_jpeg(photo, orientation, mode):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(noisy(photo).convert(mode), "JPEG", exif=exif)
    assert is_fast(data)
    assert difference(data) <= 1


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize(
    ("orientation", "size_wh"), [(1, (808, 600)), (1, (805, 603)), (3, (808, 600)), (7, (808, 600))]
)
def test_a_jpeg_decoded_smaller_is_the_same_picture(photo, orientation, size_wh, scale):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(photo).resize(size_wh), "JPEG", exif=exif, quality=95)
    truth = load_image(data)
    wanted = -(-truth.width // scale), -(-truth.height // scale)
    seen = []

    def least_wh(image_wh):
        seen.append(image_wh)
        return wanted

    array, image_wh = load_array(data, least_wh=least_wh)
    assert seen == [image_wh] == [truth.size]
    assert array.shape == (wanted[1], wanted[0], 3)
    reference = np.asarray(truth.resize(wanted, Image.Resampling.BOX), np.float32)
    assert np.abs(array - reference).mean() < 2
    one_more = load_array(data, least_wh=lambda wh: (wanted[0] + 1, wanted[1]))[0]
    assert one_more.shape[1] == -(-truth.width // max(1, scale // 2))


def test_a_turned_jpeg_that_does_not_divide_evenly_is_decoded_in_full(photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.fromarray(photo).resize((808, 602)), "JPEG", exif=exif)
    assert load_array(data, least_wh=lambda wh: (9, 9))[0].shape == (808, 602, 3)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_plain_pngs(photo, level, mode):
    image = noisy(photo).convert("RGB")
    if mode == "RGBA":
        image.putalpha(noisy(photo).convert("L"))
    image = image.convert(mode)
    for size_wh in [(64, 48), (61, 47), (17, 1), (1, 17), (1, 1)]:
        data = encode(image.resize(size_wh), "PNG", compress_level=level, dpi=(72, 72))
        assert is_fast(data)
        assert difference(data) == 0


@pytest.mark.parametrize("colours", ["RGB", "L"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_profile_is_applied(photo, profile, orientation, kind, colours):
    icc = profile(1.0, space=b"GRAY" if colours == "L" else b"RGB ")
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = noisy(photo).convert(colours)
    data = encode(image, kind, icc_profile=icc, **({"exif": exif} if orientation != 1 else {}))
    assert is_fast(data) == (kind == "JPEG" or orientation == 1)
    assert difference(data) <= 1
    plain = load_array(encode(image, kind, **({"exif": exif} if orientation != 1 else {})))[0]
    assert np.abs(load_array(data)[0].astype(int) - plain).max() > 30


def test_example_photos(photos):
    for path in photos:
        assert is_fast(path.read_bytes())
        assert difference(path) <= 1


def with_chunk(data, kind, body):
    return data[:33] + chunk(kind, body) + data[33:]


def pillows(photo, profile, png):
    """Files that the fast decoders would read otherwise, or not at all."""
    rgb = Image.fromarray(photo)
    plain = encode(rgb, "PNG")
    exif = Image.Exif()
    exif[0x0112] = 6
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    yield "CMYK JPEG", encode(rgb.convert("CMYK"), "JPEG")
    yield "palette PNG", encode(rgb.convert("P"), "PNG")
    yield "1-bit PNG", encode(rgb.convert("1"), "PNG")
    yield "LA PNG", encode(rgb.convert("LA"), "PNG")
    yield "16-bit PNG", png(photo.astype(np.uint16) * 257)
    yield "interlaced PNG", png(photo, interlaced=True)
    yield "PNG of an invisible colour", with_chunk(plain, b"tRNS", struct.pack(">3H", *photo[5, 6]))
    yield "animated PNG", encode(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)])
    yield "turned PNG", encode(rgb, "PNG", exif=exif)
    yield "PNG turned by XMP", with_chunk(plain, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    yield (
        "PNG with an old profile of text",
        with_chunk(plain, b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"x")),
    )
    yield "GIF", encode(rgb, "GIF")
    yield "WebP", encode(rgb, "WEBP")
    yield "BMP", encode(rgb, "BMP")
    yield "TIFF", encode(rgb, "TIFF")


TURN = b'<x tiff:Orientation="6"/>'
SPEAKING = {
    b"exif": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0",
    b"XML:com.adobe.xmp": TURN,
    b"xmp": TURN,
    b"Raw profile type exif": b"\nexif\n 4\n45786966",
    b"transparency": b"abc",
    b"interlace": b"abc",
    b"icc_profile": b"abc",
}


@pytest.mark.parametrize("where", ["before", "behind"])
@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt"])
@pytest.mark.parametrize("keyword", SPEAKING)
def test_a_text_that_says_what_chunks_say(photo, keyword, kind, where):
    """Both roads agree, and only an orientation changes what is seen."""
    plain = encode(photo, "PNG")
    body = SPEAKING[keyword]
    text = chunk(kind, keyword + b"\0" + (b"\0" + zlib.compress(body) if kind == b"zTXt" else body))
    at = 33 if where == "before" else -12
    data = plain[:at] + text + plain[at:]
    assert not is_fast(data)
    assert difference(data) == 0
    picture = np.asarray(load_image(data))
    assert np.array_equal(picture, photo) or np.array_equal(picture, np.rot90(photo, -1))
    if keyword in (b"transparency", b"interlace", b"icc_profile"):
        assert np.array_equal(picture, photo)


def test_other_texts_are_no_reason_to_go_slowly(photo):
    assert is_fast(with_chunk(encode(photo, "PNG"), b"tEXt", b"Comment\0exif"))


def test_the_rest_is_pillows(photo, profile, png):
    for case, data in pillows(photo, profile, png):
        assert not is_fast(data), case
        assert difference(data) == 0, case


def test_a_very_large_png_is_pillows(monkeypatch, photo):
    data = encode(Image.fromarray(photo), "PNG")
    monkeypatch.setattr("visionkit.images.fast._PNG_PIXELS", photo.shape[0] * photo.shape[1] - 1)
    assert not is_fast(data)


def test_harmless_faults_are_left_to_pillow(photo):
    data = encode(Image.fromarray(photo), "JPEG")
    at = data.index(b"\xff\xdb")
    extra = data[:at] + b"\x00\x00" + data[at:]
    assert not is_fast(extra)
    assert difference(extra) == 0
    png_of = encode(Image.fromarray(photo), "PNG")
    wrong_sum = bytearray(png_of)
    wrong_sum[-13] ^= 1  # of IDAT: Pillow does not look at it
    assert not is_fast(bytes(wrong_sum))
    assert difference(bytes(wrong_sum)) == 0


def load_or_none(load, data):
    try:
        return load(data)
    except ImageError:
        return None


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_cut_off_anywhere_is_refused(photo, kind):
    data = encode(noisy(photo), kind)
    for tenth in range(10):
        with pytest.raises(ImageError):
            load_array(data[: len(data) * tenth // 10])


JPEG_CUTS = {
    "plain": ("RGB", {}),
    "4:4:4": ("RGB", {"subsampling": 0}),
    "grey": ("L", {}),
    "CMYK": ("CMYK", {}),
    "progressive": ("RGB", {"progressive": True}),
    "restart markers": ("RGB", {"restart_marker_rows": 1}),
    "stored as RGB": ("RGB", {"keep_rgb": True}),
}


@pytest.mark.parametrize("load", [load_image, load_array])
@pytest.mark.parametrize("case", JPEG_CUTS)
def test_a_jpeg_cut_off_and_ended_properly_is_refused(photo, case, load):
    mode, options = JPEG_CUTS[case]
    data = encode(noisy(photo).resize((237, 181)).convert(mode), "JPEG", **options)
    load(data)
    tables = data.index(b"\xff\xdb")
    scan = data.index(b"\xff\xda") + 20
    for strays in (b"", b"\0\0", b"\xff\xe2\0\4xx"):
        whole = data[:tables] + strays + data[tables:]
        load(whole)
        for tenth in range(10):
            cut = scan + (len(data) - scan) * tenth // 10
            with pytest.raises(ImageDecodeError, match=r"the JPEG file is (cut off: pixels are missing|damaged)"):
                load(data[:tables] + strays + data[tables:cut] + b"\xff\xd9")


def test_a_jpeg_without_a_middle_is_refused(photo):
    data = encode(noisy(photo), "JPEG", restart_marker_rows=1)
    marker = data.index(b"\xff\xd0")
    for load in (load_image, load_array):
        with pytest.raises(ImageDecodeError, match="pixels are missing"):
            load(data[: marker - 40] + data[marker:])


def test_a_grey_corner_is_no_cut(photo):
    for mode in ("RGB", "L"):
        grey = Image.new(mode, (50, 40), (128,) * 3 if mode == "RGB" else 128)
        assert load_image(encode(grey, "JPEG")).getextrema() == ((128, 128),) * 3


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_png_is_a_picture_on_both_roads_if_either_checksum_is_right(photo, mode, profile):
    image = noisy(photo).convert(mode)
    icc = profile(1.0, space=b"GRAY" if mode == "L" else b"RGB ")
    for options in ({}, {"icc_profile": icc}):
        data = encode(image, "PNG", **options)
        truth = np.asarray(load_image(data))
        broken = bytearray(data)
        broken[-17] ^= 1  # the last byte of the inflated data's checksum
        whole = repaired(broken)
        assert np.array_equal(load_image(whole), truth)
        assert np.array_equal(load_array(whole)[0], truth)
        for load in (load_image, load_array):
            with pytest.raises(ImageDecodeError, match="the PNG file is damaged"):
                load(bytes(broken))  # neither is


def test_missing_rows_are_refused(png, photo):
    with pytest.raises(ImageDecodeError, match="cut off|damaged"):
        load_array(png(photo, keep_bytes=20 * (1 + 3 * 64)))


def test_checks_stand_before_the_fast_decoders(png, monkeypatch):
    monkeypatch.setattr(pixels, "decode_fast", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageTooLargeError, match="is 1600000000 pixels"):
        load_array(png(np.zeros((1, 1, 3), np.uint8), size_wh=(40_000, 40_000)))
    jpeg = bytearray(encode(Image.new("RGB", (8, 8)), "JPEG"))
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 9000, 9000)
    with pytest.raises(ImageDecodeError, match="cut off"):
        load_array(bytes(jpeg))


def test_arrays_and_pictures_come_through(photo, tmp_path):
    for source in (photo, photo[:, :, 0], Image.fromarray(photo), Image.fromarray(photo).convert("P")):
        assert difference(source) == 0
    with pytest.raises(SourceError, match="no such file"):
        load_array(tmp_path / "missing.png")
    with pytest.raises(SourceError, match="an image is a path"):
        load_array(3)


def test_no_memory_is_too_large(monkeypatch, photo):
    def full(*_, **__):
        raise MemoryError

    monkeypatch.setattr("simplejpeg.decode_jpeg", full)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", full)
    with pytest.raises(ImageTooLargeError, match="there is not enough memory for"):
        load_array(encode(Image.fromarray(photo), "JPEG"))


@pytest.mark.filterwarnings("ignore")
def test_mutants_that_both_accept_agree(photo):
    rng = random.Random(17)  # noqa: S311 - no secret
    image = noisy(photo)
    seeds = [
        encode(image, "JPEG"),
        encode(image, "JPEG", progressive=True),
        encode(image.convert("L"), "JPEG", restart_marker_rows=1),
        encode(image.resize((9, 7)), "PNG", compress_level=0),
        encode(image.convert("L"), "PNG"),
    ]
    both = 0
    for seed, number in itertools.product(seeds, range(150)):
        data = bytearray(seed)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data))
            data[at] = rng.choice((0, 127, 255, data[at] ^ 1 << rng.randrange(8)))
        mutant = repaired(data) if seed.startswith(b"\x89PNG") and number % 2 else bytes(data)
        if load_or_none(load_array, mutant) is not None and load_or_none(load_image, mutant) is not None:
            both += 1
            assert difference(mutant) <= 1, number
    assert both > 200


def test_a_threads_memory_is_used_again_and_gives_the_same_pixels():
    rng = np.random.default_rng(0)
    photos = [
        encode(Image.fromarray(rng.integers(0, 255, (side, 800, 3), dtype=np.uint8)), "JPEG")
        for side in (700, 500, 900)
    ]
    scratch = Scratch()
    for data in photos:
        fresh, _ = load_array(data)
        array, _ = load_array(data, scratch=scratch)
        assert np.array_equal(array, fresh)
    assert np.shares_memory(array, scratch.of(array.size))
    assert scratch.of(100) is None, "little memory is quick to come"
    assert scratch.of(2**30) is None, "much is not kept"
