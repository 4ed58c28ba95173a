"""Weights in safetensors, held against an architecture before a single tensor is made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from ..errors import ModelLoadError
from .folder import parse_json

_HEADER_BYTES: Final = 512
"""The most that a tensor's entry in the header takes beside its name; and the header's own beside the entries."""


def weights_bytes(state: Mapping[str, Tensor]) -> bytes:
    """A state dict as the bytes of a safetensors file."""
    from safetensors.torch import save

    # Clones: safetensors refuses tensors that share memory.
    return save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()})


def load_tensors(data: bytes, where: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file of ours, on the CPU.

    Raises:
        ModelLoadError: it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except SafetensorError as err:
        raise ModelLoadError(f"{where} is damaged: {str(err)[:200]}") from err


def most_bytes(state: Mapping[str, Tensor]) -> int:
    """The most that a file with these tensors can have."""
    return sum(v.numel() * v.element_size() for v in state.values()) + _most_header(state) + 8


def read_weights(data: bytes, state: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    """The tensors of a file, which must be those of `state`: the same names, shapes and types.

    Raises:
        ModelLoadError: they are others, or the file is damaged.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, _most_header(state)):
        raise ModelLoadError(f"{where}: the weights do not fit the architecture: the header has {length} bytes")
    try:
        header = parse_json(data[8 : 8 + length].decode(), where)
    except UnicodeDecodeError as err:
        raise ModelLoadError(f"{where} is no safetensors file") from err
    if not isinstance(header, dict):
        raise ModelLoadError(f"{where} is no safetensors file")
    header.pop("__metadata__", None)
    misfit = f"{where}: the weights do not fit the architecture"
    unlike = sorted(header.keys() ^ state.keys()) or [n for n in state if not _fits(header[n], state[n])]
    if unlike:
        raise ModelLoadError(f"{misfit}: {len(unlike)} tensors, the first {unlike[0]!r:.80}")
    tensors = load_tensors(data, where)
    for name, tensor in tensors.items():
        if tensor.dtype != state[name].dtype:
            raise ModelLoadError(f"{misfit}: {name!r:.80} is {tensor.dtype}, not {state[name].dtype}")
    return tensors


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal to the bit, NaN too."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    raw = [t.detach().cpu().contiguous().reshape(-1).view(torch.uint8) for t in (one, other)]
    return torch.equal(*raw)


def _most_header(state: Mapping[str, Tensor]) -> int:
    return sum(len(name.encode()) * 6 + _HEADER_BYTES for name in state) + _HEADER_BYTES


def _fits(entry: Any, tensor: Tensor) -> bool:
    return isinstance(entry, dict) and entry.get("shape") == list(tensor.shape)
