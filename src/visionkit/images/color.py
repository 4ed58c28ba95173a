"""Any PIL mode and colour profile becomes sRGB: mode RGB, or RGBA where something is transparent."""

from __future__ import annotations

import logging
from functools import lru_cache
from io import BytesIO
from typing import Final

import numpy as np
from PIL import Image, ImageCms

from ..errors import ImageDecodeError

_log = logging.getLogger("visionkit")

_SPACE: Final = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
"""PIL mode → the colour space that its profile must be for."""


def to_srgb(image: Image.Image, name: str) -> Image.Image:
    """A decoded picture of any mode as RGB or RGBA in sRGB.

    Raises:
        ImageDecodeError: numbers of more than 16 bits, or floats, without an agreed range.
    """
    if image.mode == "LAB":
        return ImageCms.applyTransform(image, _lab_to_srgb()) or image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_to_8_bits(np.asarray(image), name)).convert("RGB")
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        whole = image.convert("RGBA")
        colours = _apply_profile(whole.convert("RGB"), profile)
        colours.putalpha(whole.getchannel("A"))
        return colours
    if image.mode not in _SPACE:
        image = image.convert("L" if image.mode == "1" else "RGB")
    return _apply_profile(image, profile)


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture converted from its embedded profile; one that does not fit it is ignored."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            fits = source.profile.xcolor_space.strip() == _SPACE[image.mode]
            if fits and not (image.mode == "RGB" and "sRGB" in (source.profile.profile_description or "")):
                return ImageCms.profileToProfile(image, source, _srgb(), outputMode="RGB") or image
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            _log.info("an embedded colour profile is broken and was ignored")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(values: np.ndarray, name: str) -> np.ndarray:
    """Integers of 16 bits, or floats, scaled to uint8 by the smallest of the ranges 0–1 (floats), 0–255 (floats)
    and 0–65535 that holds them all."""
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 65535.0):  # also false for NaN
        raise ImageDecodeError(
            f"cannot load {name}: its values run from {low:g} to {high:g}, and no range is agreed for them; "
            f"scale them to 0–1 and give a float array"
        )
    top = 65535.0
    if values.dtype.kind == "f":
        top = 1.0 if high <= 1.0 else 255.0 if high <= 255.0 else top
    return np.rint(values.astype(np.float64) * (255.0 / top)).astype(np.uint8)


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")
