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

    def heat_to_image(self, heat: npt.ArrayLike) -> Array:
        """A heat map (h, w) that lies over the whole input → the image, float32 (height, width).

        Between the map's points it is linear; where the map is finer than the image, points are averaged. What of the
        image lies outside the input, because a crop cut it off, is 0.
        """
        values = np.asarray(heat, np.float64)
        rows = self._weights(1, values.shape[0])
        columns = self._weights(0, values.shape[1])
        spread: Array = (rows @ values @ columns.T).astype(np.float32)
        return spread

    def _weights(self, axis: int, points: int) -> npt.NDArray[np.float64]:
        """(pixels of the image, points of the map): how much each point counts in each pixel; 0 is x, 1 is y."""
        per_point = self.input_wh[axis] / points
        centres = (np.arange(self.image_wh[axis]) + 0.5) * self.scale_xy[axis] + self.offset_xy[axis]
        inside = (centres >= 0) & (centres <= self.input_wh[axis])
        places = np.clip(centres / per_point - 0.5, 0, points - 1)
        reach = max(1.0, self.scale_xy[axis] / per_point)  # points that a pixel covers, where it covers several
        weights = np.clip(1 - np.abs(places[:, None] - np.arange(points)) / reach, 0, None)
        weights *= inside[:, None] / weights.sum(1, keepdims=True)
        whole: npt.NDArray[np.float64] = weights
        return whole
