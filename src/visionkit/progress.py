"""One kind of progress bar: after two seconds, where someone is watching."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def bar(total: int | None, progress: bool | None, *, unit: str) -> tqdm[Any]:
    """A bar, to be used in a `with`; one that is not shown takes the same calls and does nothing.

    Args:
        total: how many units there are; None: nobody knows.
        progress: True shows it at once, False never, None after two seconds in a terminal or a notebook.
        unit: what is counted.
    """
    from tqdm import tqdm  # here: most calls need none

    class Bar(tqdm):  # type: ignore[misc,unused-ignore]  # tqdm has no types
        monitor_interval = 0  # no thread of tqdm's own, which would stay when the bar is gone

    shown = _watched() if progress is None else progress
    made: tqdm[Any] = Bar(total=total, unit=unit, delay=0 if progress else 2, disable=not shown)
    return made


def _watched() -> bool:
    """Whether what goes to `stderr` is seen as it comes: by a terminal or a notebook."""
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())
