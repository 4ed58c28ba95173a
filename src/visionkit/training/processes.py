"""Who trains: this process alone; `several.py` has the same for one of several, which share every batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn

_Made = TypeVar("_Made")


class Joint:
    """One step of a training, made by one process alone."""

    def share(self, batch: Tensor) -> Tensor:
        """The pictures of a batch, int64 (B,), that this process learns from."""
        return batch

    def add_up(self, losses: list[Tensor]) -> list[Tensor]:
        """Makes the gradients, and the statistics that layers keep, those of all processes; gives the losses of all."""
        return losses


class Processes:
    """The processes of a training, of which this one is the only one.

    Attributes:
        rank: this one's number; 0 is the main process, which reads, writes and shows.
        count: how many there are.
        precision: of the arithmetic, as a launcher was asked for it; None: nothing was said.
    """

    rank = 0
    count = 1

    def __init__(self, precision: torch.dtype | None = None) -> None:
        self.precision = precision

    @property
    def main(self) -> bool:
        """Whether this is the main process."""
        return self.rank == 0

    def place(self, device: str | torch.device | None) -> str | torch.device | None:
        """Where this process trains, when that device is asked for."""
        return device

    def check_place(self, module: nn.Module, name: str) -> None:
        """Refuses a module that lies elsewhere."""

    def check_same(self, **said: Any) -> None:
        """Refuses to go on where the processes were not called alike."""

    def from_main(self, make: Callable[[], _Made]) -> _Made:
        """What the main process makes, in every process; the others wait for it."""
        return make()

    def fill_from_main(self, values: Tensor) -> None:
        """Fills a tensor on the CPU, row by row, with the main process's of the same shape."""

    def size_for_all(self, size: int, most: int) -> int:  # noqa: ARG002 - one process has all of the memory
        """The batch that all processes have memory for, where this one has it for `size`; at most `most`."""
        return size

    def purpose(self, name: str) -> str:
        """The name under which this process draws random numbers of its own."""
        return name

    def joint(self, module: nn.Module, pictures: int) -> Joint:  # noqa: ARG002 - one process needs to know neither
        """Begins a step of a module with so many pictures."""
        return Joint()

    def rows(self, count: int) -> slice:
        """The part of so many rows that this process answers for."""
        return slice(count)

    def all_rows(self, mine: Tensor, shape: tuple[int, int]) -> Tensor:  # noqa: ARG002 - these are all
        """The rows of all processes, float32 of that shape, from this one's."""
        return mine

    def told(self) -> dict[str, Any]:
        """What a training must go on with, as JSON values."""
        return told_of(1, self.precision)


ALONE: Final = Processes()


def told_of(count: int, precision: torch.dtype | None) -> dict[str, Any]:
    """See `Processes.told`: of one process without a launcher's precision nothing, which is what is not told."""
    told: dict[str, Any] = {"processes": count} if count > 1 else {}
    return told if precision is None else {**told, "mixed_precision": str(precision).removeprefix("torch.")}


UNTOLD: Final = {"processes": 1, "mixed_precision": None}
"""What `told_of` leaves out."""
