"""`Preprocess`: how a model wants its pictures, as a value that is saved with the model."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from ..errors import InputError
from ..images import Fit

Resize = Literal["shortest", "squash", "letterbox"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]
Corner = Literal["rounded", "floored"]
_RESIZES: Final = ("shortest", "squash", "letterbox")
_INTERPOLATIONS: Final = ("nearest", "bilinear", "bicubic")
_CORNERS: Final = ("rounded", "floored")


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """From an upright RGB picture to a model's input.

    Attributes:
        size_wh: width and height of the input, in pixels.
        resize: "shortest", as torchvision, timm and open_clip: the short side becomes `resize_to`, the long side
            int(resize_to · long / short), then the centre is cropped to `size_wh`; "squash": straight to `size_wh`,
            whatever the shape; "letterbox": as large as fits in `size_wh`, centred, the rest is mid-grey (114).
        resize_to: the short side for "shortest"; None: the smaller of `size_wh`.
        interpolation: "bicubic", "bilinear" (both antialiased) or "nearest".
        mean: subtracted from each channel of values in 0–1.
        std: divides each channel after that.
        corner: what becomes of half a pixel where the centre is cropped: "rounded" to the even one, as torchvision,
            timm and open_clip; "floored", as transformers.

    Raises:
        InputError: a field is impossible.
    """

    size_wh: tuple[int, int]
    resize: Resize = "shortest"
    resize_to: int | None = None
    interpolation: Interpolation = "bicubic"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    corner: Corner = "rounded"

    def __post_init__(self) -> None:
        size: Any = self.size_wh
        if not isinstance(size, tuple) or len(size) != 2 or not all(isinstance(s, int) and s > 0 for s in size):
            raise InputError(f"size_wh {size!r} must be width and height, two positive whole numbers of pixels")
        if self.resize not in _RESIZES:
            raise InputError(f"resize {self.resize!r} must be one of {', '.join(_RESIZES)}")
        if self.interpolation not in _INTERPOLATIONS:
            raise InputError(f"interpolation {self.interpolation!r} must be one of {', '.join(_INTERPOLATIONS)}")
        if self.corner not in _CORNERS:
            raise InputError(f"corner {self.corner!r} must be one of {', '.join(_CORNERS)}")
        side: object = self.resize_to
        if side is not None and (self.resize != "shortest" or not isinstance(side, int) or side < 1):
            raise InputError("resize_to goes with resize='shortest' and is a positive number of pixels")
        object.__setattr__(self, "mean", three_numbers("mean", self.mean))
        object.__setattr__(self, "std", three_numbers("std", self.std, above_zero=True))

    def resized_wh(self, image_wh: tuple[int, int]) -> tuple[int, int]:
        """The size to which an image is resized, before it is cropped or padded."""
        width, height = image_wh
        if self.resize == "squash":
            return self.size_wh
        if self.resize == "letterbox":
            scale = min(self.size_wh[0] / width, self.size_wh[1] / height)
            return (
                min(self.size_wh[0], max(1, round(width * scale))),
                min(self.size_wh[1], max(1, round(height * scale))),
            )
        short = self.resize_to or min(self.size_wh)
        if width <= height:
            return short, int(short * height / width)
        return int(short * width / height), short

    def offset_xy(self, resized_wh: tuple[int, int]) -> tuple[int, int]:
        """Where the resized image's corner lies in the input: negative where it is cropped."""
        floored = self.corner == "floored"
        return (
            _centred(resized_wh[0], self.size_wh[0], floored=floored),
            _centred(resized_wh[1], self.size_wh[1], floored=floored),
        )

    def fit(self, image_wh: tuple[int, int]) -> Fit:
        """The geometry for an upright image of that size."""
        resized = self.resized_wh(image_wh)
        left, top = self.offset_xy(resized)
        scale = (resized[0] / image_wh[0], resized[1] / image_wh[1])
        return Fit(image_wh, self.size_wh, scale, (float(left), float(top)))

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Preprocess:
        """The inverse of `to_dict`.

        Raises:
            InputError: unknown or missing fields, or impossible values.
        """
        try:
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
            return cls(**values)
        except TypeError as err:
            raise InputError(f"this is no Preprocess: {err}") from err


def _centred(side: int, room: int, *, floored: bool) -> int:
    """The offset of a side in a room; torchvision's rounding where it is cropped, the floor where it is padded."""
    if side >= room:
        return -((side - room) // 2) if floored else -round((side - room) / 2.0)
    return (room - side) // 2


def three_numbers(name: str, value: Any, *, above_zero: bool = False) -> tuple[float, ...]:
    """A value for each channel, as floats.

    Raises:
        InputError: not three finite numbers; or one that is not above zero, where it must be.
    """
    try:
        numbers = tuple(float(v) for v in value)
    except (TypeError, ValueError):
        numbers = ()
    least = "above 0" if above_zero else "finite"
    if len(numbers) != 3 or not all(math.isfinite(v) and (v > 0 or not above_zero) for v in numbers):
        raise InputError(f"{name}={value!r:.80} must be three numbers, each {least}")
    return numbers
