"""What every verb promises, once: one in, one out; a list in, a list out; an iterator in, a lazy iterator out.

A verb gives the driver a *runner*: from an iterator of inputs to an iterator of one answer, or `Failure`, for each, in
order. The driver knows nothing of models, and no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np

from ..errors import Failure, InputError, VisionkitError
from ..images import describe, is_single
from ..progress import bar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
I = TypeVar("I")  # noqa: E741 - an input
OnError: TypeAlias = Literal["raise", "return"]
Runner: TypeAlias = Callable[[Iterator[I]], Iterator[T | Failure]]


class Many(Protocol[T_co]):
    """A sequence of several inputs: a list, a tuple, an array of paths; `str` and `bytes` are none."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[T_co]: ...
    def __getitem__(self, index: int, /) -> T_co: ...
    def __contains__(self, item: object, /) -> bool: ...


def answer(
    inputs: Any,
    run: Runner[Any, T],
    *,
    single: Callable[[object], bool] = is_single,
    on_error: OnError = "raise",
    progress: bool | None = None,
) -> T | Failure | list[T | Failure] | Iterator[T | Failure]:
    """Answers one input, a sequence of them, or an iterator of them.

    Args:
        inputs: what the user gave.
        run: the verb's runner.
        single: whether a value is one input.
        on_error: "raise" raises the first failure's error, which carries the answers before it in `.results`; "return"
            leaves the failure in its place.
        progress: show a bar; None: when it takes over two seconds and someone is watching.

    Raises:
        InputError: `inputs` is neither, or `on_error` is unknown.
        VisionkitError: under `on_error="raise"`, what is wrong with an input.
    """
    if on_error not in ("raise", "return"):
        raise InputError(f"on_error={on_error!r} must be 'raise' or 'return'")
    if single(inputs):
        return _checked(next(run(iter([inputs]))), on_error)
    if isinstance(inputs, Iterator):
        return _stream(run, inputs, on_error, progress)
    items = as_sequence(inputs)
    results: list[T | Failure] = []
    shown = bar(len(items), progress if len(items) > 1 else False, unit="input")
    try:
        with shown, _closing(run(iter(items))) as outcomes:
            for outcome in outcomes:
                results.append(_checked(outcome, on_error))
                shown.update()
    except VisionkitError as err:
        err.results = list(results)
        raise
    return results


def as_sequence(inputs: Any) -> Sequence[Any]:
    """Several inputs as a sequence.

    Raises:
        InputError: a set, a mapping, or no container at all.
    """
    if isinstance(inputs, np.ndarray):
        return list(inputs.ravel()) if inputs.ndim <= 1 else _refuse(inputs)
    if isinstance(inputs, Sequence):
        return inputs
    if hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__") and not isinstance(inputs, Mapping):
        return list(inputs)  # what the protocol `Many` describes, without Python's own stamp
    return _refuse(inputs)


def _refuse(inputs: Any) -> Sequence[Any]:
    hint = "list(x)" if isinstance(inputs, Iterable) else "one, or a list, tuple or iterator of them"
    raise InputError(f"{describe(inputs)} is no input: give {hint}")


def _stream(
    run: Runner[Any, T], inputs: Iterator[Any], on_error: OnError, progress: bool | None
) -> Generator[T | Failure]:
    with bar(None, progress, unit="input") as shown, _closing(run(inputs)) as outcomes:
        for outcome in outcomes:
            yield _checked(outcome, on_error)
            shown.update()


def _checked(outcome: T | Failure, on_error: OnError) -> T | Failure:
    if isinstance(outcome, Failure) and on_error == "raise":
        raise outcome.error
    return outcome


@contextmanager
def _closing(outcomes: Iterator[T]) -> Iterator[Iterator[T]]:
    """Ends a runner's threads also when the caller stops early."""
    try:
        yield outcomes
    finally:
        close = getattr(outcomes, "close", None)
        if close is not None:
            close()


def chunks(items: Iterator[I], size: int) -> Iterator[list[I]]:
    """Lists of up to `size`; an error of the caller's own iterator is raised after what came before it."""
    while True:
        chunk: list[I] = []
        try:
            for item in islice(items, size):
                chunk.append(item)  # noqa: PERF402 - what came before an error must be kept
        except Exception:
            if chunk:
                yield chunk
            raise
        if not chunk:
            return
        yield chunk


def each(work: Callable[[I], T], name: Callable[[object], str] = describe) -> Runner[I, T]:
    """A runner that answers inputs one after another; an error of ours becomes a `Failure`."""

    def run(inputs: Iterator[I]) -> Iterator[T | Failure]:
        for index, item in enumerate(inputs):
            try:
                outcome: T | Failure = work(item)
            except VisionkitError as err:
                outcome = Failure(name(item), index, err)
            yield outcome

    return run
