"""A linear head over any embedder: the frozen features once, then a classifier in seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import CapabilityError
from ..models.labels import check_labels
from ..models.protocols import Savable
from ..models.saved import rebuild

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..models.protocols import ImageEmbedder
    from ..pipeline import Batch


class HeadClassifier:
    """An embedder with a linear head on its features; satisfies `Classifier`, `ImageEmbedder` and `Savable`.

    Attributes:
        name: what results call it.
        embedder: gives the features.
        head: features (N, D) → logits (N, K), float32.
        labels: (K,) names.
        temperature: what the head's output is divided by, so that probabilities are as right as they say.
        multi_label: whether a picture may have several of the labels, or none: a probability each.
        training_record: how it was trained, where that is known; it is saved with the model.
        preprocess, device, speed: the embedder's.
    """

    temperature = 1.0
    multi_label = False
    training_record: dict[str, Any] | None = None

    def __init__(self, embedder: ImageEmbedder, head: nn.Linear, labels: Sequence[str]) -> None:
        self.embedder = embedder
        self.device = embedder.device
        self.head = head.to(self.device).eval()
        self.labels = check_labels(labels)
        self.name = f"{embedder.name} + head"
        self.preprocess = embedder.preprocess
        self.speed = embedder.speed

    def image_features(self, batch: Batch) -> Tensor:
        """The embedder's."""
        return self.embedder.image_features(batch)

    def class_logits(self, batch: Batch) -> Tensor:
        """The head's output over the temperature, float32 (N, K)."""
        with torch.inference_mode():
            logits: Tensor = self.head(self.embedder.image_features(batch).float())
        return logits / self.temperature

    def plain_logits(self, pixels: Tensor) -> Tensor:
        """As `class_logits`, for normalised float32 pixels, by the plain modules themselves: gradients flow.

        Raises:
            CapabilityError: the embedder's module cannot be run so.
        """
        embedder: Any = self.embedder
        if not hasattr(embedder, "plain_features"):
            raise CapabilityError(f"{embedder.name} cannot be looked into: it has no plain_features()")
        logits: Tensor = self.head(embedder.plain_features(pixels))
        return logits / self.temperature

    def plain_answers(self, pixels: Tensor) -> dict[str, Tensor]:
        """For normalised float32 pixels, by the plain modules: "features", and "logits" before the temperature.

        Raises:
            CapabilityError: the embedder has no module.
        """
        plain: Any = getattr(self.embedder, "plain_features", None)
        if plain is None:
            raise CapabilityError(f"{self.embedder.name} has no plain module that gives its features")
        features: Tensor = plain(pixels)
        return {"logits": self.head(features.float()), "features": features}

    @property
    def module(self) -> nn.Module:
        """Backbone and head as one module, for their weights."""
        return nn.ModuleDict({"backbone": self._savable().module, "head": self.head})

    def architecture(self) -> dict[str, Any]:
        """See `Savable`."""
        options = {
            "embedder": self._savable().architecture(),
            "in_features": self.head.in_features,
            "num_classes": self.head.out_features,
        }
        return {"model": "head:linear", "options": options}

    def _savable(self) -> Savable:
        if not isinstance(self.embedder, Savable):
            raise CapabilityError(
                f"a head over {self.embedder.name} cannot be saved: that model has no module and architecture()"
            )
        return self.embedder

    def __repr__(self) -> str:
        return f"HeadClassifier({self.name!r}, {len(self.labels)} labels, {self.device})"


def load(
    name: str,  # noqa: ARG001 - every loader takes the name after the colon
    *,
    device: str | torch.device | None,
    speed: str,
    embedder: dict[str, Any],
    in_features: int,
    num_classes: int,
    module: nn.Module | None = None,
) -> HeadClassifier:
    """Builds again what a saved folder names; the weights are filled in after.

    Args:
        name: "linear".
        device: see `choose_device`.
        speed: "default" or "exact".
        embedder: the embedder's `architecture()`.
        in_features: D.
        num_classes: K.
        module: where the embedder is a module of the user's own.
    """
    backbone = rebuild(embedder, device=device, speed=speed, module=module)
    return HeadClassifier(backbone, nn.Linear(in_features, num_classes), [f"class {i}" for i in range(num_classes)])
