"""`Grid`: many small pictures drawn as one, such as what a network's layers respond to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError
from ..images import Picture, describe, write_png
from ..images.thumbnails import picture_uri
from . import html
from .values import ColumnKind, Result


class Grid(Result):
    """Pictures in rows.

    Attributes:
        image: all of them on one, mode RGB; kept out of JSON.
        rows: what each row shows.
        columns: what each column shows, where all rows show the same.
    """

    table_columns: ClassVar[Mapping[str, ColumnKind]] = {**Result.table_columns, "rows": "texts", "columns": "texts"}

    image: Picture = Field(exclude=True, repr=False)
    rows: tuple[str, ...]
    columns: tuple[str, ...] = ()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Saves the picture as PNG.

        Returns:
            The path.

        Raises:
            InputError: another suffix than `.png`, or a file that cannot be written.
        """
        target = Path(path)
        if target.suffix.lower() != ".png":
            raise InputError(f"cannot save {describe(path)}: such a drawing is saved as .png")
        return write_png(self.image, target, {})

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.image.save(buffer, "PNG")
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        shown = html.image(picture_uri(self.image, html.SHOWN), self.source)
        return html.card(shown, html.note(self.source, self.model))

    def __repr__(self) -> str:
        size = f"{self.image.width}×{self.image.height}"
        return f"{type(self).__name__}({self.source}: {len(self.rows)} rows, {size}; {self.model})"


class Patch(BaseModel):
    """A part of a picture that excites a channel.

    Attributes:
        source: the picture, as a string.
        box_xyxy: the part, in pixels of the upright picture: all that the channel can see from its place.
        activation: what the channel gave there.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    box_xyxy: tuple[float, float, float, float]
    activation: float


class Patches(Grid):
    """The parts of pictures that excite one channel of a layer most.

    Attributes:
        patches: the strongest first, at most one from each picture.
        layer: the layer's path.
        channel: which of its channels, from 0.
    """

    table_columns: ClassVar[Mapping[str, ColumnKind]] = {
        **Result.table_columns,
        "layer": "text",
        "channel": "integer",
        "box_xyxy": "numbers",
        "activation": "number",
    }

    patches: tuple[Patch, ...]
    layer: str
    channel: int

    def table_rows(self) -> Iterator[dict[str, Any]]:
        """A row for each patch."""
        for patch in self.patches:
            yield {"model": self.model, "layer": self.layer, "channel": self.channel, **patch.model_dump()}
