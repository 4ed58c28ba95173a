"""Several pictures on one sheet, as photographers print them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from PIL import Image

from ..errors import InputError
from .sources import Picture

MAX_SIDE: Final = 2048
"""The longest side of a sheet of several pictures, in pixels, which are shrunk to fit."""

_GAP: Final = 8


def contact_sheet(pictures: Sequence[Picture], columns: int | None = None) -> Picture:
    """Pictures in rows, in their order from the upper left, on white; one alone is a copy of itself.

    Args:
        pictures: mode RGB, of any sizes; each is shrunk to its cell, never enlarged, and lies in its middle.
        columns: pictures in a row; None: as many as make the sheet about square.

    Raises:
        InputError: no pictures, or fewer than one column.
    """
    if not pictures:
        raise InputError("a contact sheet needs at least one picture")
    if columns is not None and columns < 1:
        raise InputError(f"columns={columns} must be at least 1")
    if len(pictures) == 1:
        return pictures[0].copy()
    across = min(columns or math.ceil(math.sqrt(len(pictures))), len(pictures))
    down = math.ceil(len(pictures) / across)
    room = max(1, (MAX_SIDE - _GAP) // max(across, down) - _GAP)
    thumbnails = [_shrunk(p, room) for p in pictures]
    cell_w, cell_h = max(t.width for t in thumbnails), max(t.height for t in thumbnails)
    sheet = Image.new("RGB", (_GAP + across * (cell_w + _GAP), _GAP + down * (cell_h + _GAP)), "white")
    for index, small in enumerate(thumbnails):
        left = _GAP + index % across * (cell_w + _GAP) + (cell_w - small.width) // 2
        top = _GAP + index // across * (cell_h + _GAP) + (cell_h - small.height) // 2
        sheet.paste(small, (left, top))
    return sheet


def _shrunk(picture: Picture, room: int) -> Picture:
    scale = min(1.0, room / max(picture.size))
    if scale == 1.0:
        return picture
    size_wh = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size_wh, Image.Resampling.LANCZOS)
