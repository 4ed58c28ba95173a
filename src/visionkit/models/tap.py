"""`Tap`: catches what a layer of a module gives while the module runs."""

from __future__ import annotations

import threading
from typing import Any

from torch import nn

from ..errors import InputError


class Tap:
    """Catches the output of a named layer, or what enters the last `Linear`, while it is entered.

    Attributes:
        layer: the layer's name; None where there is no `Linear`.

    Each thread catches its own, so that verbs may share a model. A deep copy of the module gets a tap of its own.
    """

    def __init__(self, module: nn.Module, layer: str | None) -> None:
        self._local = threading.local()
        self.layer: str | None = None
        layers = dict(module.named_modules())
        if layer is not None:
            if layer not in layers:
                known = ", ".join(list(layers)[1:9])
                raise InputError(f"features={layer!r} is no layer of the module; its first are: {known}")
            self.layer = layer
            layers[layer].register_forward_hook(self._keep_output)
            return
        linears = [name for name, m in layers.items() if isinstance(m, nn.Linear)]
        if linears:
            self.layer = linears[-1]
            layers[self.layer].register_forward_pre_hook(self._keep_input)

    def _keep_output(self, _: nn.Module, __: Any, output: Any) -> None:
        self._keep(output)

    def _keep_input(self, _: nn.Module, args: tuple[Any, ...]) -> None:
        self._keep(args[0])

    def _keep(self, value: Any) -> None:
        seen = getattr(self._local, "seen", None)
        if seen is not None:
            seen["value"] = value

    def __enter__(self) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        self._local.seen = seen
        return seen

    def __exit__(self, *_: object) -> None:
        self._local.seen = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Tap:
        twin = Tap.__new__(Tap)
        memo[id(self)] = twin
        twin.layer = self.layer
        twin._local = threading.local()  # noqa: SLF001 - a twin of this very class
        return twin
