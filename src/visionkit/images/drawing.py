"""Drawing on a picture: what results show of themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from PIL import ImageDraw, ImageFont

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
