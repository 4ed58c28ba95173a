"""transformers' image processors as our `Preprocess`: read once at loading, and proved on a picture."""

from __future__ import annotations

import math
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


def read_preprocess(processor: Any, name: str) -> Preprocess:
    """The preprocessing that a processor's settings describe.

    Raises:
        ModelLoadError: the settings ask for what `Preprocess` does not do; above all, keeping the aspect ratio.
    """
    size = dict(processor.size)
    if not processor.do_resize or not size.get("height") or not size.get("width"):
        wanted = {k: v for k, v in size.items() if v} if processor.do_resize else "no resize"
        raise ModelLoadError(
            f"{name}: its image processor, {type(processor).__name__}, keeps each picture's own shape ({wanted}); "
            f"detectors that take one fixed height and width work today: RT-DETR, D-FINE, DEIM v2, LW-DETR"
        )
    if int(processor.resample) not in _FILTERS:
        raise ModelLoadError(
            f"{name}: its image processor resizes with Pillow's filter {processor.resample}; "
            f"nearest (0), bilinear (2) and bicubic (3) work today"
        )
    if not processor.do_rescale or not math.isclose(processor.rescale_factor, 1 / 255, rel_tol=1e-6):
        factor = processor.rescale_factor if processor.do_rescale else 1
        raise ModelLoadError(f"{name}: its image processor multiplies pixels by {factor}; only 1/255 works today")
    values: dict[str, Any] = {}
    if processor.do_normalize:
        values = {"mean": tuple(processor.image_mean), "std": tuple(processor.image_std)}
    return Preprocess(
        size_wh=(int(size["width"]), int(size["height"])),
        resize="squash",
        interpolation=_FILTERS[int(processor.resample)],
        **values,
    )


def prove(processor: Any, preprocess: Preprocess, name: str) -> None:
    """Sends one picture of noise through both, and refuses a processor that makes other pixels.

    Settings do not tell all: some classes crop or pad, and some (RF-DETR's, PP-DocLayout's) resize without
    antialiasing. The picture is higher and narrower than the input: shrunk one way, enlarged the other.

    Raises:
        ModelLoadError: the pixels differ.
    """
    width, height = preprocess.size_wh
    noise = np.random.default_rng(0).integers(0, 256, (2 * height + 1, max(1, 2 * width // 3), 3), np.uint8)
    theirs = processor(images=[noise], return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    ours = next(Batches([noise], preprocess, device="cpu", speed="exact")).pixels
    if theirs.shape != ours.shape:
        difference = f"their size is {tuple(theirs.shape[2:])}, not {tuple(ours.shape[2:])}"
    else:
        largest = float(torch.max(torch.abs(theirs - ours)))
        if largest <= _SAME:
            return
        difference = f"they differ by up to {largest:.3g}"
    raise ModelLoadError(
        f"{name}: its image processor, {type(processor).__name__}, makes other pixels than its settings say to "
        f"visionkit ({difference}), so its boxes would silently be worse; detectors that squash with antialiasing work "
        f"today: RT-DETR, D-FINE, DEIM v2, LW-DETR"
    )
