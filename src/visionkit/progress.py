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

    shown = progress if progress is not None else "ipykernel" in sys.modules or sys.stderr.isatty()
    return tqdm(total=total, unit=unit, delay=0 if progress else 2, disable=not shown)
