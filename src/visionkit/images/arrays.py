"""Arrays and tensors become pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..errors import SourceError
from .checks import check_size
from .sources import TensorLike

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def picture_from_array(array: np.ndarray[Any, Any], name: str, max_pixels: int) -> Image.Image:
    """An array (H, W) or (H, W, 1|3|4) of uint8, uint16 or float in 0–1 as a picture of mode L, RGB or RGBA.

    Raises:
        SourceError: another shape or type, NaN, or floats outside 0–1.
        ImageTooLargeError: more than `max_pixels`.
    """
    if array.ndim == 4:
        raise SourceError(f"cannot load {name}: it is a batch of images, not one: give list(x)")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in _MODES):
        hint = ""
        if array.ndim == 3 and array.shape[0] in _MODES:
            hint = "; channels come last in an array: x.transpose(1, 2, 0)"
        raise SourceError(f"cannot load {name}: the shape must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4){hint}")
    if 0 in array.shape:
        raise SourceError(f"cannot load {name}: it has no pixels")
    check_size((array.shape[1], array.shape[0]), name, max_pixels)
    pixels = np.ascontiguousarray(_to_uint8(array, name))
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return Image.fromarray(pixels)


def picture_from_tensor(tensor: TensorLike, name: str, max_pixels: int) -> Image.Image:
    """A tensor (H, W) or (1|3|4, H, W), of an array's types, as a picture; see `picture_from_array`."""
    values: Any = tensor.detach()
    if values.ndim == 4:
        raise SourceError(f"cannot load {name}: it is a batch of images, not one: give list(x)")
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[0] not in _MODES):
        hint = ""
        if values.ndim == 3 and values.shape[2] in _MODES:
            hint = "; channels come first in a tensor: x.permute(2, 0, 1)"
        raise SourceError(f"cannot load {name}: the shape must be (H, W), (1, H, W), (3, H, W) or (4, H, W){hint}")
    if values.ndim == 3:
        values = values.permute(1, 2, 0)
    if values.is_floating_point():
        values = values.float()  # NumPy has no bfloat16
    try:
        array = values.cpu().numpy()
    except (RuntimeError, TypeError) as err:  # a meta, sparse or quantised tensor, or one of functorch
        raise SourceError(f"cannot load {name}: the tensor has no plain values to read") from err
    return picture_from_array(array, name, max_pixels)


def _to_uint8(array: np.ndarray[Any, Any], name: str) -> npt.NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:  # of either byte order
        return ((array.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if array.dtype.kind != "f":
        raise SourceError(
            f"cannot load {name}: its type is {array.dtype}; give uint8 (0–255), uint16 (0–65535) or float (0–1)"
        )
    low, high = float(array.min()), float(array.max())
    if not np.isfinite([low, high]).all():
        raise SourceError(f"cannot load {name}: it has NaN or infinite values")
    if low < 0.0 or high > 1.0:
        raise SourceError(
            f"cannot load {name}: its floats run from {low:g} to {high:g}, and must be in 0–1 "
            f"(divide by 255, or undo a normalisation with vk.to_image)"
        )
    scaled: npt.NDArray[np.uint8] = np.rint(array * array.dtype.type(255)).astype(np.uint8)
    return scaled
