"""LoRA: beside each large matrix of a network, two small ones are trained, then merged into it (Hu et al., 2021)."""

from __future__ import annotations

from typing import Any, Final

from torch import nn

from ..errors import CapabilityError
from ..extras import require

RANK: Final = 8
ALPHA: Final = 16
"""What the small matrices' product is scaled by, over the rank."""


def add_lora(module: nn.Module, used: set[int], name: str) -> list[nn.Parameter]:
    """Puts small matrices beside the linear layers and convolutions of a module, in place.

    Args:
        module: of any kind.
        used: the ids of the parameters that the features depend on.
        name: what an error calls the module.

    Returns:
        The new parameters.

    Raises:
        CapabilityError: it has none of these layers.
        MissingExtraError: peft is not installed.
    """
    peft: Any = require("peft")
    attention = [m for m in module.modules() if isinstance(m, nn.MultiheadAttention)]  # takes its matrices by itself
    within = {id(part) for m in attention for part in m.modules()}
    targets = [
        place
        for place, layer in module.named_modules()
        if _fits(layer) and id(layer.weight) in used and id(layer) not in within
    ]
    if not targets:
        raise CapabilityError(f"{name} has no linear layer or plain convolution for LoRA: train 'all' or 'last:N'")
    before = {id(parameter) for parameter in module.parameters()}
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets, bias="none")
    peft.inject_adapter_in_model(config, module)
    return [parameter for parameter in module.parameters() if id(parameter) not in before]


def merge_lora(module: nn.Module) -> None:
    """Adds what was learnt to the matrices themselves, so that the module is what it was, with other weights."""
    lora: Any = require("peft.tuners.lora")
    for place, layer in list(module.named_modules()):
        if isinstance(layer, lora.LoraLayer):
            layer.merge()
            parent, _, last = place.rpartition(".")
            setattr(module.get_submodule(parent), last, layer.get_base_layer())


def _fits(layer: Any) -> bool:
    if layer._forward_hooks:  # noqa: SLF001 - who listens to its output would miss what is added
        return False
    return type(layer) is nn.Linear or (type(layer) is nn.Conv2d and layer.groups == 1)
