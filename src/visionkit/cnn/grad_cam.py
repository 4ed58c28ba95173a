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

from ..errors import ModelError
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
    for run in (opened.run, opened.features):  # a head that is still all zeros hangs on nothing
        for layer, gradient in zip(reversed(layers), reversed(_gradients(opened, run, layers)), strict=True):
            if gradient.abs().max() > 0:
                return layer
    raise ModelError(f"{opened.name} has no layer that gives maps over the picture, which Grad-CAM looks at")


def _gradients(opened: Opened, run: Callable[[Tensor], Tensor], layers: Sequence[Layer]) -> list[Tensor]:
    """Of what `run` gives for noise with respect to the maps of each layer, 0 where it does not hang on them."""
    if not layers:
        return []
    with torch.inference_mode(mode=False), torch.enable_grad():
        with opened.listening([layer.name for layer in layers]) as heard:
            output = run(opened.noise(1).requires_grad_())
        weights = torch.randn(output.shape[1:], generator=torch.Generator().manual_seed(1)).to(output)
        outputs = [heard[layer.name] for layer in layers]
        gradients = torch.autograd.grad((output * weights).sum(), outputs, allow_unused=True, materialize_grads=True)
    return [layer.maps(gradient) for layer, gradient in zip(layers, gradients, strict=True)]


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
        [gradient] = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), output)
    maps = layer.maps(output.detach())
    weights = layer.maps(gradient).mean((2, 3), keepdim=True)
    return (weights * maps).sum(1).relu()
