"""Runners over models of this machine: batches of the pipeline in, answers in order out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from ..errors import Failure
from ..log import log
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
            answer_part = _within_memory(answer_batch)
            for batch in batches:
                answers = answer_part(batch)
                outcomes: dict[int, T | Failure] = dict(zip(batch.indices, answers, strict=True))
                outcomes.update((f.index, f) for f in batch.failures)
                for index in sorted(outcomes):
                    yield outcomes[index]

    return run


def _within_memory(answer_batch: Callable[[Batch], Sequence[T]]) -> Callable[[Batch], list[T]]:
    """Answers a batch in parts that the device has memory for: halved when it runs out, and so from then on.

    One picture that is too much is torch.OutOfMemoryError.
    """
    most: int | None = None

    def answer(batch: Batch) -> list[T]:
        nonlocal most
        import torch

        answers: list[T] = []
        start = 0
        while start < len(batch):
            part = batch.part(start, start + (most or len(batch)))
            try:
                answers.extend(answer_batch(part))
                start += len(part)
                continue
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
            # outside the handler: the error's traceback holds on to what the step had made
            torch.cuda.empty_cache()
            if most is None:
                log.warning("out of memory with %d pictures at once; going on with fewer", len(part))
            most = -(-len(part) // 2)
        return answers

    return answer


def _or_default(batch_size: int | None, default: int) -> int:
    return default if batch_size is None else batch_size
