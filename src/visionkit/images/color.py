"""Any PIL mode and colour profile becomes sRGB, laid on a background where something is transparent."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from ..errors import ImageDecodeError
from ..log import log

_SPACE: Final = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
"""PIL mode → the colour space that its profile must be for."""

_SAME: Final = 2
"""Levels by which a profile may move a colour and still be sRGB: the published ones differ by rounding."""


def to_srgb(image: Image.Image, name: str, background: tuple[int, ...]) -> Image.Image:
    """A decoded picture of any mode as RGB in sRGB; it may be the same object.

    Raises:
        ImageDecodeError: numbers of more than 16 bits, or floats, without an agreed range.
    """
    profile = image.info.get("icc_profile")
    if image.mode == "LAB":
        return ImageCms.applyTransform(image, _lab_to_srgb()) or image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_numbers(image, name, background)
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    if not image.has_transparency_data:
        if image.mode not in _SPACE:
            image = image.convert("L" if image.mode == "1" else "RGB")
        return _apply_profile(image, profile)
    whole = image if image.mode in ("LA", "RGBA") else image.convert("LA" if image.mode == "L" else "RGBA")
    colours = _apply_profile(whole.convert("L" if whole.mode == "LA" else "RGB"), profile)
    base = Image.new("RGB", image.size, background)
    base.paste(colours, mask=whole.getchannel("A"))
    return base


def changes_colours(profile: bytes | None, mode: str) -> bool:
    """Whether a picture of that mode and with that embedded profile looks otherwise in sRGB."""
    return bool(profile) and _transform(profile, mode) is not None


def _from_numbers(image: Image.Image, name: str, background: tuple[int, ...]) -> Image.Image:
    numbers = np.asarray(image)
    colours = _apply_profile(Image.fromarray(_to_8_bits(numbers, name)), image.info.get("icc_profile"))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):  # a PNG's one invisible grey
        colours.paste(background, mask=Image.fromarray(numbers == transparent))
    return colours


def _apply_profile(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The picture (L, RGB or CMYK) converted from its embedded profile; one that does not fit it is ignored."""
    transform = _transform(profile, image.mode) if profile else None
    if transform is not None:
        return ImageCms.applyTransform(image, transform) or image
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a profile to sRGB, for pictures of exactly this mode; None where it changes nothing that shows.

    That is told by a probe, not by the profile's name: there are linear profiles called sRGB.
    """
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACE[mode]:
            log.info("an embedded colour profile is for another colour space and was ignored")
            return None
        transform = ImageCms.buildTransform(source, _srgb(), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        log.info("an embedded colour profile is broken and was ignored")
        return None
    if mode == "CMYK":
        return transform
    probe = _probe(mode)
    seen = ImageCms.applyTransform(probe, transform) or probe
    moved = np.asarray(seen, np.int16) - np.asarray(probe.convert("RGB"), np.int16)
    return None if np.abs(moved).max() <= _SAME else transform


def _probe(mode: str) -> Image.Image:
    """All greys, and for RGB a cube of colours, in one row."""
    greys = np.arange(256)
    if mode == "L":
        return Image.fromarray(greys.astype(np.uint8)[None])
    cube = np.stack(np.meshgrid(*[np.arange(0, 256, 51)] * 3), -1).reshape(1, -1, 3)
    ramp = np.repeat(greys[None, :, None], 3, axis=2)
    return Image.fromarray(np.concatenate([cube, ramp], axis=1).astype(np.uint8))


def _to_8_bits(values: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    """Integers of 16 bits, or floats, as uint8.

    The range is 0–65535; for floats it is the smallest of 0–1, 0–255 and 0–65535 that holds them all.
    """
    low, high = float(values.min()), float(values.max())
    if not (low >= 0.0 and high <= 65535.0):  # also false for NaN
        raise ImageDecodeError(
            f"cannot load {name}: its values run from {low:g} to {high:g}, and no range is agreed for them; "
            f"scale them to 0–1 and give a float array"
        )
    top = 65535.0
    if values.dtype.kind == "f":
        top = 1.0 if high <= 1.0 else 255.0 if high <= 255.0 else top
    scaled = values.astype(np.float32)
    scaled *= 255.0 / top
    np.rint(scaled, out=scaled)
    return scaled.astype(np.uint8)


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB")
