"""transformers' image processors of detectors as our `Preprocess`: read once at loading, and proved on a picture."""

from __future__ import annotations

from typing import Any

from ..errors import ModelLoadError
from ..models.processors import difference, read_numbers
from ..pipeline import Preprocess


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
    return Preprocess(
        size_wh=(int(size["width"]), int(size["height"])), resize="squash", **read_numbers(processor, name)
    )


def prove(processor: Any, preprocess: Preprocess, name: str) -> None:
    """Sends one picture of noise through both, and refuses a processor that makes other pixels.

    Settings do not tell all: some classes crop or pad, and some (RF-DETR's, PP-DocLayout's) resize without
    antialiasing. The picture is higher and narrower than the input: shrunk one way, enlarged the other.

    Raises:
        ModelLoadError: the pixels differ.
    """
    width, height = preprocess.size_wh
    found = difference(processor, preprocess, [(max(1, 2 * width // 3), 2 * height + 1)])
    if found is not None:
        raise ModelLoadError(
            f"{name}: its image processor, {type(processor).__name__}, makes other pixels than its settings say to "
            f"visionkit ({found}), so its boxes would silently be worse; detectors that squash with antialiasing work "
            f"today: RT-DETR, D-FINE, DEIM v2, LW-DETR"
        )
