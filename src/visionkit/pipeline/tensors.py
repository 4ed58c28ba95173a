"""Pictures to tensors and back: uint8 on the way in, normalised on the device, rounded on the way out."""

from __future__ import annotations

import math
import platform
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from ..images import Picture, Source, load_image
from .device import choose_device
from .preprocess import Preprocess, three_numbers

_PAD = 114
_MOST_PIXELS = 2**26
"""Pixels of a resized picture from which on only its middle is resized: 1 × 100,000 would become 15 GB."""

_MODES = {"nearest": "nearest-exact", "bilinear": "bilinear", "bicubic": "bicubic"}


def pixels_of(picture: Picture) -> Tensor:
    """A picture (mode RGB) → uint8 (3, H, W), in channels-last memory: the layout in which torch resizes fastest."""
    array = np.array(picture, dtype=np.uint8)  # a copy: torch wants writable memory
    return torch.from_numpy(array).permute(2, 0, 1)


def fit_pixels(pixels: Tensor, preprocess: Preprocess, image_wh: tuple[int, int] | None = None) -> Tensor:
    """uint8 (3, H, W) → uint8 (3, height, width) of `preprocess`: resized with antialiasing, then cropped or padded.

    The resize is the one that torchvision's transforms do for such tensors, to the bit.

    Args:
        pixels: the upright picture.
        preprocess: the model's.
        image_wh: the picture's size where `pixels` was decoded smaller than it is.
    """
    height, width = pixels.shape[1:]
    resized_wh = preprocess.resized_wh(image_wh or (width, height))
    left, top = preprocess.offset_xy(resized_wh)
    if resized_wh[0] * resized_wh[1] > _MOST_PIXELS:
        columns, resized_width, left = _middle(width, resized_wh[0], left, preprocess.size_wh[0])
        rows, resized_height, top = _middle(height, resized_wh[1], top, preprocess.size_wh[1])
        pixels, resized_wh = pixels[:, rows, columns], (resized_width, resized_height)
        height, width = pixels.shape[1:]
        image_wh = None  # such a picture would have too many pixels to be decoded smaller
    if resized_wh != (width, height):
        mode = _MODES[preprocess.interpolation]
        through_float = mode == "bilinear" and not _fast_uint8()
        pixels = functional.interpolate(
            pixels[None].float() if through_float else _batch_of_one(pixels),
            **_sizes(resized_wh, (width, height), image_wh or (width, height)),
            mode=mode,
            antialias=mode != "nearest-exact",
        )[0]
        pixels = pixels.round().to(torch.uint8) if through_float else pixels
    return _place(pixels, left, top, preprocess.size_wh, _PAD if preprocess.resize == "letterbox" else 0)


