"""`Fit`: how an image was laid into a model's input, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

_FAR: Final = 1e9
"""Pixels; beyond any picture."""


@dataclass(frozen=True)
class Fit:
    """Where the upright image lies in a model's input: x_input = x_image · scale_xy[0] + offset_xy[0], y alike.

    Coordinates are continuous, in pixels: 0 is the left or top edge of the first pixel, the width or height the right
    or bottom edge of the last.

    Attributes:
        image_wh: size of the upright image.
        input_wh: size of the model's input.
        scale_xy: input pixels per image pixel.
        offset_xy: where the image's corner lies in the input; negative where a crop cut it off.
    """

    image_wh: tuple[int, int]
    input_wh: tuple[int, int]
    scale_xy: tuple[float, float]
    offset_xy: tuple[float, float]

    def points_to_image(self, points_xy: npt.ArrayLike) -> Array:
        """Points (…, 2) of the input, in pixels → the same points in the image, float32."""
        points = np.asarray(points_xy, np.float64)
        return ((points - self.offset_xy) / self.scale_xy).astype(np.float32)

    def points_to_input(self, points_xy: npt.ArrayLike) -> Array:
        """Points (…, 2) of the image, in pixels → the same points in the input, float32."""
        points = np.asarray(points_xy, np.float64)
        return (points * self.scale_xy + self.offset_xy).astype(np.float32)

    def boxes_to_image(self, boxes_xyxy: npt.ArrayLike) -> Array:
        """Boxes (N, 4) of the input, in pixels → the image, float32, clipped to it.

        Coordinates that are not finite become the image's edge or 0: what a model says must not break a drawing.
        """
        width, height = self.image_wh
        boxes: npt.NDArray[Any] = np.asarray(boxes_xyxy, np.float64).reshape(-1, 2, 2)
        boxes = np.clip(boxes, -_FAR, _FAR)  # what is farther would overflow float32
        boxes = np.nan_to_num(self.points_to_image(boxes), nan=0.0)
        inside: Array = np.clip(boxes, 0.0, np.array([width, height], np.float32)).reshape(-1, 4).astype(np.float32)
        return inside

    def boxes_to_input(self, boxes_xyxy: npt.ArrayLike) -> Array:
        """Boxes (N, 4) of the image, in pixels → the input, float32, not clipped."""
        return self.points_to_input(np.asarray(boxes_xyxy, np.float64).reshape(-1, 2, 2)).reshape(-1, 4)
