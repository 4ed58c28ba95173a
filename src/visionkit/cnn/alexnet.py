"""`AlexNet`: the network with which deep learning took over computer vision."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from ..errors import InputError

_ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


class AlexNet(nn.Module):
    """Five convolutions and three linear layers, as in 2012, in the form for one GPU that torchvision has too.

    Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks" (2012), halved
    the errors on ImageNet with the idea of LeNet (1998), made larger, and with what let a network of that size learn:
    ReLU, whose gradient does not fade as that of a sigmoid does; dropout, which switches off half of the units of the
    large linear layers at random in each step, so that none relies on another; and augmentation. The layers are those
    of Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (2014), without the local response
    normalisation that later work found needless. Large filters of 11×11 at a stride of 4 first, then smaller ones, then
    4,096 features. The pictures must have at least 63 pixels a side; 224 are usual.

    Args:
        num_classes: classes to tell apart; 61,100,840 parameters at the defaults.
        in_channels: channels of the picture.
        activation: "relu", or "sigmoid" as networks had before.
        dropout: the part of the features that is switched off in training, from 0 up to but not including 1.
        width: a factor for the number of channels and features, for experiments at less cost.

    Raises:
        InputError: a number that makes no sense, or another activation.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        activation: Literal["relu", "sigmoid"] = "relu",
        dropout: float = 0.5,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if num_classes < 1 or in_channels < 1 or activation not in _ACTIVATIONS or not 0 <= dropout < 1 or width <= 0:
            raise InputError(
                f"AlexNet needs num_classes ≥ 1, in_channels ≥ 1, activation 'relu' or 'sigmoid', 0 ≤ dropout < 1 and "
                f"width > 0, not {num_classes}, {in_channels}, {activation!r}, {dropout}, {width}"
            )
        self._options = {
            "num_classes": num_classes,
            "in_channels": in_channels,
            "activation": activation,
            "dropout": dropout,
            "width": width,
        }
        active = _ACTIVATIONS[activation]
        first, second, third, fourth, features = (max(1, round(n * width)) for n in (64, 192, 384, 256, 4096))
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, first, 11, stride=4, padding=2),
            active(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(first, second, 5, padding=2),
            active(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(second, third, 3, padding=1),
            active(),
            nn.Conv2d(third, fourth, 3, padding=1),
            active(),
            nn.Conv2d(fourth, fourth, 3, padding=1),
            active(),
            nn.MaxPool2d(3, 2),
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(6), nn.Flatten())
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(fourth * 36, features),
            active(),
            nn.Dropout(dropout),
            nn.Linear(features, features),
            active(),
        )
        self.head = nn.Linear(features, num_classes)

    def architecture(self) -> dict[str, Any]:
        """How to build it again: see `models.protocols.Savable`."""
        return {"model": "visionkit:alexnet", "options": {"pretrained": False, **self._options}}

    def forward(self, pixels: Tensor) -> Tensor:
        """Float (N, in_channels, H, W), normalised → logits (N, num_classes)."""
        logits: Tensor = self.head(self.classifier(self.pool(self.features(pixels))))
        return logits
