"""`SimpleCNN`: the smallest network that shows how convolutional networks see."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from ..errors import InputError

_ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


class SimpleCNN(nn.Module):
    """Three 3×3 convolutions, of 32, 64 and 128 channels, and a linear head.

    A convolution slides small filters over the picture: the first finds edges, the next corners and textures of those,
    the third parts. After the first two, max-pooling keeps the strongest answer of each 2×2 square; after the third,
    the average over the whole picture tells how much of each part is there, wherever it is, and the linear head weighs
    the parts for each class. Any input size works. After LeCun et al., "Gradient-based learning applied to document
    recognition" (1998), with global average pooling as in Lin et al., "Network in network" (2013).

    Args:
        num_classes: classes to tell apart; 94,538 parameters at the defaults.
        in_channels: channels of the picture.
        activation: "relu", or "sigmoid" as networks had before.

    Raises:
        InputError: a number below one, or another activation.
    """

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, activation: Literal["relu", "sigmoid"] = "relu"
    ) -> None:
        super().__init__()
        if num_classes < 1 or in_channels < 1 or activation not in _ACTIVATIONS:
            raise InputError(
                f"SimpleCNN needs num_classes ≥ 1, in_channels ≥ 1 and activation 'relu' or 'sigmoid', "
                f"not {num_classes}, {in_channels}, {activation!r}"
            )
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.activation = activation
        active = _ACTIVATIONS[activation]
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 32, 3, padding=1),
            active(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(32, 64, 3, padding=1),
            active(),
            nn.MaxPool2d(2, ceil_mode=True),
            nn.Conv2d(64, 128, 3, padding=1),
            active(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(128, num_classes)

    def architecture(self) -> dict[str, Any]:
        """How to build it again: see `models.protocols.Savable`."""
        options = {"num_classes": self.num_classes, "in_channels": self.in_channels, "activation": self.activation}
        return {"model": "visionkit:simple_cnn", "options": {"pretrained": False, **options}}

    def forward(self, pixels: Tensor) -> Tensor:
        """Float (N, in_channels, H, W), normalised → logits (N, num_classes)."""
        logits: Tensor = self.head(self.features(pixels))
        return logits
