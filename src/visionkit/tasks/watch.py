"""A bar over the steps of slow answers, for those who watch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ..models.steps import watching


@contextmanager
def step_bar(pictures: int, progress: bool | None) -> Iterator[None]:
    """A bar over the steps of all pictures; how many steps one takes, the model says at its first."""
    if not pictures or progress is False or (progress is None and not _watched()):
        yield
        return
    from tqdm import tqdm  # here: most calls need no bar

    with tqdm(total=pictures, delay=0 if progress else 2, unit="step") as bar:

        def tick(steps: int) -> None:
            bar.total = pictures * steps if steps else None
            bar.update()

        with watching(tick):
            yield


def _watched() -> bool:
    return "ipykernel" in sys.modules or sys.stderr.isatty()
