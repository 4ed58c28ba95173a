"""The features of a frozen model: computed once, kept in memory, and on the disk for the next training."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..errors import Failure, TrainingError
from ..log import log
from ..models.cache import cache_folder
from ..pipeline import Batch, compute_dtype
from ..pipeline.augment import augment
from ..pipeline.batches import fitted
from ..pipeline.sketch import sketches
from ..pipeline.tensors import normalise
from ..progress import bar
from .feature_store import Kept, Store
from .fingerprints import Fingerprints, Views
from .loop import generator

if TYPE_CHECKING:
    from ..models.protocols import ImageEmbedder
    from .labelled import Labelled

MAPPED_FROM: Final = 2**30
"""Bytes of features from which on they stay on the disk, where they are kept there, and are read as they are needed."""


@dataclass(frozen=True)
class Features:
    """What a model says of each picture.

    Attributes:
        values: float32 (N, V, D) on the CPU: each picture in V views, of which the first is the picture as it is.
        kept: (N,) the positions of the pictures that could be loaded.
        cells: uint8 (N, 8, 9): their sketches, see `pipeline.sketch`.
        failures: the others.
        reused: whether they were there from an earlier training.
    """

    values: Tensor
    kept: tuple[int, ...]
    cells: npt.NDArray[np.uint8]
    failures: tuple[Failure, ...]
    reused: bool = False


def store_at(cache: bool | str | os.PathLike[str]) -> Store | None:
    """Where features are kept: True: in `VISIONKIT_CACHE` or the user's cache folder; False: nowhere."""
    if cache is False:
        return None
    return Store((cache_folder() if cache is True else Path(cache)) / "features")


def features_of(
    embedder: ImageEmbedder,
    data: Labelled,
    views: Views,
    *,
    store: Store | None,
    progress: bool | None,
    fingerprints: Fingerprints | None = None,
) -> Features:
    """The features of all pictures, from the store where it has them.

    They are of the model's own speed, and the store's are used only for the same model (weights, architecture,
    preprocessing, speed, and what it answers here to a test picture), the same pictures (files of the same size and
    times, arrays and bytes of the same content) and the same views. Pictures behind an address, and of a data set that
    makes them, are not known to be the same: their features are not kept.

    Raises:
        TrainingError: no picture could be loaded.
        VisionkitError: one could not, and the data says that this ends the training.
    """
    known = fingerprints or Fingerprints(embedder)
    fingerprint = known.of(data.sources, views) if store is not None else None
    if store is not None and fingerprint is not None:
        kept = store.read(fingerprint, count=len(data), views=views.count)
        if kept is not None:
            data.refuse(kept.failures)
            log.info("visionkit: the features of %d pictures are there from before: %s", len(kept.indices), store)
            return _as_features(kept, reused=True)
    made = _compute(embedder, data, views, _allocator(store, fingerprint), progress=progress)
    if store is None or fingerprint is None:
        return _as_features(made, reused=False)
    return _as_features(store.write(fingerprint, made), reused=False)


def _as_features(kept: Kept, *, reused: bool) -> Features:
    return Features(torch.from_numpy(kept.values), kept.indices, kept.cells, kept.failures, reused)


_Allocate = Callable[[tuple[int, int, int]], npt.NDArray[np.float32]]


def _allocator(store: Store | None, fingerprint: str | None) -> _Allocate:
    def allocate(shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
        if store is not None and fingerprint is not None and 4 * int(np.prod(shape)) > MAPPED_FROM:
            mapped = store.allocate(fingerprint, shape)
            if mapped is not None:
                return mapped
        return np.empty(shape, np.float32)

    return allocate


def _compute(
    embedder: ImageEmbedder, data: Labelled, views: Views, allocate: _Allocate, *, progress: bool | None
) -> Kept:
    values: npt.NDArray[np.float32] | None = None
    cells = np.empty((len(data), 8, 9), np.uint8)
    kept: list[int] = []
    failures: list[Failure] = []
    batches = fitted(data.sources, embedder.preprocess, device=embedder.device, exact=embedder.speed == "exact")
    with closing(batches), bar(len(data), progress, unit="image") as shown:
        for number, batch in enumerate(batches):
            failures.extend(batch.failures)
            data.refuse(failures)
            if len(batch):
                rows = slice(len(kept), len(kept) + len(batch))
                for view, vectors in enumerate(_views(embedder, batch, views, number)):
                    if values is None:
                        values = allocate((len(data), views.count, vectors.shape[1]))
                    values[rows, view] = vectors
                cells[rows] = sketches(batch.pixels)
                kept.extend(batch.indices)
            shown.update(len(batch) + len(batch.failures))
    if values is None:
        raise TrainingError(f"none of the pictures could be loaded; the first: {failures[0]}")
    return Kept(values[: len(kept)], tuple(kept), cells[: len(kept)], tuple(failures))


def _views(embedder: ImageEmbedder, batch: Batch, views: Views, number: int) -> Iterator[npt.NDArray[np.float32]]:
    """Float32 (N, D) of each view of a batch that is still uint8."""
    spec, dtype = embedder.preprocess, compute_dtype(embedder.device, embedder.speed)
    for view in range(views.count):
        policy = views.policy if view else "none"
        changed = augment(batch.pixels, policy, generator(views.seed, f"view {view}", number))
        vectors = _within_memory(embedder, replace(batch, pixels=normalise(changed, spec.mean, spec.std, dtype)))
        yield vectors.float().cpu().numpy()


def _within_memory(embedder: ImageEmbedder, batch: Batch) -> Tensor:
    """The features of a batch, in halves where the device has no memory for all at once."""
    try:
        return embedder.image_features(batch)
    except torch.OutOfMemoryError:
        if len(batch) == 1:
            raise
    torch.cuda.empty_cache()  # outside the handler: the error's traceback holds on to what the step had made
    half = len(batch) // 2
    parts: list[Any] = [batch.part(0, half), batch.part(half, len(batch))]
    return torch.cat([_within_memory(embedder, part) for part in parts])
