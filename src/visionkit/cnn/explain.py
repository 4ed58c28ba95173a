"""Explaining an answer: the heat of a picture by one of three methods, measured against chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from ..errors import Failure, InputError, ModelError
from ..extras import require
from ..images import Source
from ..pipeline import Batch, Batches
from ..results import Heatmap
from .faithfulness import blurred, faithfulness
from .grad_cam import check_gradients, grad_cam, last_layer, named_layer
from .looking import Layer, Opened, plain_pixels, target_of

METHODS: Final = ("grad_cam", "integrated_gradients", "occlusion")
_STEPS: Final = 32
"""Pictures between nothing and the whole, over which gradients are summed."""

_WINDOW: Final = 7
"""A window of occlusion is this part of the picture's side, and moves by half of its own."""

_AT_ONCE: Final = 16
_PEAK: Final = 0.995
"""Of the values of single pixels, this quantile counts as hottest: one pixel must not make the rest dark."""


class Explainer:
    """Explains the answers of one model, which it copies once.

    Args:
        model: a classifier with a module.
        method: "grad_cam", "integrated_gradients" or "occlusion".
        layer: for "grad_cam", the layer to look at; None: the last whose maps the answer hangs on.
        measured: whether to measure the faithfulness of each heat map, which costs 26 more answers.

    Raises:
        InputError: another method, `layer` with one that looks at none, no such layer, or one that the answer does not
            hang on.
        CapabilityError: the model has no layers to look into.
        ModelError: the model has no classes, no layer for Grad-CAM, or lets no gradients through.
        MissingExtraError: captum is not installed, and the method is not "grad_cam".
    """

    def __init__(
        self, model: Any, *, method: str = "grad_cam", layer: str | None = None, measured: bool = True
    ) -> None:
        if method not in METHODS:
            raise InputError(f"method={method!r} must be one of {', '.join(map(repr, METHODS))}")
        if layer is not None and method != "grad_cam":
            raise InputError(f"layer= goes with method='grad_cam'; {method!r} looks at the whole network")
        self.opened = Opened(model)
        if not self.opened.labels:
            raise ModelError(f"{self.opened.name} has no classes, so there is no answer to explain")
        self.method = method
        self.measured = measured
        self.layer: Layer | None = None
        if method == "grad_cam":
            self.layer = last_layer(self.opened) if layer is None else named_layer(self.opened, layer)
        else:
            require("captum.attr")
        if method == "integrated_gradients":
            check_gradients(self.opened)

    def check(self, label: str | None) -> None:
        """Refuses a label that the model lacks.

        Raises:
            InputError: its message has the nearest names.
        """
        if label is not None:
            target_of(self.opened, label)

    def __call__(self, image: Source, label: str | None = None) -> Heatmap:
        """The heat map of one picture, for a label or the model's own answer.

        Raises:
            InputError: the label is none of the model's, or the picture cannot be loaded.
            ModelError: the model's answer is no number.
        """
        opened = self.opened
        [batch] = Batches([image], opened.preprocess, device=opened.device, speed="exact")
        [found] = self.explain(batch, label)
        if isinstance(found, Failure):
            raise found.error
        return found

    def explain(self, batch: Batch, label: str | None = None) -> list[Heatmap | Failure]:
        """A heat map for each picture of a batch; a failure where the model's answer is no number.

        Raises:
            InputError: the label is none of the model's.
        """
        with torch.inference_mode(mode=False):
            return self._explain(batch, label)

    def _explain(self, batch: Batch, label: str | None) -> list[Heatmap | Failure]:
        opened, pixels = self.opened, plain_pixels(batch.pixels)
        given = None if label is None else target_of(opened, label)
        probabilities = opened.probabilities(pixels)
        targets = probabilities.argmax(1) if given is None else torch.full((len(batch),), given, device=pixels.device)
        heat = self._heat(pixels, targets)
        numbers = (probabilities.isfinite().all(1) & heat.isfinite().flatten(1).all(1)).tolist()

        def found(i: int, target: int) -> Heatmap | Failure:
            source = batch.sources[i]
            if not numbers[i]:
                return Failure(source, batch.indices[i], ModelError(f"{opened.name} gives NaN for {source}"))
            return Heatmap(
                heat=heat[i].cpu().numpy(),
                fit=batch.fits[i],
                label=opened.labels[target],
                score=float(probabilities[i, target]),
                method=self.method,
                layer=None if self.layer is None else self.layer.name,
                faithfulness=faithfulness(opened, pixels[i], heat[i], target) if self.measured else None,
                model=opened.name,
                source=source,
            )

        return [found(i, target) for i, target in enumerate(targets.tolist())]

    def _heat(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """(N, h, w) in 0–1."""
        if self.layer is not None:
            heat = grad_cam(self.opened, self.layer, pixels, targets)
            return heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)
        heat = _BY_CAPTUM[self.method](self.opened, pixels, targets).float()
        peaks = torch.stack([one.flatten().quantile(_PEAK) for one in heat])  # torch takes 2**24 values at once
        return (heat / peaks[:, None, None].clamp_min(1e-12)).clamp(0, 1)


def _integrated_gradients(opened: Opened, pixels: Tensor, targets: Tensor) -> Tensor:
    """Sundararajan et al., "Axiomatic attribution for deep networks" (2017): from blurred to sharp."""
    attribution = (
        require("captum.attr")
        .IntegratedGradients(opened.run)
        .attribute(
            pixels,
            baselines=blurred(pixels),
            target=targets,
            n_steps=_STEPS,
            internal_batch_size=max(_AT_ONCE, len(pixels)),
        )
    )
    heat: Tensor = attribution.detach().sum(1).relu()
    return heat


def _occlusion(opened: Opened, pixels: Tensor, targets: Tensor) -> Tensor:
    """Zeiler and Fergus, "Visualizing and understanding convolutional networks" (2014): what is lost without a part."""
    channels, height, width = pixels.shape[1:]
    window = max(1, height // _WINDOW), max(1, width // _WINDOW)
    with torch.no_grad():
        heat: Tensor = (
            require("captum.attr")
            .Occlusion(opened.run)
            .attribute(
                pixels,
                sliding_window_shapes=(channels, *window),
                strides=(channels, max(1, window[0] // 2), max(1, window[1] // 2)),
                baselines=blurred(pixels),
                target=targets,
                perturbations_per_eval=max(1, _AT_ONCE // len(pixels)),
            )
            .mean(1)
            .relu()
        )
    return heat


_BY_CAPTUM: Final[dict[str, Callable[[Opened, Tensor, Tensor], Tensor]]] = {
    "integrated_gradients": _integrated_gradients,
    "occlusion": _occlusion,
}
