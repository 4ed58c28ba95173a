"""The one retry loop: the SDKs' own are off, since loops inside loops multiply."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, TypeVar

from .faults import Fault

T = TypeVar("T")

MAX_WAIT_SECONDS: Final = 60.0
"""A vendor that asks for a longer pause is not waited for: the caller is told at once, with how long."""

_FIRST_SECONDS: Final = 0.5
_LONGEST_SECONDS: Final = 8.0
_jitter = random.SystemRandom()  # not the shared generator: a call of ours must not shift a user's seeded numbers


def with_retries(
    attempt: Callable[[], T | Fault], max_attempts: int, wait: Callable[[float], bool]
) -> tuple[T | Fault, int]:
    """Tries up to `max_attempts` times, as long as another attempt may help.

    Args:
        attempt: gives what was wanted, or the fault.
        max_attempts: how often, the first included.
        wait: pauses for so many seconds; True: it was told to stop.

    Returns:
        What the last attempt gave, and how many there were.
    """
    number = 1
    while True:
        outcome = attempt()
        if not isinstance(outcome, Fault) or not outcome.retry or number >= max_attempts:
            return outcome, number
        pause = pause_seconds(outcome.retry_after_seconds, number)
        if pause is None or wait(pause):
            return outcome, number
        number += 1


def pause_seconds(retry_after_seconds: float | None, number: int) -> float | None:
    """How long to wait after attempt `number`, from 1: as the vendor asks, else 0.5 s, doubling, less up to a quarter.

    None when the vendor asks for more than `MAX_WAIT_SECONDS`.
    """
    if retry_after_seconds is not None:
        return retry_after_seconds if retry_after_seconds <= MAX_WAIT_SECONDS else None
    return min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** (number - 1)) * _jitter.uniform(0.75, 1.0)
