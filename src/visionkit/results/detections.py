"""`Detections`: what is where in a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, PlainSerializer, model_validator

from ..errors import InputError
from ..images import Picture, Source, draw_boxes, load_image
from ..images.sources import printable
from ..images.thumbnails import picture_uri, read_again
from . import html
from .values import ColumnKind, Float32Array, Result

_LISTED: Final = 3
"""Objects that a `repr` names."""

_NAME: Final = 40
"""Characters of such a name."""

_LISTED_HTML: Final = 12
"""Objects that a notebook lists below the drawing."""

_TOLERANCE: Final = 1e-3
"""How far, in pixels, a corner may be off the picture: float32 rounding, not another picture's box."""


def _boxes(value: Any) -> npt.NDArray[np.float32]:
    array = np.array(value, dtype=np.float32)  # a copy: the caller's array stays writable
    if array.size == 0:
        array = array.reshape(-1, 4)  # JSON's [] has no second dimension
    array.setflags(write=False)
    return array


class Detections(Result):
    """The objects found in one picture, best first.

    Attributes:
        boxes_xyxy: float32 (N, 4), left, top, right, bottom in pixels of the upright image, inside it. An object that
            lies outside the picture altogether has a box without area on its edge.
        labels: (N,) the name of each.
        scores: float32 (N,) in 0–1.
        size_wh: width and height of the upright image.
    """

    table_columns: ClassVar[Mapping[str, ColumnKind]] = {
        **Result.table_columns,
        "labels": "texts",
        "scores": "numbers",
        "boxes_xyxy": "boxes",
        "size_wh": "integers",
    }

    boxes_xyxy: Annotated[
        npt.NDArray[np.float32], BeforeValidator(_boxes), PlainSerializer(lambda a: a.tolist(), when_used="json")
    ]
    labels: tuple[str, ...]
    scores: Float32Array
    size_wh: tuple[int, int]

    @model_validator(mode="after")
    def _check(self) -> Self:
        count = len(self.labels)
        if self.boxes_xyxy.shape != (count, 4) or self.scores.shape != (count,):
            raise ValueError(
                f"boxes_xyxy {self.boxes_xyxy.shape} and scores {self.scores.shape} do not go with {count} labels"
            )
        if not np.isfinite(self.boxes_xyxy).all() or not np.isfinite(self.scores).all():
            raise ValueError("boxes_xyxy and scores must be finite")
        corners = self.boxes_xyxy.reshape(-1, 2, 2)
        if (corners < -_TOLERANCE).any() or (corners > np.array(self.size_wh) + _TOLERANCE).any():
            raise ValueError(f"boxes_xyxy must lie inside the image of {self.size_wh[0]}×{self.size_wh[1]}")
        if (corners[:, 0] > corners[:, 1]).any():
            raise ValueError("boxes_xyxy must have left ≤ right and top ≤ bottom")
        return self

    def __len__(self) -> int:
        return len(self.labels)

    def draw(self, image: Source | None = None) -> Picture:
        """The picture with a box, a name and a score for each object.

        Args:
            image: the picture that was asked about; None reads the file again.

        Raises:
            InputError: without `image`, the source is no file that can be read again; or `image` has another size.
        """
        picture = self._read_again() if image is None else load_image(image)
        if picture.size != self.size_wh:
            raise InputError(
                f"these boxes are of a picture of {self.size_wh[0]}×{self.size_wh[1]}, not of "
                f"{picture.width}×{picture.height}; give the picture that was asked about: {self.source}"
            )
        captions = [f"{label} {score:.2f}" for label, score in zip(self.labels, self.scores.tolist(), strict=True)]
        return draw_boxes(picture, self.boxes_xyxy.tolist(), captions, self.labels)

    def _read_again(self) -> Picture:
        try:
            return read_again(self.source)
        except InputError as err:
            raise InputError(
                f"{self.source} cannot be read again to draw on; give the picture: detections.draw(image)"
            ) from err

    def _repr_html_(self) -> str:
        """What a notebook shows: the drawing, where the file can be read again, and the list."""
        try:
            drawing = html.image(picture_uri(self.draw(), html.SHOWN), self.source)
        except InputError:
            drawing = ""
        found = [f"{n} {s:.2f}" for n, s in zip(self.labels, self.scores.tolist(), strict=True)]
        said = html.title(f"{len(self)} object{'' if len(self) == 1 else 's'}")
        return html.card(drawing, said, html.listed(found, _LISTED_HTML), html.note(self.source, self.model))

    def __repr__(self) -> str:
        best = zip(self.labels[:_LISTED], self.scores[:_LISTED].tolist(), strict=True)
        shown = [f"{_short(label)} {score:.2f}" for label, score in best]
        more = [f"… {len(self) - _LISTED} more"] if len(self) > _LISTED else []
        what = f"{len(self)} object{'' if len(self) == 1 else 's'}{': ' if shown else ''}"
        return f"Detections({self.source}: {what}{' · '.join(shown + more)}; {self.model})"


def _short(label: str) -> str:
    return printable(label if len(label) <= _NAME else f"{label[: _NAME - 1]}…")
