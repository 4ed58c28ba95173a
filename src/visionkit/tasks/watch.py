"""A bar over the steps of slow answers, for those who watch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..models.steps import watching
from ..progress import bar


@contextmanager
def step_bar(pictures: int, progress: bool | None) -> Iterator[None]:
    """A bar over the steps of all pictures; how many steps one takes, the model says at its first."""
    with bar(pictures, progress if pictures else False, unit="step") as shown:

        def tick(steps: int) -> None:
            shown.total = pictures * steps if steps else None
            shown.update()

        with watching(tick):
            yield
