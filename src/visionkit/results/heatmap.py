"""`Heatmap`: where in a picture an answer comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, PlainSerializer, model_validator

from ..errors import InputError
from ..images import Fit, Picture, Source, describe, draw_heat, heat_picture, load_image, write_png
from ..images.thumbnails import picture_uri, read_again
from . import html
from .values import ColumnKind, Float32Array, Result


def _fit(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    try:
        return Fit(**{name: tuple(numbers) for name, numbers in value.items()})
    except TypeError as err:  # which pydantic lets pass
        raise ValueError(f"fit is none: {err}") from err


class Heatmap(Result):
    """How much each place of a picture speaks for an answer.

    Attributes:
        heat: float32 (h, w) in 0–1 over the model's input, as fine as the method sees: 7×7 for Grad-CAM over most
            networks of 224×224.
        fit: how the picture was laid into the input, and so where the heat lies.
        label: the answer that is explained.
        score: the model's probability for it.
        method: how: "grad_cam", "integrated_gradients" or "occlusion".
        layer: the layer that was looked at, for "grad_cam".
        faithfulness: the label's mean probability while squares of the picture are removed in random order, less that
            while the hottest go first, as a part of `score`: above 0, the heat is where the answer comes from, better
            than chance; None: not measured.
    """

    table_columns: ClassVar[Mapping[str, ColumnKind]] = {
        **Result.table_columns,
        "label": "text",
        "score": "number",
        "method": "text",
        "layer": "text",
        "faithfulness": "number",
    }

    heat: Float32Array
    fit: Annotated[Fit, BeforeValidator(_fit), PlainSerializer(vars)]
    label: str
    score: float
    method: str
    layer: str | None = None
    faithfulness: float | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.heat.ndim != 2 or self.heat.size == 0:
            raise ValueError(f"heat must be (h, w), not {self.heat.shape}")
        if not ((self.heat >= 0) & (self.heat <= 1)).all():
            raise ValueError("heat must be in 0–1")
        return self

    @cached_property
    def values(self) -> npt.NDArray[np.float32]:
        """Float32 (H, W) in 0–1 over the upright picture; 0 where the model did not look."""
        spread = np.clip(self.fit.heat_to_image(self.heat), 0.0, 1.0)
        spread.setflags(write=False)
        return spread

    def overlay(self, image: Source | None = None, alpha: float = 0.5) -> Picture:
        """The picture in grey under the heat in colour: from black over violet and red to light yellow.

        Args:
            image: the picture that was asked about; None reads the file again.
            alpha: how much of the heat's colours there is, from 0 to 1.

        Raises:
            InputError: without `image`, the source is no file that can be read again; `image` has another size; `alpha`
                is outside 0–1.
        """
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha={alpha!r} must be a number from 0 to 1")
        picture = self._read_again() if image is None else load_image(image)
        if picture.size != tuple(self.fit.image_wh):
            width, height = self.fit.image_wh
            raise InputError(
                f"this heat is of a picture of {width}×{height}, not of {picture.width}×{picture.height}; give the "
                f"picture that was asked about: {self.source}"
            )
        return draw_heat(picture, self.values, alpha)

    def save(self, path: str | os.PathLike[str], image: Source | None = None) -> Path:
        """Saves the overlay as PNG; the heat alone, where there is no picture to draw on.

        Args:
            path: the file, replaced if it is there.
            image: as for `overlay`.

        Returns:
            The path.

        Raises:
            InputError: another suffix than `.png`, a file that cannot be written, or an `image` of another size.
        """
        target = Path(path)
        if target.suffix.lower() != ".png":
            raise InputError(f"cannot save {describe(path)}: a heat map is saved as .png")
        return write_png(self._drawn() if image is None else self.overlay(image), target, {})

    def _drawn(self) -> Picture:
        try:
            return self.overlay()
        except InputError:
            return heat_picture(self.values)

    def _read_again(self) -> Picture:
        try:
            return read_again(self.source)
        except InputError as err:
            raise InputError(
                f"{self.source} cannot be read again to draw on; give the picture: heatmap.overlay(image)"
            ) from err

    def _repr_html_(self) -> str:
        """What a notebook shows: the overlay, where the file can be read again, else the heat alone."""
        lines = [html.title(f"{self.label} {self.score:.1%}")]
        if self.faithfulness is not None:
            lines.append(html.note(f"faithfulness {self.faithfulness:+.2f}"))
        return html.card(
            html.image(picture_uri(self._drawn(), html.SHOWN), self.source),
            *lines,
            html.note(self.source, self.model, *self._how()),
        )

    def _how(self) -> tuple[str, ...]:
        return (self.method,) if self.layer is None else (self.method, f"layer {self.layer}")

    def __repr__(self) -> str:
        width, height = self.fit.image_wh
        measured = "" if self.faithfulness is None else f", faithfulness {self.faithfulness:+.2f}"
        return (
            f"Heatmap({self.source}: {self.label} {self.score:.2f}, {height}×{width}{measured}; "
            f"{' of '.join(self._how())}, {self.model})"
        )
