"""Where a model runs, and in which precision."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Final

import torch

from ..errors import InputError

SPEEDS: Final = ("default", "exact", "fast", "fastest")


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """The device to run on: the one given, else `VISIONKIT_DEVICE`, else CUDA, then MPS, then the CPU.

    Raises:
        InputError: no such device, or not on this machine.
    """
    wanted = device if device is not None else os.environ.get("VISIONKIT_DEVICE") or None
    if wanted is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(wanted)
    except (RuntimeError, TypeError) as err:
        raise InputError(f"device {str(wanted)!r:.80} is none: give 'cpu', 'cuda', 'cuda:1' or 'mps'") from err
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    numbered = chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count()
    if not there.get(chosen.type, False) or numbered:
        raise InputError(f"device {str(wanted)!r} is not on this machine; leave device=None to choose one that is")
    return chosen


def check_speed(speed: str) -> None:
    """Refuses a speed that is none.

    Raises:
        InputError: not one of `SPEEDS`.
    """
    if speed not in SPEEDS:
        raise InputError(f"speed {speed!r} is not offered; choose one of {', '.join(map(repr, SPEEDS))}")


def full_precision(device: torch.device, speed: str) -> AbstractContextManager[None]:
    """For speed="exact" on CUDA: no TF32 in convolutions, which it otherwise uses; else nothing."""
    if speed != "exact" or device.type != "cuda":
        return nullcontext()
    return _without_tf32()


_flags = threading.RLock()


@contextmanager
def _without_tf32() -> Iterator[None]:
    cudnn = torch.backends.cudnn
    # the flags are the process's: a second caller that came between would put back the wrong ones
    with (
        _flags,
        cudnn.flags(  # it would switch off what is not named
            enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
        ),
    ):
        yield


def compute_dtype(device: torch.device, speed: str) -> torch.dtype:
    """The precision of a batch's pixels: half on a GPU by default, float32 on a CPU or with speed="exact"."""
    check_speed(speed)
    if speed == "exact" or device.type == "cpu":
        return torch.float32
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float16


def weights_dtype(device: torch.device, speed: str) -> torch.dtype:
    """The precision of a module's weights: `compute_dtype`, but for speed="fast" on a CPU bfloat16, where it has it."""
    if speed == "fast" and device.type == "cpu" and has_bfloat16():
        return torch.bfloat16
    return compute_dtype(device, speed)


@lru_cache(maxsize=1)
def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; where it must be emulated, float32 is faster."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        features: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch has it not
        return any(features.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - torch has no public question
