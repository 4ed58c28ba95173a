"""`Batches`: sources in, normalised batches on a device out, decoded ahead by a pool of threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Final, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from ..errors import Failure, InputError, VisionkitError
from ..images import Fit, Source, describe, is_single, load_array
from .decoders import Decoders, cores, scratch
from .device import choose_device, compute_dtype
from .preprocess import Preprocess
from .tensors import fit_pixels, normalise

DEFAULT_BATCH_SIZE: Final = 32
READ_AHEAD: Final = 1
"""Batches that are being decoded while another is in the model's hands."""

_SHRUNK: Final = 2
"""A JPEG may be decoded smaller, but not below this many times its size in the model's input: answers stay the same
(features of 32 photos: total variation 0.02; at 1 it would be 0.05)."""

_Item: TypeAlias = tuple[int, Source]


@dataclass(frozen=True)
class Batch:
    """Pictures that a model takes in one step.

    Attributes:
        pixels: (N, 3, height, width), normalised, on the device, in the precision of the speed, channels last.
        sources: (N,) what each came from, as strings.
        indices: (N,) the position of each among the sources given, from 0.
        fits: (N,) how each was laid into the input.
        failures: the sources of this stretch that could not be loaded.
    """

    pixels: Tensor
    sources: tuple[str, ...]
    indices: tuple[int, ...]
    fits: tuple[Fit, ...]
    failures: tuple[Failure, ...] = ()

    def __len__(self) -> int:
        return len(self.sources)

    def part(self, start: int, stop: int) -> Batch:
        """The pictures from `start` up to `stop`, without the failures; it shares their memory."""
        return Batch(self.pixels[start:stop], self.sources[start:stop], self.indices[start:stop], self.fits[start:stop])

    def __repr__(self) -> str:
        return f"Batch({tuple(self.pixels.shape)} {self.pixels.dtype} on {self.pixels.device})"


class Batches(Iterator[Batch]):
    """Loads, fits and normalises sources, a batch at a time, in order.

    At most two batches are read ahead of the one that was handed out, so an endless iterator is fine. A batch may be
    empty (N = 0) when all of its sources failed.

    Args:
        sources: image sources.
        preprocess: the model's.
        batch_size: pictures in a batch.
        device: see `choose_device`.
        workers: threads that decode; None: one for each core.
        speed: chooses the precision of `pixels`, see `compute_dtype`; and "exact" decodes every picture in full, where
            otherwise a JPEG is decoded at the least of 1/2, 1/4 and 1/8 that is twice as large as the model's input.
        on_error: "raise" stops at the first source that cannot be loaded, after the batch of those before it;
            "return" lists it in `Batch.failures`.

    Raises:
        InputError: an argument is impossible.
        VisionkitError: under `on_error="raise"`, on iteration: what is wrong with a source.
    """

    def __init__(
        self,
        sources: Iterable[Source],
        preprocess: Preprocess,
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        device: str | torch.device | None = None,
        workers: int | None = None,
        speed: str = "default",
        on_error: Literal["raise", "return"] = "raise",
    ) -> None:
        size: object = batch_size
        if not isinstance(size, int) or size < 1:
            raise InputError(f"batch_size={batch_size!r} must be a whole number of at least 1")
        if on_error not in ("raise", "return"):
            raise InputError(f"on_error {on_error!r} must be 'raise' or 'return'")
        if workers is not None and workers < 1:
            raise InputError(f"workers {workers} must be at least 1, or None for one for each core")
        if is_single(sources):  # a string would be taken letter by letter
            raise InputError(f"{describe(sources)} is one source: give a list, tuple or iterator of them")
        chosen = choose_device(device)
        dtype = compute_dtype(chosen, speed)
        # The generator knows the plan and not this object: dropping the last reference ends the threads at once.
        plan = _Plan(preprocess, batch_size, chosen, dtype, on_error, workers or cores(), exact=speed == "exact")
        self._steps = plan.run(sources)

    def __next__(self) -> Batch:
        return next(self._steps)

    def close(self) -> None:
        """Ends the threads; iterating to the end or an error does so too."""
        self._steps.close()


def fitted(
    sources: Iterable[Source], preprocess: Preprocess, *, device: torch.device | None = None, exact: bool = True
) -> Generator[Batch]:
    """As `Batches` under `on_error="return"`, but `pixels` stays uint8 in 0–255.

    Args:
        sources: image sources.
        preprocess: the model's.
        device: None: the CPU.
        exact: decode every picture in full, as `speed="exact"`.
    """
    where = device or torch.device("cpu")
    return _Plan(preprocess, DEFAULT_BATCH_SIZE, where, torch.uint8, "return", cores(), exact=exact).run(sources)


@dataclass(frozen=True)
class _Chunk:
    """A batch in the making: picture i of `pixels` is written by the work behind `fits[i]`."""

    items: list[_Item]
    pixels: Tensor
    fits: list[Future[Fit]]


