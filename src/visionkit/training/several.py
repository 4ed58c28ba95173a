"""One of several processes that train together: what they hand each other, and how all end where one fails.

All do the same, and meet before they exchange anything. One that failed says so when the others next meet, and they end
too; one that died is noticed there by its connection. So nobody waits for somebody who will not come.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, distributed, nn

from ..errors import InputError, TrainingError
from ..pipeline import choose_device
from .processes import Joint, Processes, told_of

_Made = TypeVar("_Made")

_PATIENCE: Final = timedelta(days=1)
"""How long one waits for another, which may compute the features of a million pictures."""

_AT_ONCE: Final = 2**28
"""Bytes that are handed over at once."""

_OTHER_WAYS: Final = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
}


class Several(Processes):
    """One of several processes, each with a copy of the network and a share of every batch.

    Args:
        accelerator: accelerate's, which knows the others.
        precision: see `Processes`.

    Attributes:
        device: where this one trains.
    """

    def __init__(self, accelerator: Any, precision: torch.dtype | None) -> None:
        super().__init__(precision)
        self.device = torch.device("cpu") if accelerator.device.type == "cpu" else accelerator.device  # not "cpu:0"
        self.rank = int(accelerator.process_index)
        self.count = int(accelerator.num_processes)
        self._accelerator = accelerator
        # Over the CPU, whatever the device: a GPU that computes need not be waited for. Of this training alone.
        self._group = distributed.new_group(backend="gloo", timeout=_PATIENCE)
        self._over = False

    def meet(self, failed: Exception | None = None) -> None:
        """Waits for all others, and tells them if this one failed.

        Raises:
            TrainingError: another one failed, or is gone.
        """
        any_failed = torch.tensor([failed is not None], dtype=torch.int32)
        self._exchange(distributed.all_reduce, any_failed, distributed.ReduceOp.MAX, self._group)
        if not any_failed:
            return
        reason = None if failed is None else f"{type(failed).__name__}: {failed}"
        reasons = self._all(reason)
        self._over = True
        rank, why = next((rank, why) for rank, why in enumerate(reasons) if why is not None)
        raise TrainingError(f"process {rank} of {self.count} failed, which ends all: {why}")

    def fail(self, error: Exception) -> None:
        """Tells the others that this one failed, when they next meet; unless they know."""
        if not self._over:
            with suppress(TrainingError):
                self.meet(error)
        self._over = True

    def close(self) -> None:
        """Ends the connections of this training."""
        distributed.destroy_process_group(self._group)

    def place(self, device: str | torch.device | None) -> str | torch.device | None:  # noqa: ARG002 - seen to in `several`
        """See `Processes`: each process has a device of its own."""
        return self.device

    def check_place(self, module: nn.Module, name: str) -> None:
        """See `Processes`.

        Raises:
            InputError: it lies elsewhere.
        """
        found = next((parameter.device for parameter in module.parameters()), self.device)
        if found != self.device:
            raise InputError(
                f"{name} is on {found}, and process {self.rank} of {self.count} trains on {self.device}: give the "
                f"model's name, or load it with device={str(self.device)!r} there"
            )

    def check_same(self, **said: Any) -> None:
        """See `Processes`.

        Raises:
            TrainingError: they were not.
        """
        self.meet()
        everyone = self._all(said)
        for rank, other in enumerate(everyone):
            for name, value in everyone[0].items():
                if other[name] != value:
                    raise TrainingError(
                        f"process {rank} was called with {name} {other[name]!r:.200}, the main process with "
                        f"{value!r:.200}: every process must make the same call on the same data"
                    )

    def from_main(self, make: Callable[[], _Made]) -> _Made:
        """See `Processes`."""
        made = [pickle.dumps(make()) if self.main else b""]
        self.meet()
        self._exchange(distributed.broadcast_object_list, made, src=0, group=self._group)
        found: _Made = pickle.loads(made[0])  # noqa: S301 - of a process of this training
        return found

    def fill_from_main(self, values: Tensor) -> None:
        """See `Processes`."""
        self.meet()
        rows = max(1, _AT_ONCE // max(1, values[:1].numel() * values.element_size()))
        for part in values.split(rows):
            sent = part.contiguous()
            self._exchange(distributed.broadcast, sent.reshape(-1).view(torch.uint8), src=0, group=self._group)
            if sent.data_ptr() != part.data_ptr():
                part.copy_(sent)

    def size_for_all(self, size: int, most: int) -> int:
        """See `Processes`."""
        self.meet()
        return min(most, int(min(self._all(size))) * self.count)

    def purpose(self, name: str) -> str:
        """See `Processes`."""
        return f"{name} of process {self.rank}"

    def joint(self, module: nn.Module, pictures: int) -> Joint:
        """See `Processes`."""
        return _JointOfSeveral(self, module, pictures)

    def share(self, batch: Tensor) -> Tensor:
        """See `Joint`: two pictures at least, as batch normalisation needs them, or none."""
        parts = max(1, min(self.count, len(batch) // 2))
        return batch.tensor_split(parts)[self.rank] if self.rank < parts else batch[:0]

    def rows(self, count: int) -> slice:
        """See `Processes`."""
        return slice(count * self.rank // self.count, count * (self.rank + 1) // self.count)

    def all_rows(self, mine: Tensor, shape: tuple[int, int]) -> Tensor:
        """See `Processes`."""
        whole = torch.zeros(shape, device=self.device)
        if len(mine):
            whole[self.rows(shape[0])] = mine
        return self.sum(whole)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes of a tensor on their devices, in its place."""
        self.meet()
        self._exchange(distributed.all_reduce, values, group=self._group if values.device.type == "cpu" else None)
        return values

    def told(self) -> dict[str, Any]:
        """See `Processes`."""
        return told_of(self.count, self.precision)

    def _all(self, value: Any) -> list[Any]:
        """The values of all processes, by their ranks."""
        values: list[Any] = [None] * self.count
        self._exchange(distributed.all_gather_object, values, value, group=self._group)
        return values

    def _exchange(self, exchange: Callable[..., object], *arguments: Any, **options: Any) -> None:
        try:
            exchange(*arguments, **options)
        except RuntimeError as err:  # of which torch's own for broken connections are kinds
            self._over = True
            raise TrainingError(
                f"process {self.rank} of {self.count} has lost another, which ends all; its own output says why: {err}"
            ) from err


