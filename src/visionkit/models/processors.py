"""Image processors of transformers against our `Preprocess`: what their settings say, and the proof on pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch

from ..errors import ModelLoadError
from ..pipeline import Batches, Preprocess
from ..pipeline.preprocess import Interpolation

_FILTERS: Final[dict[int, Interpolation]] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of resampling filters, which the configurations hold."""

_SAME: Final = 1e-4
"""The largest difference between normalised pixels that is rounding; one of 255 levels is 0.004 or more."""


def read_numbers(processor: Any, name: str) -> dict[str, Any]:
    """What a processor's settings say of resampling and normalising, as arguments of `Preprocess`.

    Raises:
        ModelLoadError: another filter, or another scale than `Preprocess` has.
    """
    if int(processor.resample) not in _FILTERS:
        raise ModelLoadError(
            f"{name}: its image processor resizes with Pillow's filter {processor.resample}; "
            f"nearest (0), bilinear (2) and bicubic (3) work today"
        )
    if not processor.do_rescale or not math.isclose(processor.rescale_factor, 1 / 255, rel_tol=1e-6):
        factor = processor.rescale_factor if processor.do_rescale else 1
        raise ModelLoadError(f"{name}: its image processor multiplies pixels by {factor}; only 1/255 works today")
    values: dict[str, Any] = {"interpolation": _FILTERS[int(processor.resample)]}
    if processor.do_normalize:
        values |= {"mean": tuple(processor.image_mean), "std": tuple(processor.image_std)}
    return values


def noise(size_wh: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A picture uint8 (H, W, 3) on which every step of a preprocessing shows; always the same."""
    return np.random.default_rng(0).integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)


def difference(processor: Any, preprocess: Preprocess, sizes_wh: Sequence[tuple[int, int]]) -> str | None:
    """Sends pictures of noise through both; None where the pixels are the same, else how they differ."""
    for size_wh in sizes_wh:
        picture = noise(size_wh)
        theirs = processor(images=[picture], return_tensors="pt", input_data_format="channels_last")["pixel_values"]
        ours = next(Batches([picture], preprocess, device="cpu", speed="exact")).pixels
        if theirs.shape != ours.shape:
            return f"their size is {tuple(theirs.shape[2:])}, not {tuple(ours.shape[2:])}"
        largest = float(torch.max(torch.abs(theirs - ours)))
        if not largest <= _SAME:
            return f"they differ by up to {largest:.3g}"
    return None
