"""How a verb watches a model's steps without the model knowing who watches, or the protocol a parameter for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_watcher: ContextVar[Callable[[int], object] | None] = ContextVar("visionkit_steps", default=None)


@contextmanager
def watching(tick: Callable[[int], object]) -> Iterator[None]:
    """Within it, in this thread, `tick(total)` is called after each step of a model that tells its steps."""
    token = _watcher.set(tick)
    try:
        yield
    finally:
        _watcher.reset(token)


def step_done(total: int) -> None:
    """Called by a model after each of `total` steps of one answer; costs nothing when nobody watches."""
    tick = _watcher.get()
    if tick is not None:
        tick(total)
