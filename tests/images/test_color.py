"""Embedded profiles become sRGB; what does not fit is left out."""

import io
import logging

import numpy as np
import pytest
from PIL import Image, ImageCms

from visionkit.images import load_image

from_srgb = {  # Adobe RGB (1998), D50-adapted primaries
    "wide": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
}


def encode(pixels, kind="PNG", **options):
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()


def srgb_of(linear):
    """Linear light 0–1 → sRGB levels, by the standard's formula."""
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)
    return np.clip(np.rint(curved * 255), 0, 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_a_linear_profile_is_converted(profile, kind):
    greys = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    greys = np.repeat(greys, 8, axis=0)
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100}}.get(kind, {})
    loaded = np.asarray(load_image(encode(greys, kind, icc_profile=profile(1.0), **options)), np.int16)
    assert np.abs(loaded - srgb_of(greys / 255.0))[:, 8:].max() <= 3  # near black one level of the file is many


def test_a_profile_is_judged_by_its_colours_not_its_name(profile):
    pixels = np.full((2, 2, 3), 64, np.uint8)
    loaded = load_image(encode(pixels, icc_profile=profile(1.0, name="sRGB IEC61966-2.1")))
    assert loaded.getpixel((0, 0)) == (137, 137, 137)


def test_wide_colours_are_converted(profile):
    swatch = np.full((2, 2, 3), (100, 150, 50), np.uint8)
    loaded = load_image(encode(swatch, icc_profile=profile(2.2, from_srgb["wide"])))
    # Adobe RGB → XYZ (D50) → sRGB, by the matrices
    xyz = np.array(from_srgb["wide"]).T @ ((swatch[0, 0] / 255.0) ** 2.19921875)
    rows = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
    expected = srgb_of(np.linalg.solve(np.array(rows).T, xyz))
    assert np.abs(np.array(loaded.getpixel((0, 0))) - expected).max() <= 1
    assert loaded.getpixel((0, 0))[0] < 80  # and far from what is stored


def test_swapped_primaries_swap_channels(profile):
    red, green, blue = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
    pixels = np.full((2, 2, 3), (250, 120, 30), np.uint8)
    loaded = load_image(encode(pixels, icc_profile=profile(2.2, (blue, green, red))))
    assert np.abs(np.array(loaded.getpixel((0, 0))) - (30, 120, 250)).max() <= 8  # gamma 2.2 is not quite sRGB's curve


def test_srgb_itself_leaves_every_level(photo):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(np.asarray(load_image(encode(photo, icc_profile=srgb))), photo)


@pytest.mark.parametrize("mode", ["L", "LA", "transparent"])
def test_a_grey_profile(profile, mode):
    grey = profile(1.0, space=b"GRAY")
    image = Image.new("L", (2, 2), 64)
    options = {}
    if mode == "LA":
        image = Image.merge("LA", (image, Image.new("L", (2, 2), 255)))
    elif mode == "transparent":
        options = {"transparency": 7}
    assert load_image(encode(image, icc_profile=grey, **options)).getpixel((0, 0)) == (137, 137, 137)


def test_a_profile_under_transparency(profile):
    image = Image.new("RGBA", (2, 1), (64, 64, 64, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    loaded = load_image(encode(image, icc_profile=profile(1.0)), background="#404040")
    assert [loaded.getpixel((x, 0)) for x in (0, 1)] == [(137,) * 3, (64,) * 3]  # the background is sRGB already


def test_a_profile_under_a_palette(profile):
    image = Image.new("P", (1, 1), 0)
    image.putpalette([64, 64, 64])
    assert load_image(encode(image, icc_profile=profile(1.0))).getpixel((0, 0)) == (137, 137, 137)


def test_a_profile_of_a_pil_image(profile):
    image = Image.new("RGB", (1, 1), (64, 64, 64))
    image.info["icc_profile"] = profile(1.0)
    assert load_image(image).getpixel((0, 0)) == (137, 137, 137)
    assert image.getpixel((0, 0)) == (64, 64, 64)


@pytest.mark.parametrize("case", ["broken", "empty", "grey in colour", "colour in grey", "rgb in cmyk", "lab"])
def test_a_profile_that_does_not_fit_is_left_out(profile, photo, case, caplog):
    caplog.set_level(logging.INFO, "visionkit")
    image, kind = Image.fromarray(photo), "TIFF"
    icc = {
        "broken": profile(1.0)[:150] + b"tail of case broken",
        "empty": b"",
        "grey in colour": profile(1.0, space=b"GRAY", name="grey in colour"),
        "lab": ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(),
    }.get(case) or (b"" if case == "empty" else profile(1.0, name=case))
    if case == "colour in grey":
        image = image.convert("L")
    elif case == "rgb in cmyk":
        image = image.convert("CMYK")
    plain = np.asarray(load_image(encode(image, kind)))
    assert np.array_equal(np.asarray(load_image(encode(image, kind, icc_profile=icc))), plain)
    if icc:
        assert "was ignored" in caplog.text


def test_values_without_a_range_are_refused():
    from visionkit.errors import ImageDecodeError

    for values in ([-1.0, 0.5], [float("nan"), 0.5], [0.0, 1e6]):
        with pytest.raises(ImageDecodeError, match="no range is agreed for them; scale them to 0–1"):
            load_image(Image.fromarray(np.array([values], np.float32)))
