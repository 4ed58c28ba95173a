"""`Batches`: sources in, normalised batches on a device out, decoded ahead by a pool of threads."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal, Self, TypeAlias

import torch
from torch import Tensor

from ..errors import Failure, InputError, VisionkitError
from ..images import Fit, Source, describe, is_single, load_image
from .device import choose_device, compute_dtype
from .preprocess import Preprocess
from .tensors import fit_pixels, normalise, pixels_of

DEFAULT_BATCH_SIZE: Final = 32
READ_AHEAD: Final = 1
"""Batches that are being decoded while another is in the model's hands."""

_Item: TypeAlias = tuple[int, Source]
_Loaded: TypeAlias = tuple[Tensor, Fit]


@dataclass(frozen=True)
class Batch:
    """Pictures that a model takes in one step.

    Attributes:
        pixels: (N, 3, height, width), normalised, on the device, in the precision of the speed.
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
        speed: "default" or "exact"; chooses the precision of `pixels`.
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
        self._steps = _Plan(preprocess, batch_size, chosen, dtype, on_error, workers or _cores()).run(sources)

    def __next__(self) -> Batch:
        return next(self._steps)

    def close(self) -> None:
        """Ends the threads; iterating to the end or an error does so too."""
        self._steps.close()


@dataclass(frozen=True)
class _Plan:
    """How sources become batches."""

    preprocess: Preprocess
    batch_size: int
    device: torch.device
    dtype: torch.dtype
    on_error: str
    workers: int

    def run(self, sources: Iterable[Source]) -> Generator[Batch]:
        feed = _Feed(sources, self.batch_size)
        chunk = feed.take()
        workers = min(self.workers, len(chunk))
        with _Decoders(workers if len(chunk) > 1 else 0) as decoders:
            ahead: deque[list[tuple[_Item, Future[_Loaded]]]] = deque()
            while chunk or ahead:
                if chunk:
                    ahead.append([(item, decoders.submit(self._load, item[1])) for item in chunk])
                    chunk = []
                if len(ahead) <= READ_AHEAD:
                    chunk = feed.take()
                    if chunk:
                        continue
                yield from self._deliver(ahead.popleft())
        feed.reraise()

    def _load(self, source: Source) -> _Loaded:
        picture = load_image(source)
        return fit_pixels(pixels_of(picture), self.preprocess), self.preprocess.fit(picture.size)

    def _deliver(self, work: list[tuple[_Item, Future[_Loaded]]]) -> Iterator[Batch]:
        good: list[tuple[int, str, _Loaded]] = []
        failures: list[Failure] = []
        for (index, source), future in work:
            try:
                good.append((index, describe(source), future.result()))
            except VisionkitError as err:
                failures.append(Failure(describe(source), index, err))
                if self.on_error == "raise":
                    break
        if self.on_error == "return":
            yield self._collate(good, failures)
            return
        if good:
            yield self._collate(good, [])
        if failures:
            raise failures[0].error

    def _collate(self, good: list[tuple[int, str, _Loaded]], failures: list[Failure]) -> Batch:
        width, height = self.preprocess.size_wh
        stacked = torch.stack([pixels for _, _, (pixels, _) in good]) if good else _nothing(width, height)
        on_device = stacked.to(self.device)
        return Batch(
            pixels=normalise(on_device, self.preprocess.mean, self.preprocess.std, self.dtype),
            sources=tuple(name for _, name, _ in good),
            indices=tuple(index for index, _, _ in good),
            fits=tuple(fit for _, _, (_, fit) in good),
            failures=tuple(failures),
        )


def _nothing(width: int, height: int) -> Tensor:
    return torch.zeros((0, 3, height, width), dtype=torch.uint8)


class _Feed:
    """Takes chunks from the caller's iterable, and keeps an error of its until what came before it is answered."""

    def __init__(self, sources: Iterable[Source], size: int) -> None:
        self._items = enumerate(sources)
        self._size = size
        self._error: Exception | None = None

    def take(self) -> list[_Item]:
        chunk: list[_Item] = []
        if self._error is None:
            try:
                for item in islice(self._items, self._size):
                    chunk.append(item)  # noqa: PERF402 - what came before an error must be kept
            except Exception as err:  # noqa: BLE001 - the caller's own, raised again by `reraise`
                self._error = err
        return chunk

    def reraise(self) -> None:
        if self._error is not None:
            raise self._error


class _Decoders:
    """A pool of threads with one torch thread each; without threads, work is done where it is submitted."""

    def __init__(self, threads: int) -> None:
        self._pool: ThreadPoolExecutor | None = None
        if threads:
            before = torch.get_num_threads()
            ready = threading.Barrier(threads)
            self._pool = ThreadPoolExecutor(threads, "visionkit-decode", initializer=_use_one_thread)
            try:
                for future in [self._pool.submit(ready.wait) for _ in range(threads)]:
                    future.result()
            except BaseException:  # Ctrl-C, or no more threads to be had: let go of those that wait
                ready.abort()
                self._pool.shutdown(cancel_futures=True)
                raise
            finally:  # what a worker sets becomes the default of every later thread
                torch.set_num_threads(before)

    def submit(self, work: Callable[[Source], _Loaded], source: Source) -> Future[_Loaded]:
        if self._pool is not None:
            return self._pool.submit(work, source)
        future: Future[_Loaded] = Future()
        try:
            future.set_result(work(source))
        except VisionkitError as err:
            future.set_exception(err)
        return future

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _use_one_thread() -> None:
    """Gives the calling thread one torch thread.

    Asking first matters: a thread's first use of torch takes over the process's number, whatever was set before it.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
