"""EfficientNet-Lite in plain torch: a first answer imports neither timm nor torchvision.

Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks" (2019); the Lite variants of the
TensorFlow TPU team (2020) drop squeeze-and-excitation and use ReLU6. The layers stand in the order of timm's
`tf_efficientnet_lite0`, so that state dicts map one to one, in order.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

_STAGES: Final = (  # expansion, kernel, stride, channels out, repeats: the paper's table 1
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_EPS: Final = 1e-3
"""TensorFlow's epsilon of batch normalisation, with which the weights were trained."""


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "SAME" padding, which depends on the input's size and is larger at the end."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - nn.Module's own name
        """Float (N, C, H, W) → (N, C_out, ⌈H / stride⌉, ⌈W / stride⌉)."""
        pads = []
        for side, kernel, stride in zip(
            reversed(input.shape[2:]), reversed(self.kernel_size), reversed(self.stride), strict=True
        ):
            total = max(0, (-(-side // stride) - 1) * stride + kernel - side)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(
            functional.pad(input, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if stride == 1:
        return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)
    return SameConv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)


class InvertedResidual(nn.Module):
    """Expand, filter each channel, project; added to the input where the shapes are alike (MobileNetV2, 2018)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [_conv(inputs, wide, 1), nn.BatchNorm2d(wide, _EPS), nn.ReLU6(inplace=True)]
        layers += [_conv(wide, wide, kernel, stride, groups=wide), nn.BatchNorm2d(wide, _EPS), nn.ReLU6(inplace=True)]
        layers += [_conv(wide, outputs, 1), nn.BatchNorm2d(outputs, _EPS)]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, pixels: Tensor) -> Tensor:
        """Float (N, inputs, H, W) → (N, outputs, H / stride, W / stride)."""
        filtered: Tensor = self.layers(pixels)
        return filtered + pixels if self.residual else filtered


class EfficientNetLite0(nn.Module):
    """4.65 million parameters, 1,280 features, for pictures of 224×224."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv(3, 32, 3, 2), nn.BatchNorm2d(32, _EPS), nn.ReLU6(inplace=True))
        blocks: list[nn.Module] = []
        channels = 32
        for expansion, kernel, stride, outputs, repeats in _STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, expansion, kernel, stride if repeat == 0 else 1))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.top = nn.Sequential(_conv(channels, 1280, 1), nn.BatchNorm2d(1280, _EPS), nn.ReLU6(inplace=True))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(1280, num_classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Float (N, 3, H, W), normalised with mean and std 0.5 → logits (N, num_classes)."""
        logits: Tensor = self.head(self.pool(self.top(self.blocks(self.stem(pixels)))))
        return logits