class _JointOfSeveral(Joint):
    """A step of several processes.

    Args:
        processes: all of them.
        module: theirs.
        pictures: in the step, of all processes.
    """

    def __init__(self, processes: Several, module: nn.Module, pictures: int) -> None:
        self._processes = processes
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self._buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
        self._pictures = pictures
        self._mine = 0

    def share(self, batch: Tensor) -> Tensor:
        """See `Joint`."""
        share = self._processes.share(batch)
        self._mine += len(share)
        return share

    @torch.no_grad()
    def add_up(self, losses: list[Tensor]) -> list[Tensor]:
        """See `Joint`; torch's `DistributedDataParallel` would want as many pictures of every process as of another."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        there = losses[0].new_tensor([float(p.grad is not None) for p in self._parameters])
        moves = [self._move(buffer, before) for buffer, before in self._buffers]
        pieces = [*gradients, *moves, torch.stack(losses), there]
        wide = torch.float64 if any(piece.dtype == torch.float64 for piece in pieces) else torch.float32
        sums = self._processes.sum(torch.cat([piece.reshape(-1).to(wide) for piece in pieces]))
        *totals, losses_of_all, anywhere = sums.split([piece.numel() for piece in pieces])
        count = len(self._parameters)
        for parameter, total, known in zip(self._parameters, totals[:count], anywhere.tolist(), strict=True):
            if known:  # what has no gradient in any process keeps none: weight decay leaves it alone
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                parameter.grad.copy_(total.view_as(parameter))
        for (buffer, before), total in zip(self._buffers, totals[count:], strict=True):
            moved = total.view_as(buffer)
            whole = not buffer.is_floating_point()
            buffer.copy_(before.long() + moved.round().long() if whole else before + moved.to(before.dtype))
        return list(losses_of_all)

    def _move(self, buffer: Tensor, before: Tensor) -> Tensor:
        """What this process adds to a buffer: of statistics its part of the mean, of a counter the main one's all."""
        if not buffer.is_floating_point():
            return (buffer.long() - before.long()).float() * float(self._processes.main)
        moved = (buffer - before) * (self._mine / self._pictures)
        return torch.where(buffer == before, 0.0, moved)  # infinities that stay are no move


@contextmanager
def several(device: str | torch.device | None, precision: torch.dtype | None) -> Iterator[Several]:
    """The processes that a launcher started; see `launch.launched`."""
    found = Several(_accelerator(device), precision)
    try:
        yield found
        found.meet()
    except Exception as err:
        found.fail(err)
        raise
    finally:
        found.close()


def _accelerator(device: str | torch.device | None) -> Any:
    """Accelerate's view of this process and the others.

    Raises:
        InputError: several processes cannot train on that device.
        TrainingError: they cannot train in the way that the launcher was asked for.
    """
    wanted = choose_device(device)
    if str(wanted) not in ("cpu", "cuda"):
        raise InputError(
            f"several processes cannot train on {wanted}: give device='cuda', of which each has its own, or 'cpu'"
        )
    for name, way in _OTHER_WAYS.items():
        if os.environ.get(name, "").lower() in ("1", "true"):
            raise TrainingError(f"{way} is not offered: launch with --multi_gpu, where every process holds the network")
    from accelerate import Accelerator

    try:
        found = Accelerator(cpu=wanted.type == "cpu")
    except (RuntimeError, ValueError, NotImplementedError, OSError) as err:
        raise TrainingError(f"accelerate cannot bring the launched processes together: {err}") from err
    if found.device.type != wanted.type or found.num_processes < 2:
        raise TrainingError(
            f"accelerate sees {found.num_processes} process on {found.device}, where several were launched to train on "
            f"{wanted.type}: make no Accelerator before, or give device={found.device.type!r}"
        )
    return found
