"""A picture in 72 numbers, to tell whether two are nearly the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

SIDES_WH = (9, 8)


def sketches(pixels: Tensor) -> npt.NDArray[np.uint8]:
    """uint8 (N, 3, H, W) in 0–255 → uint8 (N, 8, 9): the mean grey of each of 8 × 9 cells."""
    parts = [
        functional.adaptive_avg_pool2d(part.float().mean(1, keepdim=True), SIDES_WH[::-1])[:, 0]
        for part in pixels.split(256)
    ]
    cells = torch.cat(parts) if parts else torch.zeros((0, *SIDES_WH[::-1]))
    grey: npt.NDArray[np.uint8] = cells.round().to(torch.uint8).cpu().numpy()
    return grey


def difference_hashes(cells: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """uint8 (N, 8, 9) → (N,): a bit for each cell that is brighter than its neighbour on the left ("dHash")."""
    bits = cells[:, :, 1:] > cells[:, :, :-1]
    packed = np.packbits(bits.reshape(len(cells), 64), axis=1)
    hashes: npt.NDArray[np.uint64] = np.ascontiguousarray(packed).view(np.uint64).reshape(-1)
    return hashes


MOST_BITS = 4
"""Bits in which the hashes of two pictures that are nearly the same may differ."""
_MOST_GREY = 3.0
"""How far apart their cells may be on average, of 255."""
_LEAST_CONTRAST = 4.0
"""The standard deviation of cells below which a picture is too plain to be told from another."""
_MOST_CANDIDATES = 200
"""Pictures that one is compared with, for each part of its hash: an empty sky is like all others."""


def near_pairs(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
    """Positions (i, j) of pictures that are nearly the same: recompressed, resized, a little brighter; not cropped.

    Two hashes that differ in at most four of 64 bits agree in one of five parts of them; only such are compared.

    Args:
        one: sketches uint8 (N, 8, 9).
        other: sketches uint8 (M, 8, 9).
    """
    if not len(one) or not len(other):
        return []
    mine, theirs = difference_hashes(one), difference_hashes(other)
    telling = [cells.reshape(len(cells), -1).std(1) >= _LEAST_CONTRAST for cells in (one, other)]
    found: set[tuple[int, int]] = set()
    for shift in range(0, 64, 13):
        keys = [(hashes >> np.uint64(shift)) & np.uint64(0x1FFF) for hashes in (mine, theirs)]
        order = np.argsort(keys[1], kind="stable")
        first = np.searchsorted(keys[1][order], keys[0], "left")
        count = np.minimum(np.searchsorted(keys[1][order], keys[0], "right") - first, _MOST_CANDIDATES)
        left = np.repeat(np.arange(len(one)), count)
        right = order[np.repeat(first - np.cumsum(count) + count, count) + np.arange(count.sum())]
        alike = np.bitwise_count(mine[left] ^ theirs[right]) <= MOST_BITS
        alike &= telling[0][left] & telling[1][right]
        left, right = left[alike], right[alike]
        apart = np.abs(one[left].astype(np.int16) - other[right])
        close = apart.sum((1, 2)) <= _MOST_GREY * apart.shape[1] * apart.shape[2]
        found.update(zip(left[close].tolist(), right[close].tolist(), strict=True))
    return sorted(found)
