"""A model opened: a copy of its own to listen to, and what its layers give, as maps over the picture."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import torch
from torch import Tensor, nn

from ..errors import CapabilityError, InputError
from ..models.catalog import nearest
from ..pipeline import Preprocess

_MOST_EXTRA_TOKENS: Final = 16
"""Tokens before those of the picture: the class's, and registers."""

_ASPECT: Final = math.log(1.5)
"""How far, as a logarithm, the shape of a map may be from that of the input; beyond it, it is no map."""

_SHOWN: Final = 8


@dataclass(frozen=True)
class Layer:
    """A layer whose output lies over the picture.

    Attributes:
        name: its path in the module.
        channels: what it tells at each place.
        grid_hw: rows and columns of places.
        layout: where the channels stand: (N, C, h, w), (N, h, w, C), or (N, T, C) of a transformer's tokens.
        skipped: tokens before those of the picture.
    """

    name: str
    channels: int
    grid_hw: tuple[int, int]
    layout: Literal["first", "last", "tokens"]
    skipped: int = 0

    def maps(self, output: Tensor) -> Tensor:
        """The layer's output, or a gradient of its shape, as (N, C, h, w)."""
        if self.layout == "first":
            return output
        if self.layout == "last":
            return output.permute(0, 3, 1, 2)
        tokens = output[:, self.skipped :].transpose(1, 2)
        return tokens.reshape(*tokens.shape[:2], *self.grid_hw)