def _sizes(resized_wh: tuple[int, int], decoded_wh: tuple[int, int], image_wh: tuple[int, int]) -> dict[str, Any]:
    """How `interpolate` is told the new size.

    A JPEG decoded smaller has its last pixel only in part within the picture, so its scale is not the ratio of sizes:
    1,203 columns are 300.75 of a quarter's 301, and half a pixel's drift would cost ten times the rest of the error.
    """
    if decoded_wh == image_wh:
        return {"size": (resized_wh[1], resized_wh[0])}
    divisor = next(n for n in (8, 4, 2) if all(-(-i // n) == d for i, d in zip(image_wh, decoded_wh, strict=True)))
    # the product with the decoded size is rounded down, and is a whole number where the picture divides evenly
    scales = [r * divisor / i * (1 + 1e-9) for r, i in zip(resized_wh, image_wh, strict=True)]
    return {"scale_factor": (scales[1], scales[0]), "recompute_scale_factor": False}


def _middle(length: int, resized: int, offset: int, size: int) -> tuple[slice, int, int]:
    """What of a side of `length` is seen when it is `resized` and cropped to `size`, with a margin for the filter.

    Returns:
        The part, its resized length, and its offset: true to one pixel of the input.
    """
    scale = resized / length
    margin = math.ceil(2 / min(scale, 1.0)) + 2
    first = max(0, math.floor(-offset / scale) - margin)
    last = min(length, math.ceil((size - offset) / scale) + margin)
    return slice(first, last), round((last - first) * scale), offset + round(first * scale)


def _batch_of_one(pixels: Tensor) -> Tensor:
    """(3, H, W) → (1, 3, H, W) that counts as channels-last as `pixels[None]` does not: resized in half the time.

    Only where torch's kernels for uint8 give both layouts the same bits.
    """
    if torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512"):
        return pixels.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
    return pixels[None]


def _fast_uint8() -> bool:
    """Whether torchvision resizes uint8 as such by "bilinear": on processors without AVX2 it goes through floats."""
    return torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") or platform.machine() in ("aarch64", "arm64")


def _place(pixels: Tensor, left: int, top: int, size_wh: tuple[int, int], fill: int) -> Tensor:
    """Crops by negative offsets, pads by positive ones."""
    width, height = size_wh
    pixels = pixels[:, max(0, -top) : max(0, -top) + height, max(0, -left) : max(0, -left) + width]
    below, right = height - pixels.shape[1] - max(0, top), width - pixels.shape[2] - max(0, left)
    if left > 0 or top > 0 or below > 0 or right > 0:
        pixels = functional.pad(pixels, (max(0, left), right, max(0, top), below), value=fill)
    return pixels


def normalise(
    pixels: Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype, out: Tensor | None = None
) -> Tensor:
    """uint8 (N, C, H, W) in 0–255 → `dtype` (N, C, H, W) of that mean and std, on the same device, channels last.

    Args:
        pixels: the pictures.
        mean: (C,) subtracted, with 255 as 1.
        std: (C,) that divide then.
        dtype: of the result.
        out: float32 (N, C, H, W) in channels-last memory on the same device: holds the result, instead of new memory.
    """
    count, channels, height, width = pixels.shape
    scale, shift = _rows(tuple(mean), tuple(std), width, pixels.device)
    if out is None:
        out = torch.empty((count, height, width, channels), dtype=torch.float32, device=pixels.device).permute(
            0, 3, 1, 2
        )
    # One multiply-add over whole rows: over three channels that lie side by side it is four times slower.
    values = out.copy_(pixels).permute(0, 2, 3, 1).view(count * height, width * channels)
    torch.addcmul(shift, values, scale, out=values)
    return out.to(dtype)


@lru_cache(maxsize=16)
def _rows(mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """What a row of pixels in channels-last memory is multiplied by, and what is added then."""
    with torch.inference_mode(mode=False):  # of use to every later caller
        scale = torch.tensor([1.0 / (255.0 * s) for s in std], dtype=torch.float32, device=device).repeat(width)
        shift = torch.tensor(
            [-m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32, device=device
        ).repeat(width)
    return scale, shift


def to_uint8(values: Tensor) -> Tensor:
    """Floats in 0–1 → uint8 in 0–255: clipped and rounded (truncation would lose codes after half precision)."""
    return values.float().clamp(0.0, 1.0).mul(255.0).round().to(torch.uint8)


def to_tensor(
    image: Source,
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: str | torch.device | None = None,
) -> Tensor:
    """One image as a tensor, at its own size.

    Args:
        image: any image source, see `load_image`.
        value_range: what 0 and 255 become; `(-1.0, 1.0)` for many diffusion models.
        mean: three numbers, subtracted after that; goes with `std`.
        std: three numbers that divide after that.
        device: None stays on the CPU.

    Returns:
        float32 (3, H, W), RGB.

    Raises:
        InputError: `mean` without `std`, or an empty `value_range`; and what `load_image` raises.
    """
    low, high = _checked_range(value_range, mean, std)
    pixels = pixels_of(load_image(image)).to(choose_device(device or "cpu"))[None]
    values = pixels.to(torch.float32).div_(255.0).mul_(high - low).add_(low)
    if mean is not None and std is not None:
        values = values.sub_(_column(mean, values)).div_(_column(std, values))
    return values[0].contiguous()


def to_image(
    tensor: Tensor,
    *,
    value_range: tuple[float, float] = (0.0, 1.0),
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Picture:
    """The way back from `to_tensor`, exact for 8-bit pixels.

    Args:
        tensor: floats (3, H, W) or (1, H, W), RGB; values outside `value_range` are clipped.
        value_range: what becomes 0 and 255.
        mean: added after multiplying by `std`; give what `to_tensor` was given.
        std: see `mean`.

    Raises:
        InputError: another shape, no floats, NaN, `mean` without `std`, or an empty `value_range`.
    """
    low, high = _checked_range(value_range, mean, std)
    given: object = tensor
    if not isinstance(given, Tensor) or not given.is_floating_point():
        kind = f"a tensor of {given.dtype}" if isinstance(given, Tensor) else type(given).__name__
        raise InputError(f"to_image takes a tensor of floats, not {kind}; vk.load_image takes arrays and integers")
    if tensor.ndim == 4:
        raise InputError("this is a batch of images, not one: give each of list(x)")
    if tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        raise InputError(f"the tensor must be (3, H, W) or (1, H, W), not {tuple(tensor.shape)}")
    values = tensor.detach().float().cpu()
    if not bool(torch.isfinite(values).all()):
        raise InputError("the tensor has NaN or infinite values")
    if mean is not None and std is not None:
        values = values * _column(std, values)[0] + _column(mean, values)[0]
    pixels = to_uint8((values - low) / (high - low)).expand(3, -1, -1)
    return load_image(pixels.permute(1, 2, 0).numpy())


def _checked_range(
    value_range: tuple[float, float], mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[float, float]:
    try:
        low, high = (float(v) for v in value_range)
    except (TypeError, ValueError):
        low = high = 0.0
    if not low < high:
        raise InputError(f"value_range {value_range!r:.80} must go from a lower to a higher number")
    if (mean is None) != (std is None):
        raise InputError("mean and std go together")
    if mean is not None and std is not None:
        three_numbers("mean", mean)
        three_numbers("std", std, above_zero=True)
    return low, high


def _column(numbers: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32, device=like.device).view(1, -1, 1, 1)
