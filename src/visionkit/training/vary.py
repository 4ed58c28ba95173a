"""How pictures are changed at random while they are learnt."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ..pipeline.augment import augment, check_policy, mix
from .loop import Vary


def varying(policy: str, classes: int) -> Vary | None:
    """What changes the pictures of each batch by a policy; "strong" also mixes pictures and their targets.

    Raises:
        InputError: no such policy.
    """
    check_policy(policy)
    if policy == "none":
        return None

    def vary(pixels: Tensor, targets: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        changed = augment(pixels, policy, draw)
        if policy != "strong":
            return changed, targets
        shares = targets if targets.is_floating_point() else functional.one_hot(targets, classes).float()
        return mix(changed, shares, draw)

    return vary
