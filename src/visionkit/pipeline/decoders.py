"""The threads that decode: one for each core, with one torch thread and memory of its own each."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self, TypeVar

import torch

from ..errors import VisionkitError
from ..images.fast import Scratch
from ..images.waits import Waits

T = TypeVar("T")

_own = threading.local()
"""What each decoding thread keeps for itself."""

_thread_count = threading.Lock()
"""Held while the process's number of torch threads is another for a moment: a second call would keep that one."""


class Decoders:
    """A pool of threads with one torch thread each; without threads, work is done where it is submitted."""

    def __init__(self, threads: int) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._waits = Waits()
        if threads:
            with _thread_count:
                self._pool = self._start(threads)

    def _start(self, threads: int) -> ThreadPoolExecutor:
        ready = threading.Barrier(threads)
        found: list[int] = []
        pool = ThreadPoolExecutor(threads, "visionkit-decode", self._enter_thread, (found,))
        try:
            for future in [pool.submit(ready.wait) for _ in range(threads)]:
                future.result()
        except BaseException:  # Ctrl-C, or no more threads to be had: let go of those that wait
            ready.abort()
            pool.shutdown(cancel_futures=True)
            raise
        finally:  # what a worker sets becomes the default of every later thread
            if found:  # put back by another thread: the caller's own number may be another
                helper = threading.Thread(target=_use_threads, args=(found[0],))
                helper.start()
                helper.join()
        return pool

    def _enter_thread(self, found: list[int]) -> None:
        found.append(torch.get_num_threads())  # the first to come finds the process's number
        _use_threads(1)
        self._waits.join()
        _own.scratch = Scratch()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Has the work done by a thread of the pool; an error of ours stays in the future."""
        if self._pool is not None:
            return self._pool.submit(work)
        future: Future[T] = Future()
        try:
            future.set_result(work())
        except VisionkitError as err:
            future.set_exception(err)
        return future

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._waits.end()  # a slow server would hold the end, and Ctrl-C, for as long as it is waited for
            self._pool.shutdown(wait=True, cancel_futures=True)


def scratch() -> Scratch | None:
    """The memory into which the calling thread decodes, where it is one of a pool."""
    found: Scratch | None = getattr(_own, "scratch", None)
    return found


def cores() -> int:
    """How many this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _use_threads(count: int) -> None:
    """Gives the calling thread that many torch threads, and those threads whose first use of torch is still to come.

    Asking first matters: a thread's first use of torch takes over the process's number, whatever was set before it.
    """
    torch.get_num_threads()
    torch.set_num_threads(count)
