"""Augmentation: each picture of a batch changed in its own random way, so that a network does not learn it by heart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from .tensors import to_uint8

Augmentation = Literal["none", "mirror", "light", "standard", "strong"]
"""A named policy.

- "none": the pictures as they are.
- "mirror": mirrored left to right half of the time: nearly nothing to compute.
- "light": mirrored left to right half of the time, and shifted by up to an eighth of each side.
- "standard": mirrored; a part of 35–100% of the picture at an aspect of 3:4 to 4:3, enlarged to the whole; brightness,
  contrast and saturation changed by up to 40%.
- "strong": mirrored; such a part; then one operation of TrivialAugment (Müller and Hutter, 2021) of random strength.
  `mix` goes with it.
"""

POLICIES: Final[tuple[str, ...]] = get_args(Augmentation)

_SHIFT: Final = 1 / 8
_LEAST_AREA: Final = 0.35
_MOST_ASPECT: Final = 4 / 3
_JITTER: Final = 0.4
_GREY: Final = (0.299, 0.587, 0.114)
"""What each channel counts for brightness, as in torchvision."""


_Operations: TypeAlias = tuple[Callable[[Tensor, float, float], Tensor], ...]
"""(uint8 (3, H, W), strength in 0–1, sign −1 or 1) → the same shape."""


def check_policy(policy: str) -> None:
    """Refuses a policy that is none.

    Raises:
        InputError: not one of `POLICIES`.
    """
    if policy not in POLICIES:
        raise InputError(f"augment={policy!r} is no policy; choose one of {', '.join(map(repr, POLICIES))}")


def augment(pixels: Tensor, policy: str, generator: torch.Generator) -> Tensor:
    """Changes each picture by itself; "none" gives the pictures themselves.

    All that is random comes from the generator, on the CPU, so a seed gives the same on every device up to rounding,
    and torch's own sequence is not touched.

    Args:
        pixels: uint8 (N, 3, H, W) in 0–255, before normalisation.
        policy: see `Augmentation`.
        generator: of the CPU.

    Returns:
        uint8 (N, 3, H, W), on the same device, channels last.

    Raises:
        InputError: no such policy, or pixels of another kind.
    """
    check_policy(policy)
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != 3:
        raise InputError(f"augment takes uint8 (N, 3, H, W), not {pixels.dtype} {tuple(pixels.shape)}")
    if policy == "none" or not len(pixels):
        return pixels
    draw = _Draw(len(pixels), generator)
    if policy == "mirror":
        mirrored = (draw.sign() < 0).to(pixels.device).view(-1, 1, 1, 1)
        return torch.where(mirrored, pixels.flip(3), pixels).contiguous(memory_format=torch.channels_last)
    scale_xy, offset_xy = _shifted(draw, pixels.shape) if policy == "light" else _cropped(draw)
    scale_xy[:, 0] *= draw.sign()  # mirrored by walking the columns backwards
    values = _resampled(pixels, scale_xy, offset_xy)
    if policy == "standard":
        values = _jittered(values, draw)
    changed = to_uint8(values.div_(255.0))
    if policy == "strong":
        operations = _operations()
        changed = torch.stack([_trivially_augmented(picture, operations, generator) for picture in changed])
    return changed.contiguous(memory_format=torch.channels_last)


def mix(pixels: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blends a batch with itself in another order: mixup (Zhang et al., 2018) or CutMix (Yun et al., 2019), by chance.

    Mixup adds two pictures in parts drawn from Beta(0.2, 0.2); CutMix lays a rectangle of one, of an area drawn evenly,
    on the other. The targets are mixed in the same parts.

    Args:
        pixels: uint8 (N, 3, H, W).
        targets: float (N, K), a probability for each class: `torch.nn.functional.one_hot(…).float()`.
        generator: of the CPU.

    Returns:
        The two, mixed: uint8 (N, 3, H, W) and float (N, K), for `cross_entropy`.

    Raises:
        InputError: targets that are not float (N, K).
    """
    if not targets.is_floating_point() or targets.ndim != 2 or len(targets) != len(pixels):
        raise InputError(f"targets must be float ({len(pixels)}, K), not {targets.dtype} {tuple(targets.shape)}")
    order = torch.randperm(len(pixels), generator=generator).to(pixels.device)
    other = pixels[order]
    if float(torch.rand(1, generator=generator)) < 0.5:
        share = _beta(0.2, generator)
        blended = pixels.float().lerp_(other.float(), 1.0 - share).div_(255.0)
        mixed = to_uint8(blended)
    else:
        mixed, share = _with_rectangle(pixels, other, generator)
    return mixed.contiguous(memory_format=torch.channels_last), targets.lerp(targets[order], 1.0 - share)


class _Draw:
    """A number for each picture."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self._count = count
        self._generator = generator

    def uniform(self, low: float, high: float) -> Tensor:
        """Float32 (N,), evenly between the two."""
        return torch.rand(self._count, generator=self._generator) * (high - low) + low

    def sign(self) -> Tensor:
        """Float32 (N,): −1 or 1, by chance."""
        return torch.randint(0, 2, (self._count,), generator=self._generator).float() * 2 - 1

    def whole(self, most: int) -> Tensor:
        """Float32 (N,): whole numbers from −most to most."""
        return torch.randint(-most, most + 1, (self._count,), generator=self._generator).float()


def _shifted(draw: _Draw, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Whole pixels, so that nothing is blurred: in coordinates where a picture reaches from −1 to 1."""
    height, width = shape[2:]
    shift_x, shift_y = draw.whole(int(width * _SHIFT)) * 2 / width, draw.whole(int(height * _SHIFT)) * 2 / height
    return torch.ones(len(shift_x), 2), torch.stack([shift_x, shift_y], 1)


