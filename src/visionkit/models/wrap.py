"""Any `nn.Module` as a model: its logits, and its features for embedding and fine-tuning."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import InputError, ModelLoadError
from ..pipeline import Batch, Preprocess, choose_device
from .forms import Forms, inference
from .labels import check_labels
from .tap import Tap

if TYPE_CHECKING:
    from .protocols import Classifier, ImageEmbedder


OUTPUT = ""
"""The name of the module itself among its layers: its output is the embedding."""


class ModuleEmbedder:
    """A module whose features are embeddings; satisfies `ImageEmbedder`, `HasModule` and `Savable`.

    Attributes:
        name: what results call it.
        module: the module, plain float32, in evaluation mode, on `device`: to train, save and look into. What runs is
            its form: see `models.forms`.
        preprocess: how it wants its pictures.
        device: where it runs.
        speed: "default", "fast", "fastest" or "exact".
        training_record: how it was trained, where that is known; it is saved with the model.
    """

    training_record: dict[str, Any] | None = None

    def __init__(
        self,
        module: nn.Module,
        *,
        name: str,
        preprocess: Preprocess,
        features: str | None,
        device: torch.device,
        speed: str,
        built_by: dict[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.preprocess = preprocess
        self.device = device
        self.speed = speed
        self.module = module.to(device).float().eval()
        self._forms = Forms(device, speed)
        self._tap = Tap(self.module, features)
        self._features = features
        self._built_by = built_by

    def image_features(self, batch: Batch) -> Tensor:
        """What the features' layer gives, float32 (N, D); the module's output where it has no `Linear`.

        Raises:
            ModelLoadError: that layer was not run, or gives no vectors.
        """
        features = self._run(batch)[1]
        if features is None:
            raise ModelLoadError(
                f"the layer {self._tap.layer!r} of {self.name} is not run, so it gives no features; name another with "
                f"features="
            )
        return _as_vectors(features, self.name)

    def plain_features(self, pixels: Tensor) -> Tensor:
        """As `image_features`, for normalised float32 pixels, by the plain module itself: gradients flow."""
        return _as_vectors(self._forward(self.module, self._tap, pixels)[1], self.name)

    def plain_answers(self, pixels: Tensor) -> dict[str, Tensor]:
        """As `plain_features`, all that the module answers: "features", and of a classifier "logits"."""
        return {"features": self.plain_features(pixels)}

    def _run(self, batch: Batch) -> tuple[Any, Any]:
        with inference(self.device, self.speed):
            form = self._forms.of(self.module, self._tap, tuple(batch.pixels.shape[1:]), self._forward, batch.pixels)
            output, features = form.run(self._forward, batch.pixels)
        return output, features

    def calibrating(self) -> AbstractContextManager[None]:
        """For speed="fastest": within it pictures come by for int8 to learn from."""
        return self._forms.calibrating(self._forward)

    def _forward(self, module: Any, tap: Tap, pixels: Tensor) -> tuple[Any, Any]:
        """What the module gives for pixels, and the features; None where their layer was not run."""
        with tap as seen:
            output = module(pixels)
        return output, seen.get("value") if tap.layer is not None else output

    def architecture(self) -> dict[str, Any]:
        """See `Savable`: how it was built; a module of the user's own can only be given again."""
        if self._built_by is not None:
            return self._built_by
        return {
            "model": "wrapped:module",
            "options": {
                "features": self._features,
                "wrapped_name": self.name,
                "labels": list(self.labels) if isinstance(self, ModuleClassifier) else None,
                "preprocess": self.preprocess.to_dict(),
            },
        }

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.module.parameters())
        return f"{type(self).__name__}({self.name!r}, {count:,} parameters, {self.device}, {self.preprocess.size_wh})"


