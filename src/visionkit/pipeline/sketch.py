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
_MOST_CANDIDATES = 64
"""Pictures that one is compared with, for each part of its hash: an empty sky is like all others."""
_AT_ONCE = 4096
"""Pictures whose candidates are in memory at once."""


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
    found: set[tuple[int, int]] = set()
    for shift in range(0, 64, 13):
        keys, their_keys = ((hashes >> np.uint64(shift)) & np.uint64(0x1FFF) for hashes in (mine, theirs))
        order = np.argsort(their_keys, kind="stable")
        first = np.searchsorted(their_keys[order], keys, "left")
        count = np.minimum(np.searchsorted(their_keys[order], keys, "right") - first, _MOST_CANDIDATES)
        for start in range(0, len(one), _AT_ONCE):
            some, begin = count[start : start + _AT_ONCE], first[start : start + _AT_ONCE]
            left = start + np.repeat(np.arange(len(some)), some)
            right = order[np.repeat(begin - np.cumsum(some) + some, some) + np.arange(some.sum())]
            near = np.bitwise_count(mine[left] ^ theirs[right]) <= MOST_BITS
            left, right = left[near], right[near]
            alike = _alike(one[left], other[right])
            found.update(zip(left[alike].tolist(), right[alike].tolist(), strict=True))
    return sorted(found)


def _alike(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Sketches of the same number → bool (N,): which are alike, and not just both plain."""
    apart = np.abs(one.astype(np.int16) - other).mean((1, 2))
    contrast = np.minimum(one.std((1, 2)), other.std((1, 2)))
    alike: npt.NDArray[np.bool_] = (apart <= _MOST_GREY) & (contrast >= _LEAST_CONTRAST)
    return alike