@dataclass(frozen=True)
class _Plan:
    """How sources become batches; with `dtype` uint8 they are not normalised."""

    preprocess: Preprocess
    batch_size: int
    device: torch.device
    dtype: torch.dtype
    on_error: str
    workers: int
    exact: bool

    def run(self, sources: Iterable[Source]) -> Generator[Batch]:
        feed = _Feed(sources, self.batch_size)
        items = feed.take()
        count = len(items) + (len(items) == self.batch_size == 1 and feed.has_more())  # one picture needs no thread
        with Decoders(min(self.workers, count) if count > 1 else 0) as decoders:
            ahead: deque[_Chunk] = deque()
            while items or ahead:
                if items:
                    ahead.append(self._begin(items, decoders))
                    items = []
                if len(ahead) <= READ_AHEAD:
                    items = feed.take()
                    if items:
                        continue
                yield from self._deliver(ahead.popleft())
        feed.reraise()

    def _begin(self, items: list[_Item], decoders: Decoders) -> _Chunk:
        with torch.inference_mode(mode=False):  # threads outside the caller's inference mode write into it
            pixels = self._memory(len(items))
        load = self._load
        return _Chunk(
            items, pixels, [decoders.submit(partial(load, item[1], pixels[i])) for i, item in enumerate(items)]
        )

    def _memory(self, count: int) -> Tensor:
        """Room for so many pictures: as a CPU's model takes them, or uint8 on the way to another device."""
        width, height = self.preprocess.size_wh
        shape = (count, height, width, 3)
        if self.device.type == "cpu" and self.dtype is torch.float32:
            # NumPy asks for huge pages: torch's small ones take longer to come than the numbers take to compute.
            return torch.from_numpy(np.empty(shape, np.float32)).permute(0, 3, 1, 2)
        dtype = self.dtype if self.device.type == "cpu" else torch.uint8
        pinned = self.device.type == "cuda"  # so that the copy need not be waited for
        return torch.empty(shape, dtype=dtype, pin_memory=pinned).permute(0, 3, 1, 2)

    def _load(self, source: Source, into: Tensor) -> Fit:
        in_full = self.exact or self.preprocess.interpolation == "nearest"  # which picks single pixels
        array, image_wh = load_array(source, least_wh=None if in_full else self._least_wh, scratch=scratch())
        pixels = fit_pixels(torch.from_numpy(array).permute(2, 0, 1), self.preprocess, image_wh)
        mean, std = self.preprocess.mean, self.preprocess.std
        if into.dtype is torch.float32:  # on a CPU here, in a thread of its own and while the floats are in the cache
            normalise(pixels[None], mean, std, torch.float32, out=into[None])
        elif into.dtype is torch.uint8:
            into.copy_(pixels)
        else:
            into.copy_(normalise(pixels[None], mean, std, into.dtype)[0])
        return self.preprocess.fit(image_wh)

    def _least_wh(self, image_wh: tuple[int, int]) -> tuple[int, int]:
        width, height = self.preprocess.resized_wh(image_wh)
        return _SHRUNK * width, _SHRUNK * height

    def _deliver(self, chunk: _Chunk) -> Iterator[Batch]:
        good: dict[int, Fit] = {}
        failures: list[Failure] = []
        for place, ((index, source), fit) in enumerate(zip(chunk.items, chunk.fits, strict=True)):
            try:
                good[place] = fit.result()
            except VisionkitError as err:
                failures.append(Failure(describe(source), index, err))
                if self.on_error == "raise":
                    break
        if self.on_error == "return":
            yield self._collate(chunk, good, failures)
            return
        if good:
            yield self._collate(chunk, good, [])
        if failures:
            raise failures[0].error

    def _collate(self, chunk: _Chunk, good: dict[int, Fit], failures: list[Failure]) -> Batch:
        pixels = chunk.pixels if len(good) == len(chunk.items) else chunk.pixels[list(good)]
        pixels = pixels.to(self.device, non_blocking=True)
        if pixels.dtype is not self.dtype:
            pixels = normalise(pixels, self.preprocess.mean, self.preprocess.std, self.dtype)
        return Batch(
            pixels=pixels,
            sources=tuple(describe(chunk.items[place][1]) for place in good),
            indices=tuple(chunk.items[place][0] for place in good),
            fits=tuple(good.values()),
            failures=tuple(failures),
        )


class _Feed:
    """Takes chunks from the caller's iterable, and keeps an error of its until what came before it is answered."""

    def __init__(self, sources: Iterable[Source], size: int) -> None:
        self._items = enumerate(sources)
        self._size = size
        self._seen: list[_Item] = []
        self._error: Exception | None = None

    def has_more(self) -> bool:
        """Whether another chunk follows; it is taken already."""
        self._seen = self.take()
        return bool(self._seen)

    def take(self) -> list[_Item]:
        if self._seen:
            chunk, self._seen = self._seen, []
            return chunk
        chunk = []
        if self._error is None:
            try:
                for item in islice(self._items, self._size):
                    chunk.append(item)
            except Exception as err:  # noqa: BLE001 - the caller's own, raised again by `reraise`
                self._error = err
        return chunk

    def reraise(self) -> None:
        if self._error is not None:
            raise self._error
