"""Runners over hosted models: several questions under way at once, answers in order. No torch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
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
        numbered = enumerate(sources)
        under_way: deque[Future[T | Failure]] = deque()
        trouble: Exception | None = None
        pool = ThreadPoolExecutor(concurrency, "visionkit-hosted")
        try:
            while True:
                try:
                    for index, source in islice(numbered, concurrency - len(under_way)):
                        under_way.append(pool.submit(attempt, index, source))
                        if under_way[0].done():  # a slow source must not hold an answer back
                            break
                except Exception as err:  # noqa: BLE001 - the caller's own, raised when what came before is answered
                    trouble, numbered = err, enumerate(())
                if not under_way:
                    break
                yield under_way.popleft().result()
        finally:  # who stops early does not wait for answers that nobody will read
            pool.shutdown(wait=not under_way, cancel_futures=True)
        if trouble is not None:
            raise trouble

    return run
