"""Pictures in rows with a caption above each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from ..errors import InputError
from .sources import Picture, printable

_GAP: Final = 4
_CAPTION: Final = 14
_MAX_CAPTION: Final = 100
_MOST_PIXELS: Final = 2**26


def draw_rows(rows: Sequence[tuple[str, Sequence[Picture]]]) -> Picture:
    """Rows of pictures, each at its own size, on white, with their captions above them.

    Args:
        rows: a caption and the pictures (mode RGB) of each row, at least one.

    Raises:
        InputError: there is nothing to draw, or too much for one picture.
    """
    if not rows or not all(pictures for _, pictures in rows):
        raise InputError("a drawing of rows needs at least one picture in each")
    font = ImageFont.load_default(size=_CAPTION)
    captions = [printable(text)[:_MAX_CAPTION] for text, _ in rows]
    wide = max(sum(p.width + _GAP for p in pictures) for _, pictures in rows)
    wide = max(wide, *(round(font.getlength(text)) + _GAP for text in captions)) + _GAP
    line = _CAPTION + 2 * _GAP
    tall = sum(line + max(p.height for p in pictures) for _, pictures in rows) + 2 * _GAP
    if wide * tall > _MOST_PIXELS:
        raise InputError(f"a drawing of {wide}×{tall} pixels is too large: draw fewer or smaller pictures")
    sheet = Image.new("RGB", (wide, tall), "white")
    draw = ImageDraw.Draw(sheet)
    top = _GAP
    for caption, (_, pictures) in zip(captions, rows, strict=True):
        draw.text((_GAP, top), caption, fill="black", font=font)
        top, left = top + line, _GAP
        for picture in pictures:
            sheet.paste(picture, (left, top))
            left += picture.width + _GAP
        top += max(p.height for p in pictures)
    return sheet
