"""Pictures that anything can learn to tell apart."""

from __future__ import annotations

import numpy as np


def colours(count=8, size=8, seed=0):
    """Red and blue pictures with some noise."""
    numbers = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        for channel, label in ((0, "red"), (2, "blue")):
            picture = numbers.integers(0, 60, (size, size, 3), dtype=np.uint8)
            picture[..., channel] += 150
            pairs.append((picture, label))
    return pairs
