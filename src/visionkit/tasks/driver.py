"""What every verb promises, once: one in, one out; a list in, a list out; an iterator in, a lazy iterator out.

A verb gives the driver a *runner*: from an iterator of inputs to an iterator of one answer, or `Failure`, for each, in
order. The driver knows nothing of models, and no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
        return _checked(next(run(iter([inputs]))), on_error, [])
    if isinstance(inputs, Iterator):
        return _stream(run, inputs, on_error)
    items = as_sequence(inputs)
    results: list[T | Failure] = []
    shown = bar(len(items), progress if len(items) > 1 else False, unit="input")
    with shown, _closing(run(iter(items))) as outcomes:
        for outcome in outcomes:
            results.append(_checked(outcome, on_error, results))
            shown.update()
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
    return _refuse(inputs)


def _refuse(inputs: Any) -> Sequence[Any]:
    hint = "list(x)" if isinstance(inputs, Iterable) else "one, or a list, tuple or iterator of them"
    raise InputError(f"{describe(inputs)} is no input: give {hint}")


def _stream(run: Runner[Any, T], inputs: Iterator[Any], on_error: OnError) -> Generator[T | Failure]:
    with _closing(run(inputs)) as outcomes:
        for outcome in outcomes:
            yield _checked(outcome, on_error, [])


def _checked(outcome: T | Failure, on_error: OnError, results: list[T | Failure]) -> T | Failure:
    if isinstance(outcome, Failure) and on_error == "raise":
        outcome.error.results = list(results)
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
