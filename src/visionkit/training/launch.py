"""Whether `accelerate launch` started this process alone or with others, and how to train."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from ..errors import TrainingError
from .processes import Processes

PRECISIONS: Final = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}
"""What `--mixed_precision` may be → the precision of the arithmetic; None: nothing is said."""

_PRECISION: Final = "ACCELERATE_MIXED_PRECISION"
_SIZES: Final = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
"""Where it stands how many processes there are."""


@contextmanager
def launched(device: str | torch.device | None) -> Iterator[Processes]:
    """This process, or all that a launcher started: within it, an error in one of them ends all.

    Args:
        device: see `choose_device`.

    Raises:
        InputError: several processes cannot train there.
        TrainingError: they cannot train in the way, or the precision, that the launcher was asked for; another failed.
    """
    said = os.environ.get(_PRECISION, "no").lower()
    if said not in PRECISIONS:
        raise TrainingError(f"--mixed_precision {said} is not offered: launch with one of {', '.join(PRECISIONS)}")
    if not _with_others():
        yield Processes(PRECISIONS[said])
        return
    from .several import several  # here: it needs accelerate

    with several(device, PRECISIONS[said]) as found:
        yield found


def _with_others() -> bool:
    """Whether `accelerate launch` started more processes than this one.

    Other launchers say how many there are, too; theirs may each train a network of their own.
    """
    if _PRECISION not in os.environ:  # accelerate's always sets it
        return False
    return any(size.isdigit() and int(size) > 1 for size in (os.environ.get(name, "") for name in _SIZES))
