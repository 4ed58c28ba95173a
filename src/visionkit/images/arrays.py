"""Arrays and tensors become pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ..errors import ImageTooLargeError, SourceError
from .sources import TensorLike

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def picture_from_array(array: np.ndarray[Any, Any], name: str, max_pixels: int) -> Image.Image:
    """An array (H, W) or (H, W, 1|3|4) of uint8, uint16 or float in 0–1 as a picture of mode L, RGB or RGBA.

    Raises:
        SourceError: another shape or type, NaN, or floats outside 0–1.
        ImageTooLargeError: more than `max_pixels`.
    """
    if array.ndim == 4:
        raise SourceError(f"{name} is a batch of images, not one: give list(x)")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in _MODES):
        hint = ""
        if array.ndim == 3 and array.shape[0] in _MODES:
            hint = "; channels come last in an array: x.transpose(1, 2, 0)"
        raise SourceError(f"{name} is no image: the shape must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4){hint}")
    if 0 in array.shape:
        raise SourceError(f"{name} has no pixels")
    if array.shape[0] * array.shape[1] > max_pixels:
        raise ImageTooLargeError(f"{name} has more than max_pixels={max_pixels} pixels")
    pixels = np.ascontiguousarray(_to_uint8(array, name))
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return Image.fromarray(pixels)


def picture_from_tensor(tensor: TensorLike, name: str, max_pixels: int) -> Image.Image:
    """A tensor (H, W) or (1|3|4, H, W), of an array's types, as a picture; see `picture_from_array`."""
    values: Any = tensor.detach().cpu()
    if values.ndim == 4:
        raise SourceError(f"{name} is a batch of images, not one: give list(x)")
    if values.ndim == 3:
        if values.shape[0] not in _MODES:
            hint = ""
            if values.shape[2] in _MODES:
                hint = "; channels come first in a tensor: x.permute(2, 0, 1)"
            raise SourceError(f"{name} is no image: the shape must be (H, W), (1, H, W), (3, H, W) or (4, H, W){hint}")
        values = values.permute(1, 2, 0)
    if values.is_floating_point():
        values = values.float()  # NumPy has no bfloat16
    return picture_from_array(values.numpy(), name, max_pixels)


def _to_uint8(array: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if array.dtype.kind != "f":
        raise SourceError(f"{name} has dtype {array.dtype}: give uint8 (0–255), uint16 (0–65535) or float (0–1)")
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise SourceError(f"{name} has NaN or infinite values")
    if low < 0.0 or high > 1.0:
        raise SourceError(
            f"{name} has floats from {low:g} to {high:g}: they must be in 0–1 (divide by 255, or undo a normalisation "
            f"with vk.to_image)"
        )
    return np.rint(array * array.dtype.type(255)).astype(np.uint8)
