"""Whether heat tells the truth: does the answer fall faster when the hottest of the picture goes first?

After the deletion curve of Petsiuk et al., "RISE: randomized input sampling for explanation" (2018). Whole squares are
removed, in both orders: a single pixel that is taken away at random is filled in by its neighbours, and would flatter
the heat.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from .looking import Opened

SQUARES: Final = 7
"""Rows and columns of squares that are removed; a smaller picture has as many as it has pixels. Many small ones would
harm all of a picture at once, wherever they lie."""

FRACTIONS: Final = (0.02, 0.05, 0.1, 0.2, 0.3)
"""Parts of the picture that are removed; most of an answer falls early."""

ORDERS: Final = 4
"""Random orders, over which chance is averaged."""

_AT_ONCE: Final = 13


def blurred(pixels: Tensor) -> Tensor:
    """(N, 3, H, W) without detail: what stands where something is removed, of the colours around and no edges."""
    reach = max(1, min(pixels.shape[2:]) // 8)
    for _ in range(3):  # three boxes are nearly a bell
        pixels = functional.avg_pool2d(pixels, 2 * reach + 1, 1, reach, count_include_pad=False)
    return pixels


def faithfulness(opened: Opened, pixels: Tensor, heat: Tensor, target: int) -> float:
    """The mean probability under random orders, less that with the hottest first, as a part of the whole picture's.

    Args:
        opened: the model.
        pixels: float32 (3, H, W), normalised.
        heat: (h, w), of any fineness.
        target: the class.
    """
    height, width = pixels.shape[1:]
    rows, columns = min(SQUARES, height), min(SQUARES, width)
    hot = functional.adaptive_avg_pool2d(heat[None], (rows, columns)).flatten().cpu()
    generator = torch.Generator().manual_seed(0)
    shuffled = [torch.randperm(rows * columns, generator=generator) for _ in range(ORDERS)]
    orders = [hot.argsort(descending=True, stable=True), *shuffled]
    without = blurred(pixels[None])[0]
    pictures = [pixels]
    for order in orders:
        for fraction in FRACTIONS:
            gone = torch.zeros(rows * columns, dtype=torch.bool)
            gone[order[: max(1, round(fraction * rows * columns))]] = True
            pictures.append(
                torch.where(_spread(gone.view(rows, columns), height, width).to(pixels.device), without, pixels)
            )
    parts = [opened.probabilities(torch.stack(pictures[i : i + _AT_ONCE])) for i in range(0, len(pictures), _AT_ONCE)]
    chances: list[float] = torch.cat(parts)[:, target].tolist()
    whole, *rest = chances
    hottest, random = rest[: len(FRACTIONS)], rest[len(FRACTIONS) :]
    gap: float = sum(random) / len(random) - sum(hottest) / len(hottest)
    return gap / max(whole, 1e-12)


def _spread(squares: Tensor, height: int, width: int) -> Tensor:
    """(rows, columns) → (height, width)."""
    down = torch.arange(height) * squares.shape[0] // height
    across = torch.arange(width) * squares.shape[1] // width
    return squares[down][:, across]