class ModuleClassifier(ModuleEmbedder):
    """A module with a class head; satisfies `Classifier` too.

    Attributes:
        labels: (K,) names, in the order of the module's output.
        temperature: what the module's output is divided by, so that probabilities are as right as they say.
        multi_label: whether a picture may have several of the labels, or none: a probability each.
    """

    temperature = 1.0
    multi_label = False

    def __init__(self, module: nn.Module, *, labels: Sequence[str], **settings: Any) -> None:
        super().__init__(module, **settings)
        self.labels = check_labels(labels)

    def class_logits(self, batch: Batch) -> Tensor:
        """The module's output over the temperature, float32 (N, K).

        Raises:
            ModelLoadError: the module does not give one number for each label.
        """
        logits = self._run(batch)[0]
        if not isinstance(logits, Tensor) or logits.shape != (len(batch), len(self.labels)):
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelLoadError(
                f"{self.name} gives {got} for {len(batch)} pictures, but there are {len(self.labels)} labels"
            )
        return logits.float() / self.temperature

    def plain_logits(self, pixels: Tensor) -> Tensor:
        """As `class_logits`, for normalised float32 pixels, by the plain module itself: gradients flow."""
        return _as_logits(self._forward(self.module, self._tap, pixels)[0], self.name) / self.temperature

    def plain_answers(self, pixels: Tensor) -> dict[str, Tensor]:
        """See `ModuleEmbedder`; the logits are before the temperature, and alone where features are no vectors."""
        output, features = self._forward(self.module, self._tap, pixels)
        logits = _as_logits(output, self.name)
        try:
            return {"logits": logits, "features": _as_vectors(features, self.name)}
        except ModelLoadError:
            return {"logits": logits}


def _as_logits(output: Any, name: str) -> Tensor:
    if not isinstance(output, Tensor) or output.ndim != 2:
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ModelLoadError(f"{name} gives {got}, not logits (N, K): wrap a module whose output is those alone")
    return output.float()


def _as_vectors(features: Any, name: str) -> Tensor:
    if isinstance(features, Tensor) and features.ndim == 4:
        features = features.mean((2, 3))
    if not isinstance(features, Tensor) or features.ndim != 2:
        got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ModelLoadError(f"the features of {name} are {got}, not (N, D); name another layer with features=")
    return features.float()


def wrap_model(
    module: nn.Module,
    *,
    preprocess: Preprocess,
    labels: Sequence[str] | None = None,
    features: str | None = None,
    name: str | None = None,
    device: str | torch.device | None = None,
    speed: str = "default",
) -> Classifier | ImageEmbedder:
    """Makes a module of your own a model: to classify, embed, fine-tune and save with.

    The module is copied: training or moving the model leaves yours as it is.

    Args:
        module: takes float (N, 3, height, width) of `preprocess` and gives logits (N, K), or features (N, D).
        preprocess: how it wants its pictures.
        labels: (K,) names of its classes; without them the model embeds only.
        features: the submodule whose output is the embedding; by default what enters the last `nn.Linear`, and without
            labels the module's output itself.
        name: what results call it; by default the class's name.
        device: see `pipeline.choose_device`.
        speed: "default", "fast", "fastest" or "exact"; see `load_model`.

    Raises:
        InputError: labels that repeat or are empty; a layer that is none.
    """
    if not isinstance(module, nn.Module):
        raise InputError(f"wrap_model takes a torch.nn.Module, not {type(module).__name__}")
    if not isinstance(preprocess, Preprocess):
        raise InputError(f"preprocess must be a vk.Preprocess, not {type(preprocess).__name__}")
    settings: dict[str, Any] = {
        "name": name or type(module).__name__,
        "preprocess": preprocess,
        "device": choose_device(device),
        "speed": speed,
    }
    if labels is None:
        return ModuleEmbedder(copy.deepcopy(module), features=features or OUTPUT, **settings)
    return ModuleClassifier(copy.deepcopy(module), labels=labels, features=features, **settings)


def load(
    name: str,
    *,
    device: str | torch.device | None,
    speed: str,
    preprocess: dict[str, Any],
    module: nn.Module | None = None,
    labels: Sequence[str] | None = None,
    features: str | None = None,
    wrapped_name: str | None = None,
) -> Classifier | ImageEmbedder:
    """Builds again, for a saved folder, what `wrap_model` made; the module must be given.

    Raises:
        ModelLoadError: `module` is missing.
    """
    if module is None:
        raise ModelLoadError(
            f"this folder holds the weights of a module of your own ({wrapped_name or name}), whose code it cannot "
            f"hold: give the module, vk.load_model(folder, module=MyModule())"
        )
    return wrap_model(
        module,
        preprocess=Preprocess.from_dict(preprocess),
        labels=labels,
        features=features,
        name=wrapped_name,
        device=device,
        speed=speed,
    )
