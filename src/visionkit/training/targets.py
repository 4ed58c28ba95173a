"""Labels by name become numbers, in the order of the classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .labelled import Labelled


def targets_of(data: Labelled, classes: Sequence[str]) -> Tensor:
    """The classes' positions, int64 (N,); float (N, K) of 0 and 1 where a picture may have several."""
    position = {name: i for i, name in enumerate(classes)}
    if not data.multi_label:
        return torch.tensor([position[name] for [name] in data.names()], dtype=torch.int64)
    targets = torch.zeros(len(data), len(classes))
    for row, names in enumerate(data.names()):
        targets[row, [position[name] for name in names]] = 1.0
    return targets