def _cropped(draw: _Draw) -> tuple[Tensor, Tensor]:
    """Sides of the part as fractions (N, 2), and its middle in coordinates from −1 to 1."""
    area = draw.uniform(_LEAST_AREA, 1.0)
    aspect = (draw.uniform(-1.0, 1.0) * torch.tensor(_MOST_ASPECT).log()).exp()
    sides = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 1).clamp_max(1.0)
    where = torch.stack([draw.uniform(-1.0, 1.0), draw.uniform(-1.0, 1.0)], 1)
    return sides, where * (1.0 - sides)


def _resampled(pixels: Tensor, scale_xy: Tensor, offset_xy: Tensor) -> Tensor:
    """Float (N, 3, H, W) in 0–255, bilinear; beyond its edge a picture is mirrored. No part is ever made smaller."""
    grid = torch.zeros(len(pixels), 2, 3)
    grid[:, 0, 0], grid[:, 1, 1] = scale_xy[:, 0], scale_xy[:, 1]
    grid[:, :, 2] = offset_xy
    places = functional.affine_grid(grid.to(pixels.device), list(pixels.shape), align_corners=False)
    values = pixels.to(torch.float32, memory_format=torch.contiguous_format)
    return functional.grid_sample(values, places, padding_mode="reflection", align_corners=False)


def _jittered(values: Tensor, draw: _Draw) -> Tensor:
    """Brightness, then contrast, then saturation, as torchvision has them, in one product for each picture."""
    count, _, height, width = values.shape
    flat = values.view(count, 3, height * width)
    brightness, contrast, saturation = (
        draw.uniform(1 - _JITTER, 1 + _JITTER).to(values.device).view(-1, 1, 1) for _ in range(3)
    )
    grey = torch.tensor(_GREY, device=values.device).view(1, 1, 3)
    mean = (grey @ flat.mean(2, keepdim=True)) * brightness
    same = torch.eye(3, device=values.device)
    matrix = (same * saturation + grey.expand(count, 3, 3) * (1 - saturation)) * (brightness * contrast)
    return torch.baddbmm((mean * (1 - contrast)).expand(count, 3, 1), matrix, flat).view_as(values)


def _trivially_augmented(picture: Tensor, operations: _Operations, generator: torch.Generator) -> Tensor:
    """One operation of the paper's wide set on uint8 (3, H, W)."""
    chosen = int(torch.randint(len(operations), (1,), generator=generator))
    strength = float(torch.rand(1, generator=generator))
    sign = -1.0 if float(torch.rand(1, generator=generator)) < 0.5 else 1.0
    return operations[chosen](picture, strength, sign)


def _operations() -> _Operations:
    from torchvision.transforms.v2 import functional as v2

    def moved(picture: Tensor, *, degrees: float = 0.0, x: float = 0.0, y: float = 0.0, shear: Any = (0, 0)) -> Tensor:
        shift: Any = [x * picture.shape[2], y * picture.shape[1]]
        result: Tensor = v2.affine(picture, angle=degrees, translate=shift, scale=1.0, shear=list(shear))
        return result

    tilt = 44.7  # degrees: a shear of 0.99
    seventh = 1 / 7  # 32 pixels of 224, as in the paper, and as much of a smaller picture
    return (
        lambda p, _m, _s: p,
        lambda p, m, s: moved(p, shear=(s * m * tilt, 0.0)),
        lambda p, m, s: moved(p, shear=(0.0, s * m * tilt)),
        lambda p, m, s: moved(p, x=s * m * seventh),
        lambda p, m, s: moved(p, y=s * m * seventh),
        lambda p, m, s: moved(p, degrees=s * m * 135.0),
        lambda p, m, s: v2.adjust_brightness(p, 1.0 + s * m * 0.99),
        lambda p, m, s: v2.adjust_saturation(p, 1.0 + s * m * 0.99),
        lambda p, m, s: v2.adjust_contrast(p, 1.0 + s * m * 0.99),
        lambda p, m, s: v2.adjust_sharpness(p, 1.0 + s * m * 0.99) if min(p.shape[1:]) > 2 else p,
        lambda p, m, _s: v2.posterize(p, 8 - round(m * 6)),
        lambda p, m, _s: v2.solarize(p, 255.0 * (1.0 - m)),
        lambda p, _m, _s: v2.autocontrast(p),
        lambda p, _m, _s: v2.equalize(p),
    )


def _with_rectangle(pixels: Tensor, other: Tensor, generator: torch.Generator) -> tuple[Tensor, float]:
    """A rectangle of `other` laid on `pixels`, and the part of the area that is left of the latter."""
    height, width = pixels.shape[2:]
    cut = (1.0 - float(torch.rand(1, generator=generator))) ** 0.5
    middle_y, middle_x = (torch.rand(2, generator=generator) * torch.tensor([height, width])).tolist()
    top, bottom = (min(height, max(0, round(middle_y + side * cut * height / 2))) for side in (-1, 1))
    left, right = (min(width, max(0, round(middle_x + side * cut * width / 2))) for side in (-1, 1))
    mixed = pixels.clone()
    mixed[:, :, top:bottom, left:right] = other[:, :, top:bottom, left:right]
    return mixed, 1.0 - (bottom - top) * (right - left) / (height * width)


def _beta(alpha: float, generator: torch.Generator) -> float:
    """A number of Beta(alpha, alpha), by Jöhnk's way: torch's own takes no generator."""
    while True:
        one, other = (torch.rand(2, generator=generator, dtype=torch.float64) ** (1.0 / alpha)).tolist()
        if 0.0 < one + other <= 1.0:
            return float(one / (one + other))
