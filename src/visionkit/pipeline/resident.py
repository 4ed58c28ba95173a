"""Whole data sets as uint8 in memory, for training that sees each picture many times."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import closing
from typing import Final

import numpy as np
import torch
from torch import Tensor

from ..errors import Failure, InputError
from ..images import Source
from .batches import fitted
from .preprocess import Preprocess

MAX_BYTES: Final = 4 * 2**30
"""What a data set may take in memory; a larger one lies in a temporary file, of which memory holds what is in use."""


def load_pixels(
    sources: Sequence[Source], preprocess: Preprocess
) -> tuple[Tensor, tuple[int, ...], tuple[Failure, ...]]:
    """Loads and fits all sources.

    Returns:
        uint8 (N, 3, height, width) on the CPU, in channels-last memory; the positions of the N among the sources; and
        those that could not be loaded.

    Raises:
        InputError: they take more than `MAX_BYTES`, and there is no room for a temporary file.
    """
    pixels = room_for(len(sources), preprocess)
    kept: list[int] = []
    failures: list[Failure] = []
    with closing(fitted(sources, preprocess)) as batches:
        for batch in batches:
            pixels[len(kept) : len(kept) + len(batch)] = batch.pixels
            kept.extend(batch.indices)
            failures.extend(batch.failures)
    return pixels[: len(kept)], tuple(kept), tuple(failures)


def room_for(count: int, preprocess: Preprocess) -> Tensor:
    """uint8 (N, 3, height, width) on the CPU, in channels-last memory, still to be filled.

    Raises:
        InputError: see `load_pixels`.
    """
    width, height = preprocess.size_wh
    if count * 3 * width * height > MAX_BYTES:
        return _in_a_file(count, width, height)
    return torch.empty((count, 3, height, width), dtype=torch.uint8, memory_format=torch.channels_last)


def _in_a_file(count: int, width: int, height: int) -> Tensor:
    """As `torch.empty`, in a file without a name, which is gone with the tensor."""
    size = count * height * width * 3
    try:
        with tempfile.TemporaryFile(prefix="visionkit-") as file:
            if hasattr(os, "posix_fallocate"):  # now, by an error: later a full disk would end the process
                os.posix_fallocate(file.fileno(), 0, size)
            rows = np.memmap(file, dtype=np.uint8, mode="r+", shape=(count, height, width, 3))
    except OSError as err:
        raise InputError(
            f"{count} pictures of {width}×{height} take {size / 2**30:.1f} GB, and there is no room for them in "
            f"{tempfile.gettempdir()}: {err.strerror}; set TMPDIR to a folder on a larger disk, or train on fewer"
        ) from err
    return torch.from_numpy(rows).permute(0, 3, 1, 2)


def channel_statistics(pixels: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """uint8 (N, 3, H, W) → mean and standard deviation of each channel, of values in 0–1; for `Preprocess`."""
    total = torch.zeros(3, dtype=torch.float64)
    squares = torch.zeros(3, dtype=torch.float64)
    for part in pixels.split(256):
        values = part.to(torch.float64).div_(255.0)
        total += values.sum((0, 2, 3))
        squares += values.square_().sum((0, 2, 3))
    count = pixels.numel() / 3
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0.0).sqrt()
    return tuple(mean.tolist()), tuple(std.clamp_min(1.0 / 255.0).tolist())
