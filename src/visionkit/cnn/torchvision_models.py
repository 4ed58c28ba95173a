"""`torchvision:` names: the classifiers of torchvision, with ImageNet weights or random ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from ..errors import InputError, ModelNotFoundError
from ..models.catalog import nearest
from ..models.hub import fetching
from ..models.wrap import ModuleClassifier
from ..pipeline import Preprocess, choose_device
from .imagenet import imagenet_labels

if TYPE_CHECKING:
    from ..pipeline.preprocess import Interpolation

_WITH_WEIGHTS: Final = {"googlenet": {"transform_input": True}, "inception_v3": {"transform_input": True}}
"""What torchvision's builders set when they are given weights."""


def load(
    name: str,
    *,
    device: str | torch.device | None,
    speed: str,
    pretrained: bool = True,
    num_classes: int = 1000,
    transform_input: bool | None = None,
) -> ModuleClassifier:
    """Builds a classifier of torchvision, with its own best weights and the transform that goes with them.

    Args:
        name: as `torchvision.models.list_models` has it: "resnet50".
        device: see `choose_device`.
        speed: "default", "fast", "fastest" or "exact"; see `load_model`.
        pretrained: with ImageNet weights, fetched once; False: random weights, nothing is fetched.
        num_classes: of random weights.
        transform_input: of googlenet and inception_v3: whether they normalise once more, as their weights want.

    Raises:
        ModelNotFoundError: another name, or the weights cannot be fetched.
        InputError: another number of classes than the weights have.
    """
    import torchvision
    from torchvision.models import get_model, get_model_weights, list_models

    known = list_models(module=torchvision.models)
    if name not in known:
        close = nearest(name, known)
        hint = f"; did you mean {' or '.join(f'torchvision:{c}' for c in close)}?" if close else ""
        raise ModelNotFoundError(f"torchvision has no classifier {name!r}{hint}")
    if pretrained and num_classes != 1000:
        raise InputError(f"torchvision's weights of {name} have 1,000 classes, not {num_classes}; use vk.fine_tune")
    weights = get_model_weights(name).DEFAULT
    settings: dict[str, Any] = dict(_WITH_WEIGHTS.get(name, {})) if pretrained else {}
    if transform_input is not None:
        settings["transform_input"] = transform_input
    if name in _WITH_WEIGHTS:
        settings["init_weights"] = not pretrained  # left open, torchvision warns
    if name.startswith("vit_"):  # built for one size, that of the transform
        settings["image_size"] = weights.transforms().crop_size[0]
    network = get_model(name, weights=None, num_classes=num_classes, **settings)
    if pretrained:
        file = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
        with fetching(
            f"torchvision:{name}",
            source=weights.url,
            ahead=f"load it once with a network, which leaves it in {file.parent}",
            megabytes=weights.meta["_file_size"],
            cached=file.exists(),
        ):
            network.load_state_dict(weights.get_state_dict(progress=False, check_hash=True, weights_only=True))
    options: dict[str, Any] = {"pretrained": False, "num_classes": num_classes}
    if "transform_input" in settings:
        options["transform_input"] = settings["transform_input"]
    return ModuleClassifier(
        network,
        labels=imagenet_labels() if num_classes == 1000 else [f"class {i}" for i in range(num_classes)],
        name=f"torchvision:{name}",
        preprocess=_preprocess(weights.transforms()),
        features=None,
        device=choose_device(device),
        speed=speed,
        built_by={"model": f"torchvision:{name}", "options": options},
    )


def _preprocess(transform: Any) -> Preprocess:
    """Torchvision's `ImageClassification` preset as ours."""
    interpolation: Interpolation = transform.interpolation.value
    crop, short = transform.crop_size[0], transform.resize_size[0]
    return Preprocess(
        size_wh=(crop, crop),
        resize_to=short,
        interpolation=interpolation,
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )
