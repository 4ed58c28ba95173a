"""Every mode in every format that Pillow writes, held against the truth before encoding."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from support.files import encode
from visionkit.images import load_image

LOSSY = {"JPEG": 12, "WEBP": 12, "AVIF": 12, "GIF": 32}


def in_mode(photo, mode):  # noqa: PLR0911 - a table of modes
    """The photo in a PIL mode, and what it must look like then."""
    rgb = Image.fromarray(photo)
    grey = rgb.convert("L")
    values = np.asarray(grey)
    if mode in ("1", "P"):
        image = rgb.convert(mode)
        return image, image.convert("RGB")
    if mode == "PA":
        image = rgb.convert("P")
        return image.convert("PA"), image.convert("RGB")
    if mode == "LAB":
        to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
        return ImageCms.applyTransform(rgb, to_lab), rgb
    if mode == "I;16":
        return Image.fromarray(values.astype(np.uint16) * 257), grey.convert("RGB")
    if mode == "I;16B":
        return Image.fromarray((values.astype(np.uint16) * 257).astype(">u2")), grey.convert("RGB")
    if mode == "I":
        return Image.fromarray(values.astype(np.int32) * 257), grey.convert("RGB")
    if mode == "F":
        return Image.fromarray(values.astype(np.float32)), grey.convert("RGB")
    if mode in ("La", "RGBa"):
        return rgb.convert(mode.upper()).convert(mode), (grey if mode == "La" else rgb).convert("RGB")
    return rgb.convert(mode), (grey if mode in ("L", "LA") else rgb).convert("RGB")


def assert_looks_like(image, truth, levels):
    assert (image.mode, image.size) == ("RGB", truth.size)
    difference = np.abs(np.asarray(image, np.int16) - np.asarray(truth, np.int16))
    # one pixel may be further off where colours are few or quantised; the whole may not
    assert difference.mean() <= max(0.5, levels / 2)
    assert np.percentile(difference, 98) <= levels


MODES = [
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "HSV",
    "LAB",
    "I",
    "I;16",
    "I;16B",
    "F",
]
WRITABLE = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"],
    "JPEG": ["1", "L", "RGB", "CMYK", "YCbCr"],
    "GIF": ["1", "L", "LA", "P", "RGB", "RGBA"],
    "WEBP": ["L", "LA", "P", "RGB", "RGBA", "CMYK"],
    "BMP": ["1", "L", "P", "RGB", "RGBA"],
    "TIFF": ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I", "I;16", "I;16B", "F"],
    "PPM": ["1", "L", "RGB", "RGBA", "I", "I;16", "F"],
    "ICO": ["1", "L", "LA", "P", "RGB", "RGBA"],
    "AVIF": ["L", "LA", "P", "RGB", "RGBA"],
}


@pytest.mark.parametrize("mode", MODES)
def test_a_pil_image_of_any_mode(photo, mode):
    image, truth = in_mode(photo, mode)
    # YCbCr, HSV and 8-bit LAB cannot hold every colour
    assert_looks_like(load_image(image), truth, {"YCbCr": 3, "HSV": 6, "LAB": 12}.get(mode, 1))


@pytest.mark.parametrize(("kind", "mode"), [(kind, mode) for kind, modes in WRITABLE.items() for mode in modes])
def test_a_file_of_any_format_and_mode(photo, kind, mode):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    image, truth = in_mode(photo, mode)
    options = {
        "ICO": {"sizes": [image.size]},
        "JPEG": {"quality": 95},
        "WEBP": {"quality": 95},
        "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    }
    loaded = load_image(encode(image, kind, **options.get(kind, {})))
    levels = max({"LAB": 12, "YCbCr": 3}.get(mode, 1), LOSSY.get(kind, 1))
    if kind in LOSSY and mode in ("1", "P"):
        levels = 60  # dithered dots are what these are worst at
    assert_looks_like(loaded, truth, levels)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "group4"])
def test_tiff_compressions(photo, compression):
    image, truth = in_mode(photo, "1" if compression == "group4" else "RGB")
    assert_looks_like(load_image(encode(image, "TIFF", compression=compression)), truth, 12)


def test_sixteen_bits_are_scaled_and_rounded(png):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    truth = np.rint(ramp / 257.0).astype(np.uint8)
    for source in (png(ramp), encode(Image.fromarray(ramp), "TIFF"), encode(Image.fromarray(ramp), "PPM")):
        assert np.array_equal(np.asarray(load_image(source))[:, :, 1], truth)


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_sixteen_bit_png_of_several_channels(png, samples):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pixels = np.stack([ramp, ramp.T, ramp[::-1], ramp][:samples], -1)
    if samples in (2, 4):
        pixels[:, :, -1] = 65535
    colours = pixels[:, :, [0, 0, 0]] if samples == 2 else pixels[:, :, :3]
    loaded = np.asarray(load_image(png(pixels)), np.int16)
    assert np.abs(loaded - colours / 257.0).max() <= 1.0  # Pillow takes the upper byte of these


def test_one_invisible_grey_of_a_sixteen_bit_png(png):
    pixels = np.array([[0, 1000], [1001, 65535]], np.uint16)
    loaded = load_image(png(pixels, extra=[(b"tRNS", b"\x03\xe8")]), background="red")
    assert np.asarray(loaded).tolist() == [[[0, 0, 0], [255, 0, 0]], [[4, 4, 4], [255, 255, 255]]]


@pytest.mark.parametrize("samples", [1, 3, 4])
def test_interlaced_png(png, samples):
    pixels = np.random.default_rng(0).integers(0, 256, (13, 11, samples), np.uint8)
    pixels[:, :, -1] = 255 if samples == 4 else pixels[:, :, -1]
    truth = np.broadcast_to(pixels[:, :, :3], (13, 11, 3))
    assert np.array_equal(np.asarray(load_image(png(pixels, interlaced=True))), truth)


TURNED = {  # EXIF orientation → how the stored picture comes from the upright one, in NumPy's words
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_orientation_is_applied_once_and_removed(photo, orientation, kind):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "a camera"
    stored = Image.fromarray(np.ascontiguousarray(TURNED[orientation](photo)))
    loaded = load_image(encode(stored, kind, exif=exif, **({"quality": 95} if kind in LOSSY else {})))
    assert_looks_like(loaded, Image.fromarray(photo), LOSSY.get(kind, 0))
    assert not loaded.getexif()
    assert loaded.info == {}
    assert np.array_equal(np.asarray(load_image(loaded)), np.asarray(loaded))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's own, which only a process-wide filter would stop
def test_broken_exif_is_no_reason_to_refuse(photo):
    data = encode(
        Image.fromarray(photo), "JPEG", quality=95, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 20
    )
    assert_looks_like(load_image(data), Image.fromarray(photo), 12)


def test_progressive_jpeg(photo):
    progressive = encode(Image.fromarray(photo), "JPEG", quality=95, progressive=True)
    assert_looks_like(load_image(progressive), Image.fromarray(photo), 12)


def test_cmyk_jpeg_with_adobes_inverted_values():
    data = encode(Image.new("CMYK", (16, 16), (255, 0, 255, 0)), "JPEG", quality=95)
    assert b"Adobe" in data[:100]
    red, green, blue = load_image(data).getpixel((8, 8))
    assert green > 240
    assert max(red, blue) < 15


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_an_animation_gives_its_first_frame(kind):
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert_looks_like(load_image(data), frames[0], 4)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_hidden_colours_are_not_shown(kind):
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[:, :3] = (200, 0, 0, 0)
    pixels[:, 3:] = (0, 100, 0, 255)
    loaded = np.asarray(
        load_image(encode(Image.fromarray(pixels), kind, **({"lossless": True} if kind == "WEBP" else {})))
    )
    assert (loaded[:, :3] == 255).all()
    assert (loaded[:, 3:] == (0, 100, 0)).all()


@pytest.mark.parametrize(
    ("background", "colour"), [("white", (255, 255, 255)), ("black", (0, 0, 0)), ("#102030", (16, 32, 48))]
)
@pytest.mark.parametrize("mode", ["P", "L", "1", "RGB", "LA", "PA", "RGBA", "La", "RGBa"])
def test_transparency_lies_on_the_background(background, colour, mode):
    if mode in ("P", "L", "1", "RGB"):  # one colour of these is invisible
        image = Image.new(mode, (2, 1), 0)
        if mode == "P":
            image.putpalette([255, 0, 0, 10, 20, 30])
        image.putpixel((1, 0), (9, 9, 9) if mode == "RGB" else 1)
        data = encode(image, "PNG", transparency=(0, 0, 0) if mode == "RGB" else 0)
        expected = {"P": (10, 20, 30), "L": (1, 1, 1), "1": (255, 255, 255), "RGB": (9, 9, 9)}[mode]
    else:
        image = Image.fromarray(np.array([[[255, 0, 0, 0], [10, 10, 10, 255]]], np.uint8))
        if mode == "PA":
            data = image.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
            data.putalpha(image.getchannel("A"))
            assert data.mode == "PA"
        else:
            data = image.convert("LA").convert(mode) if mode == "La" else image.convert(mode)
        expected = (10, 10, 10)
    loaded = load_image(data, background=background)
    assert loaded.getpixel((0, 0)) == colour
    assert loaded.getpixel((1, 0)) == expected


def test_half_transparent_is_mixed():
    image = Image.new("RGBA", (1, 1), (0, 0, 0, 51))
    assert load_image(image).getpixel((0, 0)) == (204, 204, 204)


def test_gif_transparency():
    image = Image.new("P", (2, 1), 0)
    image.putpalette([0, 0, 0, 0, 200, 0])
    image.putpixel((1, 0), 1)
    loaded = load_image(encode(image, "GIF", transparency=0), background="blue")
    assert [loaded.getpixel((x, 0)) for x in (0, 1)] == [(0, 0, 255), (0, 200, 0)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0, 0.5, 1.0], [0, 128, 255]), ([0.0, 2.0, 254.6], [0, 2, 255]), ([0.0, 257.0, 65535.0], [0, 1, 255])],
)
def test_floats_take_the_smallest_range_that_holds_them(values, expected):
    image = Image.fromarray(np.array([values], np.float32))
    assert np.asarray(load_image(image))[0, :, 0].tolist() == expected


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 7), (7, 1), (2, 3)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF"])
def test_tiny_pictures(kind, size_wh):
    loaded = load_image(encode(Image.new("RGB", size_wh, (250, 0, 0)), kind))
    assert_looks_like(loaded, Image.new("RGB", size_wh, (250, 0, 0)), 5)
