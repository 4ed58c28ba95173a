"""Loading without the progress bars of libraries, which flash by for a blink; downloads keep theirs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def no_bars(*logs: Any) -> Iterator[None]:
    """Switches bars off, and on again those that were on.

    Whoever has set the hub's variable has decided already: transformers' switch is the hub's too.

    Args:
        logs: modules with the switch: `transformers.utils.logging`, `diffusers.utils.logging`.
    """
    if "HF_HUB_DISABLE_PROGRESS_BARS" in os.environ:
        logs = tuple(log for log in logs if not log.__name__.startswith("transformers."))
    switched = [log for log in logs if log.is_progress_bar_enabled()]
    for log in switched:
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log in switched:
            log.enable_progress_bar()