class Opened:
    """A copy of a model with its layers open: plain float32, in evaluation mode, its weights held still.

    Attributes:
        name: the model's.
        module: all its layers.
        labels: (K,) names; none for a model that only embeds.
        preprocess: the model's.
        device: the model's.
        multi_label: several labels may be true at once.

    Raises:
        CapabilityError: the model has no layers to look into.
    """

    def __init__(self, model: Any) -> None:
        self.name = str(getattr(model, "name", type(model).__name__))
        if not hasattr(model, "plain_logits") and not hasattr(model, "plain_features"):
            raise CapabilityError(
                f"{self.name} cannot be looked into: it has no module of this machine; vk.wrap_model makes one of your "
                f"own a model"
            )
        with torch.inference_mode(mode=False):  # gradients flow through the copy, whatever the caller's mode
            self._twin = copy.deepcopy(model)  # hooks on the model itself would be heard by others who share it
        self.module: nn.Module = self._twin.module.requires_grad_(requires_grad=False).eval()
        self.labels: tuple[str, ...] = tuple(getattr(model, "labels", ()))
        self.preprocess: Preprocess = model.preprocess
        self.device: torch.device = model.device
        self.multi_label = bool(getattr(model, "multi_label", False))
        self._layers: tuple[Layer, ...] | None = None

    def run(self, pixels: Tensor) -> Tensor:
        """Logits (N, K), or features (N, D) of a model that only embeds, for normalised float32 pixels."""
        run = getattr(self._twin, "plain_logits", None) or self._twin.plain_features
        output: Tensor = run(pixels)
        return output

    def features(self, pixels: Tensor) -> Tensor:
        """Features (N, D), where the model gives them; else as `run`."""
        run = getattr(self._twin, "plain_features", None) or self._twin.plain_logits
        output: Tensor = run(pixels)
        return output

    def probabilities(self, pixels: Tensor) -> Tensor:
        """(N, K), without gradients."""
        with torch.no_grad():
            logits = self.run(pixels)
        return logits.sigmoid() if self.multi_label else logits.softmax(1)

    def gradients(self, value: Tensor, of: Sequence[Tensor]) -> list[Tensor | None]:
        """Of a number with respect to tensors; None for those that it does not hang on, or not by gradients."""
        flowing = [tensor for tensor in of if tensor.requires_grad]
        if not flowing or not value.requires_grad:
            return [None] * len(of)
        found = dict(zip(map(id, flowing), torch.autograd.grad(value, flowing, allow_unused=True), strict=True))
        return [found.get(id(tensor)) for tensor in of]

    @contextmanager
    def listening(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Within it, what the named layers gave when they last ran, in the order in which they did."""
        heard: dict[str, Any] = {}

        def hear(name: str) -> Any:
            def keep(_: nn.Module, __: Any, output: Any) -> None:
                heard.pop(name, None)
                heard[name] = output

            return keep

        layers = dict(self.module.named_modules())
        handles = [layers[name].register_forward_hook(hear(name)) for name in names]
        try:
            yield heard
        finally:
            for handle in handles:
                handle.remove()

    def noise(self, count: int) -> Tensor:
        """Inputs of noise, the same each time."""
        width, height = self.preprocess.size_wh
        generator = torch.Generator().manual_seed(0)
        with torch.inference_mode(mode=False):
            return torch.randn((count, 3, height, width), generator=generator).to(self.device)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that give maps, in the order in which they run."""
        if self._layers is None:
            names = [n for n, m in self.module.named_modules() if n and not isinstance(m, (nn.Dropout, nn.Softmax))]
            with self.listening(names) as heard, torch.no_grad():
                self.run(self.noise(2))
            self._layers = tuple(self._maps_among(heard))
        return self._layers

    def layer(self, name: object) -> Layer:
        """A layer by its path.

        Raises:
            InputError: none of that name gives maps; the nearest names are in the message.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in self.layers]
        if not names:
            raise InputError(f"{self.name} has no layer that gives maps over the picture")
        close = nearest(str(name), names)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"some are {', '.join(_spread(names))}"
        kind = "gives no maps over the picture" if name in [n for n, _ in self.module.named_modules()] else "is none"
        raise InputError(f"layer {name!r} of {self.name} {kind}; {hint}")

    def _maps_among(self, heard: dict[str, Any]) -> Iterator[Layer]:
        width, height = self.preprocess.size_wh
        modules = dict(self.module.named_modules())
        patches: list[tuple[int, int]] = []
        for name, output in heard.items():
            if not isinstance(output, Tensor) or len(output) != 2:
                continue
            if output.ndim == 4:
                layer = _of_images(name, tuple(output.shape), (height, width))
                if layer is not None:
                    patches.append(layer.grid_hw)
                    yield layer
            elif output.ndim == 3 and "norm" in type(modules[name]).__name__.lower():
                layer = _of_tokens(name, tuple(output.shape), patches)
                if layer is not None:
                    yield layer


def _of_images(name: str, shape: tuple[int, ...], input_hw: tuple[int, int]) -> Layer | None:
    if _lies_over(shape[2:], input_hw):
        return Layer(name, shape[1], (shape[2], shape[3]), "first")
    if _lies_over(shape[1:3], input_hw):
        return Layer(name, shape[3], (shape[1], shape[2]), "last")
    return None


def _lies_over(grid_hw: Sequence[int], input_hw: tuple[int, int]) -> bool:
    (rows, columns), (height, width) = grid_hw, input_hw
    if rows * columns < 2 or rows > height or columns > width:
        return False
    return abs(math.log(rows / columns * width / height)) <= _ASPECT


def _of_tokens(name: str, shape: tuple[int, ...], patches: list[tuple[int, int]]) -> Layer | None:
    """A transformer's tokens, one for each patch of the grid that a convolution cut, after some that are none."""
    count = shape[1]
    for grid_hw in reversed(patches):
        extra = count - grid_hw[0] * grid_hw[1]
        if 0 <= extra <= _MOST_EXTRA_TOKENS:
            return Layer(name, shape[2], grid_hw, "tokens", extra)
    return None


def _spread(names: list[str]) -> list[str]:
    """Some of the names, from first to last."""
    step = max(1, (len(names) - 1) / (_SHOWN - 1))
    return list(dict.fromkeys(names[min(len(names) - 1, round(i * step))] for i in range(_SHOWN)))


def plain_pixels(pixels: Tensor) -> Tensor:
    """A batch's pixels as float32 in memory of their own, which gradients may flow to."""
    with torch.inference_mode(mode=False):
        return pixels.detach().clone().float()


def target_of(opened: Opened, label: object) -> int:
    """The position of a label.

    Raises:
        InputError: it is none of the model's; the nearest names are in the message.
    """
    if label in opened.labels:
        return opened.labels.index(str(label))
    close = nearest(str(label), opened.labels)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"its first are {opened.labels[:5]}"
    raise InputError(f"label {label!r} is none of the {len(opened.labels)} of {opened.name}; {hint}")
