"""Any `nn.Module` as a model: its logits, and its features for embedding and fine-tuning."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import InputError, ModelLoadError
from ..pipeline import Batch, Preprocess, choose_device, compute_dtype, full_precision
from .labels import check_labels

if TYPE_CHECKING:
    from .protocols import Classifier, ImageEmbedder


OUTPUT = ""
"""The name of the module itself among its layers: its output is the embedding."""


class ModuleEmbedder:
    """A module whose features are embeddings; satisfies `ImageEmbedder`, `HasModule` and `Savable`.

    Attributes:
        name: what results call it.
        module: the module, in evaluation mode, on `device`.
        preprocess: how it wants its pictures.
        device: where it runs.
        speed: "default" or "exact".
    """

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
        self.module = module.to(device, compute_dtype(device, speed)).eval()
        self._tap = Tap(self.module, features)
        self._features = features
        self._built_by = built_by

    def image_features(self, batch: Batch) -> Tensor:
        """What the features' layer gives, float32 (N, D); the module's output where it has no `Linear`."""
        with inference(self.device, self.speed), self._tap as seen:
            output = self.module(batch.pixels)
            return _as_vectors(seen.get("value", output), self.name)

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
    """

    def __init__(self, module: nn.Module, *, labels: Sequence[str], **settings: Any) -> None:
        super().__init__(module, **settings)
        self.labels = check_labels(labels)

    def class_logits(self, batch: Batch) -> Tensor:
        """The module's output, float32 (N, K).

        Raises:
            ModelLoadError: the module does not give one number for each label.
        """
        with inference(self.device, self.speed):
            logits = self.module(batch.pixels)
        if not isinstance(logits, Tensor) or logits.shape != (len(batch), len(self.labels)):
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelLoadError(
                f"{self.name} gives {got} for {len(batch)} pictures, but there are {len(self.labels)} labels"
            )
        return logits.float()


class Tap:
    """Catches the output of a named layer, or what enters the last `Linear`, while it is entered.

    Each thread catches its own, so that verbs may share a model. A deep copy of the module gets a tap of its own.
    """

    def __init__(self, module: nn.Module, layer: str | None) -> None:
        self._local = threading.local()
        layers = dict(module.named_modules())
        if layer is not None:
            if layer not in layers:
                known = ", ".join(list(layers)[1:9])
                raise InputError(f"features={layer!r} is no layer of the module; its first are: {known}")
            layers[layer].register_forward_hook(self._keep_output)
            return
        linears = [m for m in layers.values() if isinstance(m, nn.Linear)]
        if linears:
            linears[-1].register_forward_pre_hook(self._keep_input)

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
        twin._local = threading.local()  # noqa: SLF001 - a twin of this very class
        return twin


def _as_vectors(features: Any, name: str) -> Tensor:
    if isinstance(features, Tensor) and features.ndim == 4:
        features = features.mean((2, 3))
    if not isinstance(features, Tensor) or features.ndim != 2:
        got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ModelLoadError(f"the features of {name} are {got}, not (N, D); name another layer with features=")
    return features.float()


@contextmanager
def inference(device: torch.device, speed: str) -> Iterator[None]:
    """No gradients; and for speed="exact" no TF32 in convolutions, which CUDA otherwise uses."""
    with torch.inference_mode(), full_precision(device, speed):
        yield


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
        speed: "default" or "exact".

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
