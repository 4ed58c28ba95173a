"""Runners over models of this machine: batches of the pipeline in, answers in order out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from ..errors import Failure
from .driver import Runner

if TYPE_CHECKING:
    from ..images import Source
    from ..models.protocols import LocalModel
    from ..pipeline import Batch

T = TypeVar("T")


def over_batches(
    model: LocalModel, answer_batch: Callable[[Batch], Sequence[T]], batch_size: int | None
) -> Runner[Source, T]:
    """A runner that loads sources in batches for `model`, and answers each with `answer_batch`, one per picture."""
    from ..pipeline import Batches
    from ..pipeline.batches import DEFAULT_BATCH_SIZE

    Batches(iter(()), model.preprocess, batch_size=_or_default(batch_size, DEFAULT_BATCH_SIZE))  # refuses it now

    def run(sources: Iterator[Source]) -> Iterator[T | Failure]:
        batches = Batches(
            sources,
            model.preprocess,
            batch_size=_or_default(batch_size, DEFAULT_BATCH_SIZE),
            device=model.device,
            speed=model.speed,
            on_error="return",
        )
        with closing(batches):
            for batch in batches:
                answers = answer_batch(batch) if len(batch) else []
                outcomes: dict[int, T | Failure] = dict(zip(batch.indices, answers, strict=True))
                outcomes.update((f.index, f) for f in batch.failures)
                for index in sorted(outcomes):
                    yield outcomes[index]

    return run


def _or_default(batch_size: int | None, default: int) -> int:
    return default if batch_size is None else batch_size
