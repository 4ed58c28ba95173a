"""Drawing on a picture: what results show of themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from .sources import Picture, printable

MAX_CAPTION = 60
"""Characters of a caption that are drawn; fonts of hostile length have crashed drawing libraries."""

_PALETTE = (
    "#e6194b",
    "#3cb44b",
    "#4363d8",
    "#f58231",
    "#911eb4",
    "#008080",
    "#f032e6",
    "#9a6324",
    "#800000",
    "#000075",
)

_HEAT: Final = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))
"""From cold to hot, evenly spaced: black, violet, red, orange, light yellow; brighter is always hotter, in grey too."""


def color_for(label: str) -> str:
    """A colour for a label, the same in every picture and process."""
    return _PALETTE[hashlib.sha256(label.encode("utf-8", "replace")).digest()[0] % len(_PALETTE)]


def draw_boxes(
    picture: Picture,
    boxes_xyxy: Sequence[Sequence[float]],
    captions: Sequence[str],
    labels: Sequence[str],
) -> Picture:
    """A copy of the picture with a box, coloured by its label, and a caption for each.

    Args:
        picture: mode RGB.
        boxes_xyxy: (N, 4) pixels, finite and inside the picture.
        captions: (N,) texts at the boxes.
        labels: (N,) names that choose the colours.
    """
    canvas = picture.copy()
    draw = ImageDraw.Draw(canvas)
    unit = max(canvas.size) / 400
    font = ImageFont.load_default(size=max(10.0, 10 * unit))
    for box, caption, label in zip(boxes_xyxy, captions, labels, strict=True):
        left, top, right, bottom = (float(v) for v in box)
        color = color_for(label)
        # a box ends at the far edge of its last pixel, `rectangle` at the pixel itself
        frame = (left, top, max(right - 1, left), max(bottom - 1, top))
        draw.rectangle(frame, outline=color, width=max(2, round(1.5 * unit)))
        text = printable(caption)[:MAX_CAPTION]
        x0, _, x1, y1 = draw.textbbox((0, 0), text, font=font)
        wide = x1 - x0 + 4
        place = (min(left, max(0.0, canvas.width - 1 - wide)), max(0.0, top - y1 - 2))
        draw.rectangle((place[0], place[1], place[0] + wide, place[1] + y1 + 2), fill=color)
        draw.text((place[0] + 2, place[1]), text, fill="white", font=font)
    return canvas


def heat_picture(values: npt.NDArray[Any]) -> Picture:
    """Values (H, W) in 0–1 as a picture: from black over violet and red to light yellow."""
    stops = np.linspace(0, 255, len(_HEAT))
    table = np.stack([np.interp(np.arange(256), stops, [color[c] for color in _HEAT]) for c in range(3)], axis=1)
    return Image.fromarray(np.rint(table).astype(np.uint8)[np.rint(np.asarray(values) * 255).astype(np.uint8)])


def draw_heat(picture: Picture, values: npt.NDArray[Any], alpha: float) -> Picture:
    """A picture in grey under a heat map, so that all colour is heat.

    Args:
        picture: mode RGB.
        values: (H, W) of the picture's size, in 0–1.
        alpha: how much of the heat map's colours there is, from 0, the picture alone, to 1.
    """
    return Image.blend(picture.convert("L").convert("RGB"), heat_picture(values), alpha)


def color_picture(values: npt.NDArray[Any]) -> Picture:
    """Values (H, W) or (H, W, 3) in 0–1 as a picture, grey or in colour."""
    codes = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(codes).convert("RGB")


def at_side(picture: Picture, side: int) -> Picture:
    """A small picture with square pixels that can be seen: enlarged by a whole number; a large one shrunk to `side`."""
    longest = max(picture.size)
    if longest > side:
        size_wh = tuple(max(1, round(s * side / longest)) for s in picture.size)
        return picture.resize((size_wh[0], size_wh[1]), Image.Resampling.LANCZOS)
    factor = side // longest
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
