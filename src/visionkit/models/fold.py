"""Folding: a convolution and the batch normalisation after it are one convolution with other weights.

Ioffe and Szegedy, "Batch normalization" (2015): in evaluation it is a scale and a shift for each channel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.nn.utils.parametrize import is_parametrized


def conv_norm_pairs(module: nn.Module, run: Callable[[], tuple[Any, ...]]) -> tuple[list[tuple[str, str]], Any]:
    """Runs a module once, and finds the convolutions whose output is what a batch normalisation takes.

    Found by what flows, not by what stands beside what: the order of registration says nothing of the order of use.

    Returns:
        Names (convolution, normalisation), both used once; and what `run` gave.
    """
    flow = _Flow()
    handles = [handle for name, layer in module.named_modules() for handle in flow.listen(name, layer)]
    try:
        output = run()
    finally:
        for handle in handles:
            handle.remove()
    return flow.pairs(), output


class _Flow:
    """Notes which convolution's output each batch normalisation takes."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[str, Any]] = {}  # the output is kept, so that its address is not used again
        self._calls: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._pairs: list[tuple[str, str]] = []

    def listen(self, name: str, layer: nn.Module) -> Iterator[Any]:
        """Hooks a layer that could be one of a pair."""
        if layer._forward_hooks or layer._forward_pre_hooks:  # noqa: SLF001 - what others hear must stay what it is
            return
        if isinstance(layer, nn.Conv2d) and not is_parametrized(layer) and not hasattr(layer, "weight_g"):
            yield layer.register_forward_hook(lambda _, __, output: self._after(name, output))
        elif isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and _what_stays(layer) is not None:
            yield layer.register_forward_pre_hook(lambda _, args: self._before(name, args))

    def pairs(self) -> list[tuple[str, str]]:
        return [(c, n) for c, n in self._pairs if self._calls[c] == self._calls[n] == self._taken[c] == 1]

    def _after(self, name: str, output: Any) -> None:
        self._calls[name] += 1
        self._made[id(output)] = (name, output)

    def _before(self, name: str, args: tuple[Any, ...]) -> None:
        self._calls[name] += 1
        if args and id(args[0]) in self._made:
            source = self._made[id(args[0])][0]
            self._taken[source] += 1
            self._pairs.append((source, name))


def fold(module: nn.Module, pairs: list[tuple[str, str]]) -> None:
    """Folds each pair in place."""
    for conv_name, norm_name in pairs:
        conv: Any = module.get_submodule(conv_name)
        norm: Any = module.get_submodule(norm_name)
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        parent, _, leaf = norm_name.rpartition(".")
        setattr(module.get_submodule(parent), leaf, _what_stays(norm))


def _what_stays(norm: nn.Module) -> nn.Module | None:
    """What a batch normalisation does beside its scale and shift; None where that is not known."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    drop, act = getattr(norm, "drop", None), getattr(norm, "act", None)  # timm's BatchNormAct2d
    return nn.Sequential(drop, act) if isinstance(drop, nn.Module) and isinstance(act, nn.Module) else None
