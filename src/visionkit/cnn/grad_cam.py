"""Grad-CAM: which places of the last feature map the answer hangs on.

Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization" (2017): the mean
gradient of the answer with respect to a channel tells how much that channel counts; the weighted sum of the channels,
where it is above zero, is the heat. For a transformer, its tokens stand for the places of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor

from ..errors import InputError, ModelError
from .looking import Layer, Opened

_LOOKED_AT: Final = 12
"""Layers from the end among which the one to look at is sought."""


def last_layer(opened: Opened) -> Layer:
    """The last layer with maps that the answer hangs on.

    Of a CNN that is what is pooled; of a transformer, the tokens that enter the last attention, as later only the
    class's own token counts.

    Raises:
        ModelError: there is none.
    """
    layers = opened.layers[-_LOOKED_AT:]
    if not layers:
        raise ModelError(f"{opened.name} has no layer that gives maps over the picture, which Grad-CAM looks at")
    for run in (opened.run, opened.features):  # a head that is still all zeros hangs on nothing
        for layer, gradient in zip(reversed(layers), reversed(_gradients(opened, run, layers)), strict=True):
            if gradient is not None and gradient.abs().max() > 0:
                return layer
    raise ModelError(
        f"{opened.name} lets no gradients flow from its answer to a layer that gives maps, which Grad-CAM looks at; "
        f"method='occlusion' needs none"
    )


def check_gradients(opened: Opened) -> None:
    """Refuses a network whose answer does not hang on its input by gradients.

    Raises:
        ModelError: it does not.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():
        pixels = opened.noise(1).requires_grad_()
        [gradient] = opened.gradients(opened.run(pixels).sum(), [pixels])
    if gradient is None:
        raise ModelError(
            f"{opened.name} lets no gradients flow from its answer to a picture; method='occlusion' needs none"
        )


def named_layer(opened: Opened, name: str) -> Layer:
    """A layer by its path, on which the answer hangs.

    Raises:
        InputError: none of that name gives maps; or no gradients flow to it.
    """
    layer = opened.layer(name)
    if _gradients(opened, opened.run, [layer])[0] is None:
        raise InputError(
            f"layer {name!r} of {opened.name}: no gradients flow to it from the answer; name another, or leave it out"
        )
    return layer


def _gradients(opened: Opened, run: Callable[[Tensor], Tensor], layers: Sequence[Layer]) -> list[Tensor | None]:
    """Of what `run` gives for noise with respect to the maps of each layer; None where it does not hang on one."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        with opened.listening([layer.name for layer in layers]) as heard:
            output = run(opened.noise(1).requires_grad_())
        weights = torch.randn(output.shape[1:], generator=torch.Generator().manual_seed(1)).to(output)
        found = opened.gradients((output * weights).sum(), [heard[layer.name] for layer in layers])
    return [None if part is None else layer.maps(part) for layer, part in zip(layers, found, strict=True)]


def grad_cam(opened: Opened, layer: Layer, pixels: Tensor, targets: Tensor) -> Tensor:
    """Heat (N, h, w) of at least 0, at the layer's own fineness; equal to captum's `LayerGradCam`.

    Args:
        opened: the model.
        layer: what to look at.
        pixels: float32 (N, 3, H, W), normalised.
        targets: int64 (N,), the class of each.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():
        with opened.listening([layer.name]) as heard:
            logits = opened.run(pixels.clone().requires_grad_())
        output = heard[layer.name]
        [gradient] = opened.gradients(logits.gather(1, targets[:, None]).sum(), [output])
    maps = layer.maps(output.detach())
    if gradient is None:  # for these pictures; `last_layer` and `named_layer` have seen some for noise
        return torch.zeros_like(maps[:, 0])
    weights = layer.maps(gradient).mean((2, 3), keepdim=True)
    return (weights * maps).sum(1).relu()
