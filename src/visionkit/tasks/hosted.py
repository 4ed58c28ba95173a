"""Runners over hosted models: several questions under way at once, answers in order. No torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ..errors import Failure, VisionkitError
from ..images import Picture, Source, describe, load_image
from .driver import Runner

T = TypeVar("T")


def over_pictures(work: Callable[[Picture, str], T], concurrency: int) -> Runner[Source, T]:
    """A runner that loads each source and calls `work(picture, its name)`, at most `concurrency` at once.

    No more inputs than that are read ahead of the answers; what `work` raises of ours becomes a `Failure`.
    """

    def attempt(index: int, source: Source) -> T | Failure:
        try:
            return work(load_image(source), describe(source))
        except VisionkitError as err:
            return Failure(describe(source), index, err)

    def run(sources: Iterator[Source]) -> Iterator[T | Failure]:
        under_way: deque[Future[T | Failure]] = deque()
        pool = ThreadPoolExecutor(concurrency, "visionkit-hosted")
        try:
            for index, source in enumerate(sources):
                under_way.append(pool.submit(attempt, index, source))
                if len(under_way) >= concurrency:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    return run
